"""Run the laws over cases, and over anybody's noise function."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from jaxnoise.testing import _exact, _statistics, _transforms
from jaxnoise.testing._case import Case, LawError, NoiseFunction

LAWS = {
    "shape": _exact.shape,
    "precision": _exact.precision,
    "sharding": _transforms.sharding,
    "repeats": _exact.repeats,
    "key": _exact.key,
    "x64": _transforms.x64,
    "batching": _transforms.batching,
    "off": _exact.off,
    "traced": _transforms.traced,
    "errors": _exact.errors,
    "moments": _statistics.moments,
    "independence": _statistics.independence,
    "gradients": _transforms.gradients,
    "residuals": _transforms.residuals,
    "selection": _exact.selection,
    "lowering": _transforms.lowering,
}
"""Every law by name: a function of a `Case` that returns what it saw or raises."""


@dataclass(frozen=True)
class Outcome:
    """The result of one law for one case. `status` is "ok", "broken" or "-"."""

    case: str
    law: str
    status: str
    detail: str


@dataclass
class Report:
    """Outcomes, in the order in which they were seen."""

    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def broken(self) -> list[Outcome]:
        """The outcomes of broken laws."""
        return [outcome for outcome in self.outcomes if outcome.status == "broken"]

    def __str__(self) -> str:
        return "\n".join(f"{o.law:13}{o.status:8}{o.detail}" for o in self.outcomes)


def run_law(law: str, case: Case) -> Outcome:
    """One law over one case, as an outcome instead of an exception."""
    if law in case.skip:
        return Outcome(case.name, law, "-", case.skip[law])
    try:
        detail = LAWS[law](case)
    except LawError as error:
        return Outcome(case.name, law, "broken", str(error))
    except Exception as error:
        message = f"{law} law, {case.name}: {type(error).__name__}: {error}"
        return Outcome(case.name, law, "broken", message)
    return Outcome(case.name, law, "ok" if detail else "-", detail)


def check_noise(
    noise: NoiseFunction,
    amounts: Sequence[float] = (0.1, 0.5),
    *,
    laws: Iterable[str] | None = None,
    raises: bool = True,
    name: str | None = None,
    **options: Any,
) -> Report:
    """Run the laws of jaxnoise over a noise function of yours.

    Args:
      noise: `f(key, x, amount)`, returning an array like x.
      amounts: amounts inside its range; the laws run on each or on the last.
      laws: names from `LAWS`; all of them by default.
      raises: whether a broken law raises; otherwise see `Report.broken`.
      name: what reports call it, by default the name of the function.
      **options: further fields of `Case`, for what your function promises: `mean` and
        `variance` as functions of (x, amount), `dropped` for selection, `top` and
        `bad` for the range, `exact=False` where rounding may differ, `layout` and
        `units` for units that share a draw, `shapes`, `skip`.

    Returns:
      A `Report` with one outcome for each law.

    Raises:
      LawError: a law is broken; the message names the law, the case and the numbers.
      ValueError: a law of that name does not exist.

    Example:
      >>> import jaxnoise as jn
      >>> from jaxnoise.testing import check_noise
      >>> report = check_noise(jn.dropout, laws=["shape", "off"])
      >>> [outcome.status for outcome in report.outcomes]
      ['ok', 'ok']
    """
    wanted = list(LAWS) if laws is None else list(laws)
    unknown = sorted(set(wanted) - set(LAWS))
    if unknown:
        raise ValueError(
            f"check_noise: laws must be among {', '.join(LAWS)}, got {unknown}."
        )
    title = name or str(getattr(noise, "__name__", "noise"))
    case = Case(title, noise, tuple(amounts), **options)
    report = Report([run_law(law, case) for law in wanted])
    if raises and report.broken:
        raise LawError("\n".join(outcome.detail for outcome in report.broken))
    return report
