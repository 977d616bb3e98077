"""Training of `language_model.py`: steps, scores and samples of text."""

import functools
import hashlib
import json
import math
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

from jaxnoise import keys, losses

CHUNK = 25  # steps under one jit, after which the progress bar moves
SAVED = 10  # chunks between checkpoints; there is one at the end of an epoch, too
PARAMETERS, NOISE, MONTE_CARLO, SAMPLE = range(4)  # what a key is folded for


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


class History(NamedTuple):
    """(step, nats per symbol): in training, with noise, and of the held-out text."""

    train: list[tuple[int, float]]
    valid: list[tuple[int, float]]


class Trainer:
    """A model on a corpus: where a step starts and ends, what it does, how good it is.

    The seed comes with each call, so several seeds share what is compiled.
    """

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
        rate = optax.warmup_cosine_decay_schedule(
            0.0, settings.learning_rate, max(1, min(100, self.steps // 10)), self.steps
        )
        clip = optax.clip_by_global_norm(settings.clip)
        self.optimizer = optax.chain(clip, optax.adam(rate))

    def start(self, seed: int) -> State:
        params = self.model.initialise(key_for(seed, PARAMETERS))
        carry = self.model.start(self.settings.rows)
        return State(params, self.optimizer.init(params), carry)

    def chunk_end(self, step: int) -> int:
        """Chunks end with epochs, and depend on nothing but the step."""
        epoch, within = divmod(step, self.segments)
        chunk = (within // CHUNK + 1) * CHUNK
        return min(epoch * self.segments + min(chunk, self.segments), self.steps)

    def saved(self, step: int) -> bool:
        """Whether there is a checkpoint after the chunk that ends here."""
        within = step % self.segments
        return within % (CHUNK * SAVED) == 0 or step == self.steps

    def advance(self, state: State, seed: int, step: int) -> tuple[State, int, float]:
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


def key_for(seed: int, use: int) -> jax.Array:
    return jax.random.fold_in(jax.random.key(seed), use)


def measure(nats: float, level: str) -> float:
    """Nats per symbol in the unit of the level."""
    return math.exp(nats) if level == "word" else nats / math.log(2)


def identity_of(corpus: Corpus, settings: Settings, seed: int) -> dict[str, Any]:
    """What has to be the same in a run that goes on with a checkpoint, as JSON."""
    text = hashlib.sha256(corpus.train.tobytes() + corpus.valid.tobytes())
    values = settings._asdict() | {"method": settings.method._asdict()}
    values |= {"seed": seed, "text": text.hexdigest(), "level": corpus.level}
    return json.loads(json.dumps(values))
