"""One picture of what noise costs: time over the time of a copy, for all candidates."""

from pathlib import Path
from typing import Any

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
    "torch": ("*", "tab:brown"),
}


def write(folder: Path, results: dict[str, Any]) -> None:
    """Draw the results, if there is something to draw."""
    blocks = _report.drawn(results["rows"])
    if not blocks:
        return
    figure, axes = plt.subplots(figsize=(9, 0.42 * len(blocks) + 2))
    for y, block in enumerate(blocks):
        shown = [row for row in block if row["name"] in MARKS]
        costs = [row["over_limit"] for row in shown]
        axes.plot([min(costs), max(costs)], [y, y], color="0.8", zorder=1)
        for row, cost in zip(shown, costs, strict=True):
            marker, colour = MARKS[row["name"]]
            size = 80 if row["name"] == "jaxnoise" else 45
            axes.scatter(cost, y, s=size, color=colour, marker=marker, zorder=2)
        peer = _report.best_peer(block)
        if peer is not None:
            right = axes.get_yaxis_transform()
            axes.text(1.02, y, f"{peer['over_ours']:.1f}", transform=right, va="center")
    axes.axvline(1, color="0.4", linestyle=":", zorder=0)
    axes.set_xscale("log")
    ticks = [1, 2, 5, 10, 20, 50, 100]
    axes.set_xticks(ticks, map(str, ticks), minor=False)
    axes.minorticks_off()
    labels = [block[0]["case"].removeprefix("forward ") for block in blocks]
    axes.set_yticks(range(len(blocks)), labels)
    axes.invert_yaxis()
    axes.text(1.02, 1.0, "fastest peer / ours", transform=axes.transAxes, va="bottom")
    names = {row["name"] for block in blocks for row in block}
    handles = [
        Line2D([], [], linestyle="", marker=marker, color=colour, label=name)
        for name, (marker, colour) in MARKS.items()
        if name in names
    ]
    axes.legend(handles=handles, ncols=5, loc="lower left", bbox_to_anchor=(-0.2, 1.03))
    sizes = " or ".join(str(n) for n in sorted({block[0]["size"] for block in blocks}))
    where = f"{sizes} elements, {results['device']}, jax {results['versions']['jax']}"
    axes.set_xlabel(f"time / time of a copy (float32, {where})")
    figure.savefig(folder / f"{_report.stem()}.png", dpi=150, bbox_inches="tight")
    plt.close(figure)
