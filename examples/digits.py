"""Does noise help on real images? Each jaxnoise layer against the same net without it.

scikit-learn's digits (1797 images of 8 x 8 pixels, nothing is downloaded), half to
train on and half to test on. Each layer is put into a net that it suits, and each net
is also trained without noise, from the same initial parameters and on the same batches.
All seeds train at once under `jax.vmap`. Prints accuracy and negative log-likelihood on
the test half and draws the test curves. Every key derives from (seed, step) by
`fold_in`: two runs with the same arguments print the same numbers.

    python examples/digits.py                            # all, with flax.linen
    python examples/digits.py --api nnx --epochs 10 --seeds 5
    python examples/digits.py --only Dropout DropPath    # these and their baselines
"""

import argparse
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from digits_nets import CASES, Case, linen_net, nnx_net
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, MaxNLocator
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from scipy.special import softmax
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split

BATCH, LEARNING_RATE = 32, 4e-3
NETS = {"linen": linen_net, "nnx": nnx_net}


class Data(NamedTuple):
    train_x: np.ndarray
    test_x: np.ndarray
    train_y: np.ndarray
    test_y: np.ndarray


def load_data() -> Data:
    pixels, labels = map(np.asarray, load_digits(return_X_y=True))
    images = (pixels / 16).reshape(-1, 8, 8, 1).astype(np.float32)
    split = train_test_split(
        images, labels, test_size=0.5, random_state=0, stratify=labels
    )
    return Data(*map(np.asarray, split))


class Result(NamedTuple):
    """Test accuracy and test negative log-likelihood, (epochs, seeds)."""

    case: Case
    accuracy: np.ndarray
    nll: np.ndarray


class Trainer:
    """What the cases of one net share: data, keys, initial parameters, evaluation."""

    def __init__(self, net: str, make_net, data: Data, seeds: range, epochs: int):
        self.make_net, self.data, self.epochs = make_net, data, epochs
        self.steps = len(data.train_x) // BATCH
        roots = [jax.random.key(seed) for seed in seeds]
        # one key each for the parameters, the order of the images and the noise
        init_keys, self.order_keys, self.noise_keys = (
            jnp.stack([jax.random.fold_in(root, use) for root in roots])
            for use in range(3)
        )
        init, apply = make_net(Case(net))
        self.params = jax.vmap(init)(init_keys)
        self.logits = jax.jit(jax.vmap(apply, (0, None)))
        decay = optax.cosine_decay_schedule(LEARNING_RATE, epochs * self.steps)
        self.optimizer = optax.adam(decay)

    def run(self, case: Case, tick: Callable[[], None]) -> Result:
        update = self.update_of(case)
        params, scores = self.params, []
        state = jax.vmap(self.optimizer.init)(params)
        for epoch in range(self.epochs):
            for step, index in enumerate(self.batches(epoch), epoch * self.steps):
                params, state = update(params, state, self.noise_keys, step, index)
            scores.append(self.scores(params))
            tick()
        accuracy, nll = np.moveaxis(np.array(scores), -1, 0)
        return Result(case, accuracy, nll)

    def update_of(self, case: Case):
        """One optimiser step of every seed, jit-compiled."""
        _, apply = self.make_net(case)
        images, labels = jnp.asarray(self.data.train_x), jnp.asarray(self.data.train_y)

        def loss(params, key, index):
            logits = apply(params, images[index], key)
            entropy = optax.softmax_cross_entropy_with_integer_labels
            return entropy(logits, labels[index]).mean()

        def update(params, state, key, step, index):
            grads = jax.grad(loss)(params, jax.random.fold_in(key, step), index)
            updates, state = self.optimizer.update(grads, state)
            return optax.apply_updates(params, updates), state

        return jax.jit(jax.vmap(update, (0, 0, 0, None, 0)))

    def batches(self, epoch: int) -> np.ndarray:
        """Indices of the images, (steps, seeds, BATCH), in a new order every epoch."""
        order = _permutations(self.order_keys, epoch, len(self.data.train_x))
        used = np.asarray(order)[:, : self.steps * BATCH]
        return used.reshape(len(used), self.steps, BATCH).swapaxes(0, 1)

    def scores(self, params) -> list[tuple[float, float]]:
        """(accuracy, negative log-likelihood) on the test half for every seed."""
        truth = self.data.test_y
        probabilities = softmax(
            np.asarray(self.logits(params, self.data.test_x), np.float64), axis=-1
        )
        return [
            (float(accuracy_score(truth, p.argmax(-1))), float(log_loss(truth, p)))
            for p in probabilities
        ]


@functools.partial(jax.jit, static_argnums=2)
def _permutations(keys, epoch, size):
    fold = jax.vmap(jax.random.fold_in, (0, None))
    return jax.vmap(lambda key: jax.random.permutation(key, size))(fold(keys, epoch))


def train_all(cases: Sequence[Case], make_net, seeds: range, epochs: int):
    """One result a case, behind a progress bar on stderr."""
    data, trainers, results = load_data(), {}, []
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=len(cases) * epochs)
        for case in cases:
            progress.update(task, description=f"{case.net} {case.label}")
            if case.net not in trainers:
                trainers[case.net] = Trainer(case.net, make_net, data, seeds, epochs)
            tick = functools.partial(progress.advance, task)
            results.append(trainers[case.net].run(case, tick))
    return results


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


def main(argv: Sequence[str] | None = None) -> list[Result]:
    arguments = parse(argv)
    wanted = set(arguments.only or (case.layer for case in CASES))
    nets = {case.net for case in CASES if case.layer in wanted}
    cases = [c for c in CASES if c.net in nets and (not c.amounts or c.layer in wanted)]
    seeds = range(arguments.seed, arguments.seed + arguments.seeds)
    results = train_all(cases, NETS[arguments.api], seeds, arguments.epochs)
    title = f"digits, {arguments.api}, {arguments.epochs} epochs, {len(seeds)} seeds"
    show_table(results, f"{title} (mean ± standard deviation over seeds)")
    path = arguments.out / f"digits_{arguments.api}.png"
    draw_curves(results, f"{title} (mean and range over seeds)", path)
    print(f"curves: {path}")
    return results


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    kind = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=kind)
    parser.add_argument("--api", choices=NETS, default="linen")
    parser.add_argument("--epochs", type=_positive, default=20)
    parser.add_argument("--seeds", type=_positive, default=3, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder")
    layers = [case.layer for case in CASES if case.amounts]
    parser.add_argument("--only", nargs="+", choices=layers, metavar="LAYER")
    arguments = parser.parse_args(argv)
    if arguments.out.exists() and not arguments.out.is_dir():
        parser.error(f"argument --out: must be a folder, got the file {arguments.out}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    return arguments


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a positive integer, got {text!r}")
    return int(text)


if __name__ == "__main__":
    main()
