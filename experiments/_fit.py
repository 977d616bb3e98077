"""Training for the experiments whose trials are one net: Adam, scored by epoch."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments._data import Part

Loss = Callable[..., jax.Array]
ORDER, NOISE = range(2)  # what is folded into the key of a run


class Fit:
    """Trains a net again and again: compiled once for all values and seeds.

    Args:
      loss: of (params, values, x, y, key, epoch), a scalar. `values` are floats by
        name, such as rates: they are traced.
      measure: of (params, values, x, y), a dict of means over the examples.
      epochs, batch: how long, and how many examples at a time.
      clip: the largest norm of a gradient, or None.
      chunk: how many held-out examples to measure at a time.
    """

    def __init__(
        self,
        loss: Loss,
        measure: Callable[..., dict[str, jax.Array]],
        *,
        epochs: int,
        batch: int,
        clip: float | None = None,
        chunk: int = 1000,
    ):
        self.loss, self.measure = loss, measure
        self.epochs, self.batch, self.chunk = epochs, batch, chunk
        clipping = [] if clip is None else [optax.clip_by_global_norm(clip)]
        self.optimizer = optax.chain(*clipping, optax.scale_by_adam())

    def __call__(
        self,
        params: Any,
        values: dict[str, float],
        train: Part,
        held_out: dict[str, Part],
        key: jax.Array,
    ) -> tuple[Any, dict[str, dict[str, np.ndarray]]]:
        """The trained parameters, and by part and measure the scores of each epoch.

        The learning rate, one of the values, falls to 0 in a straight line.
        """
        traced = {name: jnp.float32(value) for name, value in values.items()}
        state = params, self.optimizer.init(params)
        data = jax.tree.map(jnp.asarray, train)
        scores: dict[str, list[dict[str, float]]] = {part: [] for part in held_out}
        for epoch in range(self.epochs):
            state = self._epoch(state, traced, data, key, epoch)
            for name, part in held_out.items():
                scores[name].append(self.score(state[0], values, part))
        curves = {
            name: {k: np.array([row[k] for row in rows]) for k in rows[0]}
            for name, rows in scores.items()
        }
        return state[0], curves

    @functools.partial(jax.jit, static_argnums=0)
    def _epoch(self, state, values, data, key, epoch):
        size = data.x.shape[0]
        steps = size // self.batch
        order = jax.random.permutation(
            jax.random.fold_in(jax.random.fold_in(key, ORDER), epoch), size
        )

        def step(state, now):
            params, memory = state
            index, number = now
            noise = jax.random.fold_in(jax.random.fold_in(key, NOISE), number)
            x, y = data.x[index], data.y[index]
            grads = jax.grad(self.loss)(params, values, x, y, noise, epoch)
            updates, memory = self.optimizer.update(grads, memory)
            rate = values["learning_rate"] * (1 - number / (self.epochs * steps))
            params = jax.tree.map(lambda p, u: p - rate * u, params, updates)
            return (params, memory), None

        batches = order[: steps * self.batch].reshape(steps, self.batch)
        numbers = epoch * steps + jnp.arange(steps)
        return jax.lax.scan(step, state, (batches, numbers))[0]

    def score(self, params: Any, values: dict[str, float], part: Part):
        """Means over all examples of a part."""
        traced = {name: jnp.float32(value) for name, value in values.items()}
        size = min(self.chunk, len(part.x))
        count = len(part.x) // size  # what is over is left out
        found = [
            self._score(params, traced, *part.rows(slice(i * size, (i + 1) * size)))
            for i in range(count)
        ]
        return {k: float(np.mean([row[k] for row in found])) for k in found[0]}

    @functools.partial(jax.jit, static_argnums=0)
    def _score(self, params, values, x, y):
        return self.measure(params, values, x, y)


def classification(logits: jax.Array, labels: jax.Array) -> dict[str, jax.Array]:
    """Mean negative log-likelihood and error."""
    return {
        "nll": optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(),
        "error": (logits.argmax(-1) != labels).mean(),
    }
