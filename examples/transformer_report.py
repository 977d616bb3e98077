"""The report of `transformer.py`: a table, the gain by noise, and curves."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.console import Console
from rich.table import Table
from text_training import UNITS, History, by_epoch, measure

UNIT = UNITS["char"]
STAR = 12  # points


class Run(NamedTuple):
    """A training with noise of one rate, which is 0 for none.

    The history has two scores of the held-out text: to choose by, and to report.
    """

    rate: float
    seed: int
    history: History

    def curve(self, part: int) -> np.ndarray:
        """Bits per character by epoch: 0 of the validation part, 1 of the test part."""
        return np.array(
            [measure(scores[1 + part], "char") for scores in self.history.valid]
        )

    @property
    def best(self) -> int:
        """The epoch, from 0 on, whose validation score is best."""
        return int(self.curve(0).argmin())

    def training(self, segments: int) -> np.ndarray:
        pairs = by_epoch(self.history.train, segments)
        return np.array([measure(nats, "char") for _, nats in pairs])


class Gain(NamedTuple):
    """The rate with the best validation score, and test scores, means over seeds."""

    rate: float
    test: float
    test_without: float


def gain_of(runs: Sequence[Run]) -> Gain:
    """Each run counts as it was at the epoch with its best validation score."""

    def mean(rate, part):
        found = [run.curve(part)[run.best] for run in runs if run.rate == rate]
        return float(np.mean(found))

    rates = sorted({run.rate for run in runs} - {0.0})
    chosen = min(rates, key=lambda rate: mean(rate, 0))
    return Gain(chosen, mean(chosen, 1), mean(0.0, 1))


def show_table(runs: Sequence[Run], segments: int) -> None:
    """A line for each run, and what is to be said of all of them."""
    table = Table(title=f"{UNIT}: each run at its best epoch, and at its end")
    for column in ("rate", "seed", "best epoch", "validation", "test"):
        table.add_column(column, justify="right")
    for column in ("validation", "test", "training, with noise"):
        table.add_column(f"{column} at the end", justify="right")
    for run in runs:
        best, scores = run.best, [run.curve(part) for part in (0, 1)]
        numbers = [curve[epoch] for epoch in (best, -1) for curve in scores]
        numbers.append(run.training(segments)[-1])
        cells = [f"{number:.3f}" for number in numbers]
        rate = f"{run.rate:g}" if run.rate else "none"
        table.add_row(rate, str(run.seed), str(best + 1), *cells)
    Console(width=100).print(table)
    rate, test, without = gain_of(runs)
    print(
        f"By the validation part, the rate is {rate:g}. On the test part it has "
        f"{test:.3f} {UNIT}, no noise {without:.3f}: noise "
        f"{'saves' if test < without else 'costs'} {abs(test - without):.3f}."
    )


def draw_curves(runs: Sequence[Run], segments: int, title: str, path: Path) -> None:
    """Validation and training scores by epoch, and test scores by rate."""
    figure = Figure((10, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    figure.suptitle(title)
    rates = sorted({run.rate for run in runs})
    shades = colormaps["viridis"](np.linspace(0.8, 0.1, max(len(rates) - 1, 1)))
    colours = dict(zip(rates, ["tab:red", *shades], strict=False))
    for run in runs:
        colour, best, curve = colours[run.rate], run.best, run.curve(0)
        label = f"rate {run.rate:g}" if run.rate else "no noise"
        epochs = 1 + np.arange(len(curve))
        named = {"label": label} if run.seed == runs[0].seed else {}
        left.plot(epochs, curve, color=colour, **named)
        left.plot(epochs, run.training(segments), ":", color=colour)
        left.plot(epochs[best], curve[best], "*", color=colour, markersize=STAR)
        right.plot(run.rate, run.curve(1)[best], "*", color=colour, markersize=STAR)
        right.plot(run.rate, run.curve(1)[-1], "o", color=colour, fillstyle="none")
    left.plot([], [], "k-", label="validation part")
    left.plot([], [], "k:", label="training text, with noise")
    left.plot([], [], "k*", markersize=STAR, label="best epoch, by validation")
    left.set(xlabel="epoch", ylabel=UNIT, title="while training")
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.legend(frameon=False, ncols=2)
    right.plot([], [], "k*", markersize=STAR, label="at the best epoch")
    right.plot([], [], "ko", fillstyle="none", label="at the end")
    right.set(
        xlabel="rate (0 is no noise)", ylabel=UNIT, title="test part", xticks=rates
    )
    right.legend(frameon=False)
    for ax in (left, right):
        ax.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
