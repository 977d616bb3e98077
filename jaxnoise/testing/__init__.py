"""The laws of jaxnoise as checks, for its functions and for yours.

`check_noise` runs them over any `f(key, x, amount)`; `python -m jaxnoise.testing` runs
them over all functions of jaxnoise, on the backend that JAX has.
"""

from jaxnoise.testing._case import Case, LawError
from jaxnoise.testing._cases import CASES
from jaxnoise.testing._check_noise import LAWS, Outcome, Report, check_noise, run_law

__all__ = [
    "CASES",
    "LAWS",
    "Case",
    "LawError",
    "Outcome",
    "Report",
    "check_noise",
    "run_law",
]


def __dir__() -> list[str]:
    return __all__
