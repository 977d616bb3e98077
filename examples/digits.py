"""Does noise help on real images? Each jaxnoise layer against the same net without it.

scikit-learn's digits (1797 images of 8 x 8 pixels, nothing is downloaded), half to
train on and half to test on. Each layer is put into a net that it suits, and each net
is also trained without noise, from the same initial parameters and on the same batches.
All seeds train at once under `jax.vmap`. Prints accuracy and negative log-likelihood on
the test half and draws the test curves. Every key derives from (seed, step), by
`jaxnoise.keys`: two runs with the same arguments print the same numbers, and a run that
was killed and resumed ends with the same bits as one that was not.

    python examples/digits.py                            # all, with flax.linen
    python examples/digits.py --api nnx --epochs 10 --seeds 5
    python examples/digits.py --only Dropout DropPath    # these and their baselines
    python examples/digits.py --checkpoint run1 --resume     # start, or go on
"""

import argparse
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from checkpoints import Checkpoints
from digits_data import Data, load_data
from digits_nets import CASES, Case, linen_net, nnx_net
from digits_report import Result, draw_curves, show_table
from rich.console import Console
from rich.progress import Progress
from scipy.special import softmax
from sklearn.metrics import accuracy_score, log_loss

from jaxnoise import keys

BATCH, LEARNING_RATE = 32, 4e-3
NETS = {"linen": linen_net, "nnx": nnx_net}


class State(NamedTuple):
    """Of one case, every leaf with the seeds as its first dim."""

    params: Any
    optimizer: Any


class Trainer:
    """Shared by the cases of one net: data, keys, initial parameters, evaluation."""

    def __init__(self, net: str, make_net, data: Data, seeds: range, epochs: int):
        self.make_net, self.data = make_net, data
        self.steps = len(data.train_x) // BATCH
        roots = [jax.random.key(seed) for seed in seeds]
        init_keys, self.order_keys, self.noise_keys = (
            jnp.stack([keys.named_key(root, use) for root in roots])
            for use in ("params", "order of the images", "noise")
        )
        init, apply = make_net(Case(net))
        self.params = jax.vmap(init)(init_keys)
        self.logits = jax.jit(jax.vmap(apply, (0, None)))
        decay = optax.cosine_decay_schedule(LEARNING_RATE, epochs * self.steps)
        self.optimizer = optax.adam(decay)

    def start(self) -> State:
        return State(self.params, jax.vmap(self.optimizer.init)(self.params))

    def train_epoch(self, update, state: State, epoch: int) -> State:
        """The state after an epoch; which one it is decides its batches and noise."""
        for step, index in enumerate(self.batches(epoch), epoch * self.steps):
            state = update(state, self.noise_keys, step, index)
        return state

    def update_of(self, case: Case):
        """One optimiser step of every seed, jit-compiled."""
        _, apply = self.make_net(case)
        images, labels = jnp.asarray(self.data.train_x), jnp.asarray(self.data.train_y)

        def loss(params, key, index):
            logits = apply(params, images[index], key)
            entropy = optax.softmax_cross_entropy_with_integer_labels
            return entropy(logits, labels[index]).mean()

        def update(state, key, step, index):
            grads = jax.grad(loss)(state.params, keys.step_key(key, step), index)
            updates, optimizer = self.optimizer.update(grads, state.optimizer)
            return State(optax.apply_updates(state.params, updates), optimizer)

        return jax.jit(jax.vmap(update, (0, 0, None, 0)))

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
def _permutations(order_keys, epoch, size):
    def permutation(key):
        return jax.random.permutation(keys.step_key(key, epoch), size)

    return jax.vmap(permutation)(order_keys)


def train_all(
    cases: Sequence[Case],
    make_net,
    seeds: range,
    epochs: int,
    checkpoints: Checkpoints | None = None,
) -> list[Result]:
    """One result a case, behind a progress bar on stderr.

    A checkpoint, after each epoch of each case, has the scores of all epochs so far and
    the state of the case at work.
    """
    data = load_data()
    trainer_of = functools.cache(
        lambda net: Trainer(net, make_net, data, seeds, epochs)
    )
    done, scores = 0, [[] for _ in cases]
    state: Any = None
    if checkpoints and checkpoints.step:
        case = cases[(checkpoints.step - 1) // epochs]
        done, state, scores = checkpoints.restore(trainer_of(case.net).start())
        print(f"resumed after {done} epochs of {len(cases) * epochs}")
    try:
        with Progress(console=Console(stderr=True)) as progress:
            task = progress.add_task("", total=len(cases) * epochs, completed=done)
            for number, case in enumerate(cases[done // epochs :], done // epochs):
                progress.update(task, description=f"{case.net} {case.label}")
                trainer, first = trainer_of(case.net), done % epochs
                update = trainer.update_of(case)
                state = state if first else trainer.start()
                for epoch in range(first, epochs):
                    state = trainer.train_epoch(update, state, epoch)
                    scores[number].append(trainer.scores(state.params))
                    done += 1
                    if checkpoints:
                        checkpoints.save(done, state, scores)
                    progress.advance(task)
    finally:  # let what is being written come to its end
        if checkpoints:
            checkpoints.close()
    moved = (np.moveaxis(np.array(each), -1, 0) for each in scores)
    return [Result(c, *m) for c, m in zip(cases, moved, strict=True)]


def main(argv: Sequence[str] | None = None) -> list[Result]:
    arguments = parse(argv)
    seeds = range(arguments.seed, arguments.seed + arguments.seeds)
    results = train_all(
        arguments.cases,
        NETS[arguments.api],
        seeds,
        arguments.epochs,
        arguments.checkpoints,
    )
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
    parser.add_argument("--checkpoint", type=Path, help="folder")
    parser.add_argument("--resume", action="store_true", help="from the checkpoint")
    layers = [case.layer for case in CASES if case.amounts]
    parser.add_argument("--only", nargs="+", choices=layers, metavar="LAYER")
    arguments = parser.parse_args(argv)
    try:
        prepare(arguments)
    except ValueError as error:
        parser.error(str(error))
    return arguments


def prepare(arguments: argparse.Namespace) -> None:
    """The cases and the checkpoints that the arguments describe."""
    if arguments.resume and not arguments.checkpoint:
        raise ValueError("argument --resume: only together with --checkpoint")
    for name in ("out", "checkpoint"):
        folder = getattr(arguments, name)
        if folder and folder.exists() and not folder.is_dir():
            raise ValueError(
                f"argument --{name}: must be a folder, got the file {folder}"
            )
    wanted = set(arguments.only or (case.layer for case in CASES))
    nets = {case.net for case in CASES if case.layer in wanted}
    arguments.cases = [
        c for c in CASES if c.net in nets and (not c.amounts or c.layer in wanted)
    ]
    arguments.checkpoints = None
    if arguments.checkpoint:
        names = ("api", "epochs", "seeds", "seed")
        identity = {name: getattr(arguments, name) for name in names}
        identity["cases"] = [f"{case.net}, {case.label}" for case in arguments.cases]
        arguments.checkpoints = Checkpoints(arguments.checkpoint, identity)
        arguments.checkpoints.check(arguments.resume)
    arguments.out.mkdir(parents=True, exist_ok=True)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a positive integer, got {text!r}")
    return int(text)


if __name__ == "__main__":
    main()
