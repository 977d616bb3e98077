"""Training of `language_model.py`: steps, scores and samples of text."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from language_model_data import UNKNOWN, Corpus, held_out_segments, training_rows
from language_model_nets import (
    LanguageModel,
    Method,
    log_likelihood,
    mean_of_probabilities,
)
from text_training import (
    MONTE_CARLO,
    PARAMETERS,
    SAMPLE,
    Loop,
    key_for,
    optimizer_of,
)

from jaxnoise import keys, losses


class Settings(NamedTuple):
    """All that the trained parameters depend on, apart from the text and the seed."""

    method: Method
    embedding: int = 64
    features: int = 128
    layers: int = 2
    rows: int = 10
    length: int = 35
    epochs: int = 10
    steps: int | None = None
    learning_rate: float = 4e-3
    clip: float = 1.0


class State(NamedTuple):
    params: Any
    optimizer: Any
    carry: Any


class Trainer(Loop):
    """A model on a corpus: what a step does, and how good the model is."""

    def __init__(self, corpus: Corpus, settings: Settings):
        self.corpus, self.settings = corpus, settings
        self.model = LanguageModel(
            settings.method,
            len(corpus.vocabulary),
            settings.embedding,
            settings.features,
            settings.layers,
        )
        rows, length = settings.rows, settings.length
        held_out_segments(corpus.valid, rows, length)  # refuses what is too short
        self.data = jnp.asarray(training_rows(corpus.train, rows, length))
        self.segments = (self.data.shape[1] - 1) // length  # of an epoch
        self.steps = settings.steps or settings.epochs * self.segments
        self.optimizer = optimizer_of(settings.learning_rate, settings.clip, self.steps)

    def start(self, seed: int) -> State:
        params = self.model.initialise(key_for(seed, PARAMETERS))
        carry = self.model.start(self.settings.rows)
        return State(params, self.optimizer.init(params), carry)

    def _step(self, state, data, key, step):
        length, method = self.settings.length, self.settings.method
        segment = step % self.segments
        window = lax.dynamic_slice_in_dim(data, segment * length, length + 1, axis=1)
        carry = jax.tree.map(lambda c: jnp.where(segment == 0, 0, c), state.carry)

        def loss(params):
            logits, carry_, (raw, dropped) = self.model.run(
                params, window[:, :-1], carry, key
            )
            nats = -log_likelihood(logits, window[:, 1:]).mean()
            ar = losses.ar(dropped, method.ar)
            tar = losses.tar(raw, method.tar)
            return nats + ar + tar, (nats, carry_)

        grads, (nats, carry) = jax.grad(loss, has_aux=True)(state.params)
        updates, optimizer = self.optimizer.update(grads, state.optimizer)
        params = optax.apply_updates(state.params, updates)
        return State(params, optimizer, carry), nats

    def log_likelihoods(self, params: Any, tokens: np.ndarray, key=None) -> jax.Array:
        """Log-probability of each symbol of a text after the first, in reading order.

        With a key, under the masks drawn from it: the same ones for the whole text
        where they are the same for a whole segment.
        """
        rows, length = self.settings.rows, self.settings.length
        inputs, targets = held_out_segments(tokens, rows, length)
        scores = self._scores(params, inputs, targets, key)
        return scores.swapaxes(0, 1).reshape(-1)[: len(tokens) - 1]

    @functools.partial(jax.jit, static_argnums=0)
    def _scores(self, params, inputs, targets, key):
        method = self.settings.method
        stepwise = method.per_step or method.zoneout_hidden or method.zoneout_cell

        def body(carry, segment):
            tokens, targets, index = segment
            own = key
            if key is not None and stepwise:
                own = keys.step_key(key, index)
            logits, carry, _ = self.model.run(params, tokens, carry, own)
            return carry, log_likelihood(logits, targets)

        segments = inputs, targets, jnp.arange(len(inputs))
        return lax.scan(body, self.model.start(inputs.shape[1]), segments)[1]

    def held_out(self, params: Any) -> tuple[float]:
        return (self.nats(params, self.corpus.valid),)

    def nats(self, params: Any, tokens: np.ndarray) -> float:
        """Mean nats per symbol, without noise."""
        return -float(self.log_likelihoods(params, tokens).mean())

    def monte_carlo_nats(
        self, params: Any, tokens: np.ndarray, seed: int, samples: int
    ) -> float:
        """Mean nats per symbol, with probabilities averaged over `samples` masks."""
        root = key_for(seed, MONTE_CARLO)
        drawn = [keys.step_key(root, sample) for sample in range(samples)]
        scores = [self.log_likelihoods(params, tokens, key) for key in drawn]
        return -float(mean_of_probabilities(jnp.stack(scores)).mean())

    def text(
        self, params: Any, seed: int, prompt: str, count: int, temperature: float
    ) -> str:
        """The prompt and `count` symbols that the model goes on with."""
        tokens = self.corpus.encode(prompt)
        key = key_for(seed, SAMPLE)
        new = self._text(params, tokens[None], key, temperature, count)
        return self.corpus.decode([*tokens.tolist(), *np.asarray(new).tolist()])

    @functools.partial(jax.jit, static_argnums=(0, 5))
    def _text(self, params, prompt, key, temperature, count):
        unknown = self.corpus.vocabulary.index(UNKNOWN)

        def body(carried, step):
            logits, carry = carried
            drawn = jax.random.categorical(
                keys.step_key(key, step),
                logits.at[unknown].set(-jnp.inf) / temperature,
            )
            logits, carry, _ = self.model.run(params, drawn[None, None], carry, None)
            return (logits[0, -1], carry), drawn

        logits, carry, _ = self.model.run(params, prompt, self.model.start(1), None)
        return lax.scan(body, (logits[0, -1], carry), jnp.arange(count))[1]
