"""The pictures of `uncertainty.py`."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import uncertainty_digits as digits
import uncertainty_regression as regression
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from scipy.special import softmax
from uncertainty_nets import Answers


def draw_rotation(answers: Answers, asked: digits.Questions, path: Path) -> None:
    """Outputs of single passes over the angles of one digit, after Gal and Ghahramani.

    The first seed's nets: on the left without noise, on the right with dropout on.
    Above the inputs of the softmax, below its outputs, for the classes that are the
    likeliest at some angle; bands span the middle 90 % of the passes.
    """
    rows = {
        "one net": "trained without noise, one pass",
        "MC dropout": "MC dropout, {n} passes",
    }
    logits = {name: asked.split(answers.samples[name][0, 0])[1] for name in rows}
    classes = digits.shown_classes(softmax(logits["MC dropout"], -1))
    figure = Figure((11, 8), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True, sharey="row")
    for name, column in zip(rows, axes.T, strict=True):
        values = logits[name]
        column[0].set_title(rows[name].format(n=len(values)))
        for ax, shown in zip(column, (values, softmax(values, -1)), strict=True):
            for label in classes:
                _passes(ax, shown[..., label], label)
            ax.grid(axis="y", alpha=0.3)
        column[1].set_ylim(-0.03, 1.03)
        _thumbnails(column[1], asked.sweep)
    axes[0, 0].set_ylabel("input of the softmax (logit)")
    axes[1, 0].set_ylabel("output of the softmax (probability)")
    axes[0, 0].legend(title="class", ncols=len(classes), loc="best")
    figure.supxlabel("rotation of the digit, degrees")
    figure.suptitle("lines: medians; bands: the middle 90 % of the passes")
    figure.savefig(path, dpi=120)


def _passes(ax, values: np.ndarray, label: int) -> None:
    """A class over the angles: the median of its passes, (n, angles), and a band."""
    colour = colormaps["tab10"](label)
    low, middle, high = np.quantile(values, [0.05, 0.5, 0.95], axis=0)
    ax.plot(digits.SWEEP, middle, "o-", color=colour, markersize=4, label=str(label))
    if len(values) > 1:
        ax.fill_between(digits.SWEEP, low, high, color=colour, alpha=0.18, lw=0)


def _thumbnails(ax, images: np.ndarray) -> None:
    for angle, image in zip(digits.SWEEP, images, strict=True):
        small = OffsetImage(image, zoom=2.6, cmap="gray_r")
        place = {"xycoords": ("data", "axes fraction"), "box_alignment": (0.5, 1)}
        box = AnnotationBbox(small, (angle, -0.09), frameon=False, pad=0, **place)
        ax.add_artist(box)
    ax.set_xticks(digits.SWEEP)


def draw_scores(scores: dict[str, digits.Scores], path: Path) -> None:
    """Accuracy, NLL, entropy and mutual information as the test half is rotated."""
    panels = {
        "accuracy": "accuracy, %",
        "nll": "NLL, nats per image",
        "entropy": "predictive entropy, nats",
        "information": "mutual information, nats",
    }
    figure = Figure((11, 7.5), layout="constrained")
    axes = figure.subplots(2, 2)
    angles, after = np.array(digits.ANGLES), digits.ANGLES[-1] + 20
    for ax, (field, title) in zip(axes.flat, panels.items(), strict=True):
        for (name, score), style in zip(scores.items(), _styles(scores), strict=True):
            values = getattr(score, field) * (100 if field == "accuracy" else 1)
            if field == "information" and not values.any():
                continue  # one pass: 0 by definition
            mean = values.mean(0)
            ax.plot(angles, mean[:-1], label=name, **style)
            full = style["linestyle"] == "-"  # with the noise off the marker is empty
            marker = {
                "marker": "D" if full else "s",
                "fillstyle": "full" if full else "none",
            }
            ax.plot(after, mean[-1], color=style["color"], markersize=5, **marker)
        ax.set_title(title, fontsize=11)
        ax.grid(alpha=0.3)
        noise = field in ("entropy", "information")
        ax.set_xticks([*angles, after] if noise else angles)
        ax.set_xticklabels([*map(str, angles), *(["noise\nimages"] if noise else [])])
        ax.set_ylim(bottom=0)
    axes[0, 0].legend(frameon=False, fontsize=9)
    figure.supxlabel("rotation of the test digits, degrees")
    figure.suptitle("digits, means over seeds; dashed lines and squares: noise off")
    figure.savefig(path, dpi=120)


def _styles(names: Iterable[str]) -> Iterator[dict[str, Any]]:
    """A colour for each kind of noise; dashed with the noise off."""
    kinds = (
        "one net",
        "ensemble",
        "dropout",
        "gaussian dropout",
        "concrete dropout",
    )
    colours: dict[str, Any] = dict(
        zip(kinds, colormaps["tab10"](np.arange(5)), strict=True)
    )
    for name in names:
        kind = name.removeprefix("MC ").removesuffix(", off").split(" of ")[0]
        line = "--" if name.endswith(", off") else "-"
        yield {"color": colours.get(kind, "black"), "linestyle": line}


def draw_regression(
    found: dict[str, tuple[regression.Forecast, regression.Forecast]],
    folds: regression.Folds,
    path: Path,
) -> None:
    """Intervals of every patient, of ever larger BMI, and coverage at every level."""
    figure = Figure((15, 4.8), layout="constrained")
    patients, sweep, levels = figure.subplots(1, 3)
    truth = regression.true_scores(folds)
    _patients(patients, found["MC dropout"][0], truth)
    _sweep(sweep, found["MC dropout"][1], folds)
    nominal = np.linspace(0.05, 0.95, 19)
    levels.plot(
        [0, 100], [0, 100], color="grey", lw=4, alpha=0.4, label="as it should be"
    )
    names = [n for n in found if n != "no inputs"]
    for name, style in zip(names, _styles(names), strict=True):
        measured = [
            regression.coverage(found[name][0], truth, level).mean()
            for level in nominal
        ]
        levels.plot(100 * nominal, 100 * np.array(measured), label=name, **style)
    levels.set_title("coverage of the central intervals, all patients", fontsize=11)
    levels.set_xlabel("level, %")
    levels.set_ylabel("patients inside, %")
    levels.legend(frameon=False, fontsize=9)
    levels.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def _patients(ax, found: regression.Forecast, truth: np.ndarray) -> None:
    """First seed, all folds, sorted by the prediction."""
    mean, spread, epistemic = (
        values[:, 0].ravel()
        for values in (found.mean, found.deviation, found.epistemic**0.5)
    )
    order, truth = np.argsort(mean), truth.ravel()
    rank = np.arange(len(order))
    _bands(ax, rank, mean[order], spread[order], epistemic[order])
    ax.plot(rank, mean[order], color="tab:blue", label="prediction")
    inside = np.abs(truth - mean) <= regression.reach(spread)
    for hit, colour in ((True, "black"), (False, "tab:red")):
        chosen = inside[order] == hit
        label = f"{'inside' if hit else 'outside'}: {chosen.sum()} of {len(rank)}"
        ax.plot(
            rank[chosen], truth[order][chosen], ".", color=colour, ms=4, label=label
        )
    ax.set_title("MC dropout, every patient, left out of training", fontsize=11)
    ax.set_xlabel("patient, sorted by prediction")
    ax.set_ylabel("disease progression after a year")
    ax.legend(frameon=False, fontsize=9, loc="upper left")


def _sweep(ax, found: regression.Forecast, folds: regression.Folds) -> None:
    """First fold and seed: all inputs but one at their mean."""
    mean, spread, epistemic = (
        values[0, 0] for values in (found.mean, found.deviation, found.epistemic**0.5)
    )
    _bands(ax, folds.bmi, mean, spread, epistemic)
    ax.plot(folds.bmi, mean, color="tab:blue", label="prediction")
    ax.axvspan(*folds.bmi_range, color="tab:orange", alpha=0.12, label="training data")
    ax.set_title("MC dropout, all else at its mean", fontsize=11)
    ax.set_xlabel("body mass index, kg/m²")
    ax.legend(frameon=False, fontsize=9, loc="upper left")


def _bands(ax, x, mean: np.ndarray, spread: np.ndarray, epistemic: np.ndarray) -> None:
    for deviation, alpha, label in (
        (spread, 0.2, "90 % interval"),
        (epistemic, 0.5, "its epistemic part"),
    ):
        low, high = (
            mean - regression.reach(deviation),
            mean + regression.reach(deviation),
        )
        ax.fill_between(x, low, high, alpha=alpha, color="tab:blue", lw=0, label=label)
