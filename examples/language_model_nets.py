"""The network of `language_model.py`, and what each method puts into it."""

import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from language_model_data import IGNORED

import jaxnoise.linen as jnn


class Method(NamedTuple):
    """Where noise is, and how much.

    `input`, `recurrent`, `candidate`, `weight` and the two zoneouts are the rates of
    that name of the LSTM layers, `output` that of what the last one emits, `embedding`
    that of words (or characters) of the vocabulary. `ar` and `tar` are the factors of
    the two penalties on activations.
    """

    input: float = 0.0
    recurrent: float = 0.0
    candidate: float = 0.0
    weight: float = 0.0
    zoneout_hidden: float = 0.0
    zoneout_cell: float = 0.0
    output: float = 0.0
    embedding: float = 0.0
    ar: float = 0.0
    tar: float = 0.0
    tied: bool = True
    per_step: bool = False


# Rates suit small models and short runs; the published ones are for large models. Masks
# are new in each segment, and shared by its steps unless per_step.
METHODS = {
    "none": Method(),
    # Zaremba et al.: new masks at each step, and none on the recurrence
    "naive": Method(input=0.2, output=0.2, per_step=True),
    # Gal and Ghahramani, with one mask for the four gates and with one for each
    "variational": Method(input=0.2, recurrent=0.1, output=0.2, embedding=0.02),
    "untied": Method(input=0.2, recurrent=0.1, output=0.2, embedding=0.02, tied=False),
    # Krueger et al.; drawn per step by definition
    "zoneout": Method(zoneout_hidden=0.05, zoneout_cell=0.1),
    # Semeniuta et al.
    "candidate": Method(candidate=0.1, output=0.2),
    # Merity et al.: DropConnect alone, and with the rest of AWD-LSTM
    "weightdrop": Method(weight=0.3),
    "awd": Method(weight=0.3, input=0.2, output=0.2, embedding=0.02, ar=2.0, tar=1.0),
}


class LanguageModel(nn.Module):
    """Embedding, LSTM layers and the logits of the next symbol."""

    method: Method
    vocabulary: int
    embedding: int
    features: int
    layers: int

    @nn.compact
    def __call__(
        self, tokens: jax.Array, carry: Any, train: bool
    ) -> tuple[jax.Array, Any, tuple[jax.Array, jax.Array]]:
        """Logits, the carry after the segment, and the last layer's two activations.

        Args:
          tokens: integers (rows, length).
          carry: that of each layer.
          train: whether there is noise.

        The activations are those without and those with the output dropout on them.
        """
        method, carries = self.method, []
        quiet: Any = {"deterministic": not train}
        x = jnn.Embed(self.vocabulary, self.embedding, rate=method.embedding)(
            tokens, **quiet
        )
        for layer in range(self.layers):
            rnn = jnn.RNN(self.cell(), return_carry=True, name=f"lstm_{layer}")
            last, x = rnn(x, initial_carry=carry[layer], **quiet)
            carries.append(last)
        # a mask without time is AWD's "locked" dropout
        shared = () if method.per_step else (1,)
        dropped = jnn.Dropout(method.output, broadcast_dims=shared)(x, **quiet)
        return nn.Dense(self.vocabulary)(dropped), tuple(carries), (x, dropped)

    @nn.nowrap
    def cell(self) -> jnn.LSTMCell:
        method = self.method
        return jnn.LSTMCell(
            self.features,
            input_rate=method.input,
            recurrent_rate=method.recurrent,
            candidate_rate=method.candidate,
            weight_rate=method.weight,
            zoneout_hidden=method.zoneout_hidden,
            zoneout_cell=method.zoneout_cell,
            tied=method.tied,
            per_step=method.per_step,
        )

    @nn.nowrap
    def start(self, rows: int) -> Any:
        """The carry before a text."""
        cell, shape = self.cell(), (rows, self.features)
        keys = jax.random.split(jax.random.key(0), self.layers)  # for zeros
        return tuple(cell.initialize_carry(key, shape) for key in keys)

    @nn.nowrap
    def initialise(self, key: jax.Array) -> Any:
        tokens = jnp.zeros((1, 1), jnp.int32)
        return self.init(key, tokens, self.start(1), train=False)

    @nn.nowrap
    def run(self, params: Any, tokens: jax.Array, carry: Any, key: jax.Array | None):
        """The outputs of a segment, with noise if there is a key."""
        rngs = {} if key is None else {"dropout": key}
        result: Any = self.apply(params, tokens, carry, key is not None, rngs=rngs)
        return result


def log_likelihood(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Log-probability of each target, 0 where it is IGNORED."""
    nats = optax.softmax_cross_entropy_with_integer_labels(
        logits, jnp.maximum(targets, 0)
    )
    return jnp.where(targets == IGNORED, jnp.zeros_like(nats), -nats)


def mean_of_probabilities(samples: jax.Array) -> jax.Array:
    """log(mean(exp(samples))) over the first dim, from log-probabilities."""
    return jax.nn.logsumexp(samples, axis=0) - math.log(len(samples))
