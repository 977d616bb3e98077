"""What an experiment found: claims with intervals, tables, a picture, and on what."""

import json
import os
import platform
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from matplotlib.figure import Figure
from scipy import stats

PACKAGES = ("jaxnoise", "jax", "jaxlib", "flax", "optax", "numpy", "scipy")


class Interval(NamedTuple):
    """A mean and its 95 % interval by Student's t."""

    mean: float
    low: float
    high: float
    n: int

    def show(self, style: str = "+.3f") -> str:
        low, high = format(self.low, style), format(self.high, style)
        return f"{format(self.mean, style)} [{low}, {high}], n = {self.n}"


def interval(values: Any) -> Interval:
    """Of the mean of independent values: of paired runs, pass their differences."""
    values = np.asarray(values, float)
    mean, n = float(values.mean()), len(values)
    if n < 2:
        return Interval(mean, -np.inf, np.inf, n)
    error = float(stats.sem(values))
    if error == 0:
        return Interval(mean, mean, mean, n)
    low, high = stats.t.interval(0.95, n - 1, mean, error)
    return Interval(mean, float(low), float(high), n)


class Claim(NamedTuple):
    """An ordering, and what became of it.

    Attributes:
      text: what is claimed; the difference is positive where it is right.
      source: who claims it.
      found: the difference.
      verdict: "held", "did not hold" (the interval is on the other side) or "open".
    """

    text: str
    source: str
    found: Interval
    verdict: str


def above(text: str, source: str, greater: Any, smaller: Any) -> Claim:
    """The claim that `greater` is greater than `smaller`, pair by pair."""
    found = interval(np.asarray(greater, float) - np.asarray(smaller, float))
    verdict = "open"
    if found.n > 1 and found.low > 0:
        verdict = "held"
    elif found.n > 1 and found.high < 0:
        verdict = "did not hold"
    return Claim(text, source, found, verdict)


def within(text: str, source: str, values: Any, margin: float) -> Claim:
    """The claim that differences are no more than the margin, on either side."""
    found = interval(values)
    verdict = "open"
    if -margin <= found.low and found.high <= margin:
        verdict = "held"
    elif found.low > margin or found.high < -margin:
        verdict = "did not hold"
    return Claim(text, source, found, verdict)


class Table(NamedTuple):
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


class Outcome(NamedTuple):
    """All that is written down.

    Attributes:
      draw: draws the picture on a figure.
      values: the numbers behind it, as JSON can hold them.
    """

    claims: list[Claim]
    tables: list[Table]
    draw: Callable[[Figure], None]
    values: Any


def mean_and_spread(values: Any, style: str = ".3f") -> str:
    """Mean and standard deviation over runs."""
    values = np.asarray(values, float)
    mean = format(values.mean(), style)
    if len(values) == 1:
        return mean
    return f"{mean} ± {format(values.std(ddof=1), style)}"


def write(outcome: Outcome, about: dict[str, Any], text: str, folder: Path) -> Path:
    """JSON, picture and Markdown; the path of the last."""
    folder.mkdir(parents=True, exist_ok=True)
    name = about["experiment"]
    about = about | {
        "versions": {package: version(package) for package in PACKAGES},
        "python": platform.python_version(),
        "device": device(),
    }
    report = {
        **about,
        "claims": [
            {**claim._asdict(), "found": claim.found._asdict()}
            for claim in outcome.claims
        ],
        "values": outcome.values,
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(report, indent=None) + "\n", "utf-8")
    figure = Figure(figsize=(9, 4), layout="constrained")
    outcome.draw(figure)
    figure.savefig(folder / f"{name}.png", dpi=110)
    path = folder / f"{name}.md"
    path.write_text(markdown(outcome, about, text), "utf-8")
    return path


def device() -> str:
    kind = jax.devices()[0].device_kind
    return f"{kind}, {len(os.sched_getaffinity(0))} cores, {platform.machine()}"


def markdown(outcome: Outcome, about: dict[str, Any], text: str) -> str:
    title, _, rest = text.partition("\n")
    settings = ", ".join(f"{k} {_short(v)}" for k, v in about["settings"].items())
    versions = ", ".join(f"{k} {v}" for k, v in about["versions"].items())
    size = "Full size."
    if about["reduced"]:
        changes = "; ".join(
            f"{field} {_short(both['here'])} in place of {_short(both['full size'])}"
            for field, both in about["reduced"].items()
        )
        size = f"**Reduced size**: {changes}."
    lines = [
        f"# {title}",
        rest.rstrip(),
        "",
        "## What held",
        "",
        "Paired differences with 95 % intervals (Student's t), positive where the "
        "claim is right. *Held*: the whole interval is above 0, or inside the margin; "
        "*did not hold*: all of it is on the other side; *open*: neither.",
        "",
        "| claim | source | difference | |",
        "|---|---|---|---|",
        *(
            f"| {c.text} | {c.source} | {c.found.show()} | {c.verdict} |"
            for c in outcome.claims
        ),
        "",
        f"![{title}]({about['experiment']}.png)",
    ]
    for table in outcome.tables:
        lines += ["", f"## {table.title}", ""]
        lines += [f"| {' | '.join(table.columns)} |", "|---" * len(table.columns) + "|"]
        lines += [f"| {' | '.join(map(str, row))} |" for row in table.rows]
    lines += [
        "",
        "## How it was run",
        "",
        f"    {about['command']}",
        "",
        f"{size} Settings: {settings}. {about['trials']} trials, "
        f"{about['wall_minutes']} minutes of wall time, {about['cpu_minutes']} CPU "
        f"minutes. {about['device']}. Python {about['python']}, {versions}.",
    ]
    return "\n".join(lines) + "\n"


def _short(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
