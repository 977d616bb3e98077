"""Training of `transformer.py`: what a step does, and scores of the held-out text."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from language_model_data import Corpus, held_out_segments, training_rows
from language_model_nets import log_likelihood
from text_training import PARAMETERS, Loop, key_for, optimizer_of
from transformer_nets import Noise, Transformer


class Settings(NamedTuple):
    """All that the trained parameters depend on, apart from the text and the seed."""

    noise: Noise
    width: int = 64
    heads: int = 4
    layers: int = 3
    rows: int = 16
    length: int = 64
    epochs: int = 30
    learning_rate: float = 5e-3
    clip: float = 1.0


class State(NamedTuple):
    params: Any
    optimizer: Any


class Trainer(Loop):
    """A transformer on windows that begin anywhere in the text.

    The first half of the held-out text is to choose by, the second half to report on.
    """

    def __init__(self, corpus: Corpus, settings: Settings):
        self.corpus, self.settings = corpus, settings
        width, heads = settings.width, settings.heads
        if width % heads:
            raise ValueError(
                f"the width must be a multiple of the heads, got {width} and {heads}"
            )
        self.model = Transformer(
            settings.noise,
            len(corpus.vocabulary),
            settings.length,
            width,
            heads,
            settings.layers,
        )
        self.data = jnp.asarray(corpus.train)
        rows, length = settings.rows, settings.length
        # windows begin anywhere, but there are as many as would stand side by side
        self.segments = (
            training_rows(corpus.train, rows, length).shape[1] - 1
        ) // length
        self.steps = settings.epochs * self.segments
        self.optimizer = optimizer_of(settings.learning_rate, settings.clip, self.steps)
        halves = np.array_split(corpus.valid, 2)
        self.parts = [held_out_segments(half, 4 * rows, length) for half in halves]

    def start(self, seed: int) -> State:
        key, tokens = key_for(seed, PARAMETERS), jnp.zeros((1, 1), jnp.int32)
        # the parameters are those without noise, but bad rates are refused
        params = self.model.init({"params": key, "dropout": key}, tokens, train=True)
        return State(params, self.optimizer.init(params))

    def _step(self, state, data, key, step):
        rows, length = self.settings.rows, self.settings.length
        order, noise = jax.random.split(key)
        starts = jax.random.randint(order, (rows, 1), 0, len(data) - length)
        windows = data[starts + jnp.arange(length + 1)[None]]

        def loss(params):
            logits: Any = self.model.apply(
                params, windows[:, :-1], train=True, rngs={"dropout": noise}
            )
            return -log_likelihood(logits, windows[:, 1:]).mean()

        nats, grads = jax.value_and_grad(loss)(state.params)
        updates, optimizer = self.optimizer.update(grads, state.optimizer, state.params)
        return State(optax.apply_updates(state.params, updates), optimizer), nats

    def held_out(self, params: Any) -> tuple[float, ...]:
        """Mean nats per symbol of the validation and of the test part, without noise.

        A symbol is predicted from those before it in its segment.
        """
        return tuple(float(self._nats(params, *part)) for part in self.parts)

    @functools.partial(jax.jit, static_argnums=0)
    def _nats(self, params, inputs, targets):
        def score(segment):
            tokens, targets = segment
            logits: Any = self.model.apply(params, tokens, train=False)
            return log_likelihood(logits, targets)

        count = (targets >= 0).sum()
        return -lax.map(score, (inputs, targets)).sum() / count
