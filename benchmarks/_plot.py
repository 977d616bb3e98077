"""One picture of what noise costs, beside a copy and for all candidates."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.lines import Line2D

from benchmarks import _report

MARKS = {
    "jaxnoise": ("o", "tab:blue"),
    "jaxnoise, bits=16": ("P", "tab:cyan"),
    "jaxnoise, bits=8": ("X", "tab:cyan"),
    "flax.linen": ("s", "tab:orange"),
    "flax.nnx": ("D", "tab:orange"),
    "equinox": ("^", "tab:green"),
    "haiku": ("v", "tab:red"),
    "keras": ("d", "tab:purple"),
    "jax.random": ("|", "black"),
    "jaxnoise, rbg key": ("o", "tab:gray"),
    "flax.linen, rbg key": ("s", "tab:gray"),
    "torch": ("*", "tab:brown"),
}


class Line(NamedTuple):
    """A line of the picture: costs by the name of a row, and a note behind them."""

    label: str
    costs: dict[str, float]
    note: str


def write(folder: Path, results: dict[str, Any]) -> None:
    """Draw the results, if there is something to draw."""
    blocks = _report.drawn(results["rows"])
    if not blocks:
        return
    sizes = " or ".join(str(n) for n in sorted({block[0]["size"] for block in blocks}))
    where = f"{sizes} elements, {results['device']}, jax {results['versions']['jax']}"
    draw(
        folder / f"{_report.stem()}.png",
        [_line(block) for block in blocks],
        label=f"time / time of a copy (float32, {where})",
        notes="fastest peer / ours",
    )


def _line(block: list[_report.Row]) -> Line:
    peer = _report.best_peer(block)
    return Line(
        block[0]["case"].removeprefix("forward "),
        {row["name"]: row["over_limit"] for row in block},
        f"{peer['over_ours']:.1f}" if peer is not None else "",
    )


def draw(path: Path, lines: Sequence[Line], label: str, notes: str) -> None:
    """Draw a mark for each cost that has one in MARKS, below their legend."""
    figure, axes = plt.subplots(figsize=(9, 0.42 * len(lines) + 2))
    for y, line in enumerate(lines):
        costs = {name: cost for name, cost in line.costs.items() if name in MARKS}
        ends = [min(costs.values()), max(costs.values())]
        axes.plot(ends, [y, y], color="0.8", zorder=1)
        for name, cost in costs.items():
            marker, colour = MARKS[name]
            size = 80 if name == "jaxnoise" else 45
            axes.scatter(cost, y, s=size, color=colour, marker=marker, zorder=2)
        right = axes.get_yaxis_transform()
        axes.text(1.02, y, line.note, transform=right, va="center")
    axes.axvline(1, color="0.4", linestyle=":", zorder=0)
    axes.set_xscale("log")
    least = min(cost for line in lines for cost in line.costs.values())
    ticks = [0.2, 0.5] * (least < 1) + [1, 2, 5, 10, 20, 50, 100]
    axes.set_xticks(ticks, map(str, ticks), minor=False)
    axes.minorticks_off()
    axes.set_yticks(range(len(lines)), [line.label for line in lines])
    axes.invert_yaxis()
    axes.text(1.02, 1.0, notes, transform=axes.transAxes, va="bottom")
    names = {name for line in lines for name in line.costs}
    handles = [
        Line2D([], [], linestyle="", marker=marker, color=colour, label=name)
        for name, (marker, colour) in MARKS.items()
        if name in names
    ]
    axes.legend(handles=handles, ncols=5, loc="lower left", bbox_to_anchor=(-0.2, 1.03))
    axes.set_xlabel(label)
    figure.savefig(path, dpi=150, bbox_inches="tight")
    plt.close(figure)
