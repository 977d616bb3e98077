"""Does a net know when it does not know? Monte-Carlo dropout beside an ensemble.

Digits: an MLP on half of scikit-learn's digits, trained without noise, with dropout,
with Gaussian dropout and with concrete dropout (whose rates are learned). Each is asked
once with its noise off, and `--samples` times with it on (MC); the net without noise is
also asked as an ensemble of `--members` that differ in their keys. Prints accuracy,
negative log-likelihood and expected calibration error of the mean prediction on the
test half, and what predictive entropy and mutual information become as its images are
rotated, and on images of noise. Draws both, and single passes over the rotation of one
digit, after figure 4 of Gal and Ghahramani, 2016.

The number of epochs is chosen from `--epochs` for each net inside its training data.

Diabetes: the same methods put out the mean and the deviation of a normal. Prints how
often 90 % intervals hold the truth in cross-validation, with the whole variance and
with its aleatoric and its epistemic part alone, beside a linear model.

Nothing is downloaded. Every key derives from the seeds: two runs with the same
arguments print the same numbers.

    python examples/uncertainty.py
    python examples/uncertainty.py --seeds 5 --samples 200 --members 10 --digit 7
"""

import argparse
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import uncertainty_digits as digits
import uncertainty_figures as figures
import uncertainty_regression as regression
from digits import load_data
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from uncertainty_nets import Answers, Task, answer

SHOWN = (0, 30, 60, 90)  # angles in the table


class Results(NamedTuple):
    """Scores by method, and the pictures."""

    digits: dict[str, digits.Scores]
    diabetes: dict[str, regression.Scores]
    pictures: tuple[Path, ...]


def ask(
    tasks: dict[str, Task], seeds: Sequence[int], samples: int, members: int
) -> dict[str, Answers]:
    """What the nets of each task say, behind a progress bar on stderr."""
    answers = {}
    with Progress(console=Console(stderr=True)) as progress:
        nets = sum(1 + len(task.noises) for task in tasks.values())
        bar = progress.add_task("", total=nets)
        for name, task in tasks.items():

            def tick(net: str, name: str = name):
                progress.update(bar, description=f"{name}, {net}")

            done = functools.partial(progress.advance, bar)
            answers[name] = answer(task, seeds, samples, members, tick, done)
    return answers


def show_digits(scores: dict[str, digits.Scores], title: str) -> None:
    table = new_table(title=f"Digits, test half: {title}")
    for column in ("accuracy, %", "NLL, nats", "ECE, %"):
        table.add_column(column, justify="right")
    for name, score in scores.items():
        accuracy, ece = 100 * score.accuracy[:, 0], 100 * score.ece[:, 0]
        cells = (accuracy, "{:.2f}"), (score.nll[:, 0], "{:.4f}"), (ece, "{:.2f}")
        table.add_row(name, *(over_seeds(*cell) for cell in cells))
    print_table(table)

    groups = [digits.ANGLES.index(angle) for angle in SHOWN]
    for field, measure in (
        ("entropy", "Predictive entropy"),
        ("information", "Mutual information"),
    ):
        table = new_table(title=f"{measure}, nats, of digits rotated by")
        for angle in SHOWN:
            table.add_column(f"{angle}°", justify="right")
        table.add_column("noise images", justify="right")
        table.add_column("AUROC of noise", justify="right")
        for name, score in scores.items():
            values, auc = getattr(score, field), getattr(score, f"{field}_auc")[:, -1]
            if field == "information" and not values.any():
                continue  # one pass: 0 by definition
            cells = [over_seeds(values[:, group], "{:.2f}") for group in (*groups, -1)]
            table.add_row(name, *cells, over_seeds(auc, "{:.3f}"))
        print_table(table)


def show_diabetes(scores: dict[str, regression.Scores], patients: int) -> None:
    table = new_table(title=f"Diabetes, {patients} patients: 90 % intervals")
    for column in ("RMSE", "NLL, nats", "width", "coverage, %"):
        table.add_column(column, justify="right")
    for part in ("aleatoric", "epistemic"):
        table.add_column(f"{part} alone, %", justify="right")
    for name, score in scores.items():
        parts = score.coverage, score.of_aleatoric, score.of_epistemic
        table.add_row(
            name,
            over_seeds(score.rmse, "{:.1f}"),
            over_seeds(score.nll, "{:.3f}"),
            over_seeds(score.width, "{:.0f}"),
            *(over_seeds(100 * part, "{:.1f}") for part in parts),
        )
    print_table(table)
    low, high = (100 * end for end in regression.chance(patients))
    print(f"Chance alone puts a true 90 % between {low:.1f} and {high:.1f} %.\n")


def over_seeds(values: np.ndarray, style: str) -> str:
    """The mean and, where seeds differ, the standard deviation."""
    mean = style.format(values.mean())
    if len(values) == 1:
        return mean
    return f"{mean} ± {style.format(values.std(ddof=1))}"


def new_table(title: str) -> Table:
    table = Table(title=title)
    table.add_column("", no_wrap=True)
    return table


def print_table(table: Table) -> None:
    Console(width=118).print(table)


def main(argv: Sequence[str] | None = None) -> Results:
    arguments = parse(argv)
    seeds = range(arguments.seed, arguments.seed + arguments.seeds)
    data, folds = load_data(), regression.load_folds(arguments.seed)
    asked = digits.questions(data, arguments.digit, arguments.seed)
    epochs, samples = tuple(arguments.epochs), arguments.samples
    tasks = {
        "digits": digits.digits_task(data, asked, epochs),
        "diabetes": regression.regression_task(folds, epochs),
    }
    answers = ask(tasks, seeds, samples, arguments.members)
    of_digits = digits.score_all(answers["digits"], asked)
    forecasts = regression.forecasts(answers["diabetes"], folds)
    truth = regression.true_scores(folds)
    of_diabetes = {n: regression.score(f, truth) for n, (f, _) in forecasts.items()}

    title = f"{len(seeds)} seeds, {samples} samples"
    show_digits(of_digits, title)
    show_diabetes(of_diabetes, truth.size)
    for name, found in answers.items():
        for net, counts in found.epochs.items():
            shown = ", ".join(map(str, sorted(counts.tolist())))
            print(f"{name}, {net}: {shown} epochs")
        rates = ", ".join(f"{rate:.2f}" for rate in found.learned_rates.mean((0, 1)))
        print(f"{name}: concrete dropout came to rates of {rates}")
    names = ("rotation", "digits", "diabetes")
    paths = tuple(arguments.out / f"uncertainty_{name}.png" for name in names)
    figures.draw_rotation(answers["digits"], asked, paths[0])
    figures.draw_scores(of_digits, paths[1])
    figures.draw_regression(forecasts, folds, paths[2])
    print("pictures:", *paths)
    return Results(of_digits, of_diabetes, paths)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    kind = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=kind)
    parser.add_argument(
        "--epochs",
        type=_positive,
        nargs="+",
        default=[5, 10, 20, 40],
        help="how many; of several, those that are best on a part of the training data",
    )
    parser.add_argument("--seeds", type=_positive, default=3, help="how many")
    parser.add_argument("--seed", type=_seed, default=0, help="the first one")
    parser.add_argument("--samples", type=_positive, default=50, help="passes of MC")
    parser.add_argument("--members", type=_positive, default=5, help="of the ensemble")
    parser.add_argument("--digit", type=int, choices=range(10), default=1)
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder")
    arguments = parser.parse_args(argv)
    if arguments.out.exists() and not arguments.out.is_dir():
        parser.error(f"argument --out: must be a folder, got the file {arguments.out}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    return arguments


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a positive integer, got {text!r}")
    return int(text)


def _seed(text: str) -> int:
    # NumPy and scikit-learn take no negative one, JAX none that is larger
    if not text.isdecimal() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"must be from 0 to 2^31 - 1, got {text!r}")
    return int(text)


if __name__ == "__main__":
    main()
