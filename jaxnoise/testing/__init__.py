"""The laws of jaxnoise as checks, for its functions and for yours.

`check_noise` runs them over any `f(key, x, amount)`; `python -m jaxnoise.testing` runs
them over all functions of jaxnoise, on the backend that JAX has.
"""

from jaxnoise.testing._case import Case as Case
from jaxnoise.testing._case import LawError as LawError
from jaxnoise.testing._cases import CASES as CASES
from jaxnoise.testing._check_noise import LAWS as LAWS
from jaxnoise.testing._check_noise import Outcome as Outcome
from jaxnoise.testing._check_noise import Report as Report
from jaxnoise.testing._check_noise import check_noise as check_noise
from jaxnoise.testing._check_noise import run_law as run_law
