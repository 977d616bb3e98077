"""Training on a text, a chunk of steps at a time, with checkpoints in between.

What `language_model.py` and `transformer.py` have in common.
"""

import argparse
import functools
import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from checkpoints import Checkpoints
from jax import lax
from language_model_data import Corpus
from rich.console import Console
from rich.progress import Progress

from jaxnoise import keys

CHUNK = 25  # steps under one jit, after which the progress bar moves
SAVED = 10  # chunks between checkpoints; there is one at the end of an epoch, too
UNITS = {"char": "bits per character", "word": "perplexity"}
PARAMETERS, NOISE, MONTE_CARLO, SAMPLE, ORDER = range(5)  # what a key is folded for


class History(NamedTuple):
    """(step, nats per symbol): in training, with noise, and of the held-out text.

    Where the held-out text has several parts, there is a number for each.
    """

    train: list[tuple[int, float]]
    valid: list[tuple[float, ...]]


class Loop:
    """The steps of a training on a text: which of them form a chunk, and an epoch.

    What inherits from it sets `corpus`, `data` to train on, `segments`, which is the
    number of steps in an epoch, and `steps`, that of all. It has the methods

      start(seed): the state before the first step;
      _step(state, data, key, step): the state after a step, and its nats per symbol;
      held_out(params): nats per symbol of each part of the held-out text.

    The seed comes with each call, so several seeds share what is compiled.
    """

    corpus: Corpus
    data: jax.Array
    segments: int
    steps: int

    def chunk_end(self, step: int) -> int:
        """Chunks end with epochs, and depend on nothing but the step."""
        epoch, within = divmod(step, self.segments)
        chunk = (within // CHUNK + 1) * CHUNK
        return min(epoch * self.segments + min(chunk, self.segments), self.steps)

    def saved(self, step: int) -> bool:
        """Whether there is a checkpoint after the chunk that ends here."""
        within = step % self.segments
        return within % (CHUNK * SAVED) == 0 or step == self.steps

    def advance(self, state: Any, seed: int, step: int) -> tuple[Any, int, float]:
        """The state after the chunk that begins here, its end, and its mean nats."""
        stop = self.chunk_end(step)
        key = key_for(seed, NOISE)
        state, nats = self._steps(state, self.data, key, step, stop)
        return state, stop, float(nats) / (stop - step)

    @functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
    def _steps(self, state, data, key, start, stop):
        def body(step, carried):
            state, total = carried
            state, nats = self._step(state, data, keys.step_key(key, step), step)
            return state, total + nats

        return lax.fori_loop(start, stop, body, (state, jnp.float32(0)))

    def start(self, seed: int) -> Any:
        raise NotImplementedError

    def _step(self, state, data, key, step) -> tuple[Any, jax.Array]:
        raise NotImplementedError

    def held_out(self, params: Any) -> tuple[float, ...]:
        raise NotImplementedError


def train(
    trainer: Loop, seed: int, checkpoints: Checkpoints | None = None, name: str = ""
) -> tuple[Any, History]:
    """Train to the end, from the checkpoint if there is one, behind a progress bar."""
    step, state, history = 0, trainer.start(seed), History([], [])
    if checkpoints and checkpoints.step:
        step, state, notes = checkpoints.restore(state)
        history = History(*([tuple(pair) for pair in pairs] for pairs in notes))
        print(f"{name}resumed at step {step} of {trainer.steps}")
    try:
        with Progress(console=Console(stderr=True)) as progress:
            task = progress.add_task("", total=trainer.steps, completed=step)
            while step < trainer.steps:
                state, step, nats = trainer.advance(state, seed, step)
                history.train.append((step, nats))
                if step % trainer.segments == 0 or step == trainer.steps:
                    history.valid.append((step, *trainer.held_out(state.params)))
                if checkpoints and trainer.saved(step):
                    checkpoints.save(step, state, history)
                label = name + progress_label(trainer, history)
                progress.update(task, completed=step, description=label)
    finally:  # let what is being written come to its end
        if checkpoints:
            checkpoints.close()
    return state, history


def progress_label(trainer: Loop, history: History) -> str:
    """The epoch, its mean score in training so far, and the last held-out one."""
    level = trainer.corpus.level
    step, nats = by_epoch(history.train, trainer.segments)[-1]
    label = f"epoch {(step - 1) // trainer.segments + 1}, {UNITS[level]}: "
    label += f"train {measure(nats, level):.3f}"
    if history.valid:
        label += f", valid {measure(history.valid[-1][1], level):.3f}"
    return label


def by_epoch(
    chunks: Sequence[tuple[int, float]], segments: int
) -> list[tuple[int, float]]:
    """Means over the steps of each epoch, from means over chunks of steps."""
    ends = np.array([end for end, _ in chunks])
    sizes = np.diff(ends, prepend=0)
    epochs = (ends - 1) // segments
    nats = np.array([nats for _, nats in chunks])
    return [
        (int(ends[of].max()), float(np.average(nats[of], weights=sizes[of])))
        for of in (epochs == epoch for epoch in np.unique(epochs))
    ]


def optimizer_of(
    learning_rate: float, clip: float, steps: int
) -> optax.GradientTransformation:
    """Adam with clipped gradients, a short warm-up and a decay down to 0."""
    warmup = max(1, min(100, steps // 10))
    rate = optax.warmup_cosine_decay_schedule(0.0, learning_rate, warmup, steps)
    return optax.chain(optax.clip_by_global_norm(clip), optax.adam(rate))


def key_for(seed: int, use: int) -> jax.Array:
    return jax.random.fold_in(jax.random.key(seed), use)


def measure(nats: float, level: str) -> float:
    """Nats per symbol in the unit of the level."""
    return math.exp(nats) if level == "word" else nats / math.log(2)


def identity_of(corpus: Corpus, settings: Any, seed: int) -> dict[str, Any]:
    """The settings that a run must share with its checkpoint, as JSON."""
    text = hashlib.sha256(corpus.train.tobytes() + corpus.valid.tobytes())
    values = {
        name: value._asdict() if hasattr(value, "_asdict") else value
        for name, value in settings._asdict().items()
    }
    values |= {"seed": seed, "text": text.hexdigest(), "level": corpus.level}
    return json.loads(json.dumps(values))


def add_flags(parser: argparse.ArgumentParser, settings: dict[str, Any]) -> None:
    """The flags of every training on a text, and one for each of the settings."""
    add = parser.add_argument
    for name, default in settings.items():
        flag, number = f"--{name.replace('_', '-')}", isinstance(default, float)
        kind = positive if number else whole
        add(flag, type=kind, default=default, help="default: %(default)s")
    add("--seed", type=int, default=0)
    add("--checkpoint", type=Path, help="folder")
    add("--resume", action="store_true", help="from the checkpoint, if there is one")
    add("--out", type=Path, default=Path("out"), help="folder")


def check_folders(arguments: argparse.Namespace) -> None:
    """ValueError unless the flags of `add_flags` name folders where they have to."""
    if arguments.resume and not arguments.checkpoint:
        raise ValueError("argument --resume: only together with --checkpoint")
    for name in ("out", "checkpoint"):
        folder = getattr(arguments, name)
        if folder and folder.exists() and not folder.is_dir():
            raise ValueError(f"argument --{name}: must be a folder, got {folder}")


def whole(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a positive integer, got {text!r}")
    return int(text)


def positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a positive number, got {text!r}")
    return value
