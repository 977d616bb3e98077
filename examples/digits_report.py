"""The report of `digits.py`: a table of the last epoch, and curves over all epochs."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from digits_nets import CASES, Case
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, MaxNLocator
from rich.console import Console
from rich.table import Table


class Result(NamedTuple):
    """Test accuracy and test negative log-likelihood, (epochs, seeds)."""

    case: Case
    accuracy: np.ndarray
    nll: np.ndarray


def show_table(results: Sequence[Result], title: str) -> None:
    baselines = {r.case.net: r.nll[-1] for r in results if not r.case.amounts}
    table = Table("net", "noise", "where", title=title)
    for column in ("accuracy, %", "NLL, nats", "NLL - NLL of none"):
        table.add_column(column, justify="right")
    for result in results:
        case, nll = result.case, result.nll[-1]
        if not case.amounts:
            table.add_section()
        accuracy = _over_seeds(100 * result.accuracy[-1], "{:.2f}")
        change = _over_seeds(nll - baselines[case.net], "{:+.4f}")
        table.add_row(
            *(case.net, case.label, case.place, accuracy, _over_seeds(nll, "{:.4f}")),
            change if case.amounts else "",
        )
    Console(width=116).print(table)


def _over_seeds(values: np.ndarray, style: str) -> str:
    """The mean and, where there are two seeds or more, the standard deviation."""
    mean = style.format(values.mean())
    if len(values) == 1:
        return mean
    return f"{mean} ± {style.replace('+', '').format(values.std(ddof=1))}"


def draw_curves(results: Sequence[Result], title: str, path: Path) -> None:
    """Test NLL by epoch: a panel for each net and place, each with its baseline."""
    layers = dict.fromkeys(case.layer for case in CASES if case.amounts)
    shades = [*colormaps["tab10"](np.arange(10)), "navy"]
    colours = dict(zip(layers, shades, strict=True))
    baselines = {r.case.net: r for r in results if not r.case.amounts}
    panels = dict.fromkeys((r.case.net, r.case.place) for r in results if r.case.place)
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure((3.3 * columns + 2.2, 2.9 * rows + 0.6), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for ax in axes.flat[len(panels) :]:
        ax.set_axis_off()
    for ax, (net, place) in zip(axes.flat, panels, strict=False):
        _curve(ax, baselines[net], "black", "--")
        for result in results:
            if (result.case.net, result.case.place) == (net, place):
                _curve(ax, result, colours[result.case.layer], "-")
        ax.set_title(f"{net}, noise on {place}", fontsize=10)
        ax.set_yscale("log")
        ax.set_yticks([0.05, 0.1, 0.2, 0.5, 1, 2])
        ax.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.grid(alpha=0.3)
    figure.supxlabel("epoch")
    figure.supylabel("test NLL, nats per image")
    figure.suptitle(title)
    lines = {line.get_label(): line for ax in axes.flat for line in ax.lines}
    figure.legend(lines.values(), lines, loc="outside right center", frameon=False)
    figure.savefig(path, dpi=120)


def _curve(ax, result: Result, colour, line: str) -> None:
    epochs = np.arange(1, len(result.nll) + 1)
    low, high = result.nll.min(1), result.nll.max(1)
    ax.fill_between(epochs, low, high, color=colour, alpha=0.15, linewidth=0)
    ax.plot(epochs, result.nll.mean(1), line, color=colour, label=result.case.layer)
