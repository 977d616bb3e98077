"""Embedding of words with whole words dropped."""

from typing import Any

import flax.linen as nn
import jax
from jax.typing import ArrayLike

import jaxnoise as jn
from jaxnoise._core import _arrays, _check, _integers
from jaxnoise._text import look_up


class Embed(nn.Embed):
    """`flax.linen.Embed` that drops words: the same parameters, arguments and outputs.

    Law: that of `jaxnoise.embedding_dropout` on the table; a dropped word is dropped at
    each place where it occurs, in all sequences of the batch. `attend` uses the table
    without noise. On an explicit mesh, where flax cannot look up, the words are split
    as the inputs are.

    Attributes:
      num_embeddings, features, dtype, param_dtype, embedding_init, promote_dtype: as in
        `flax.linen.Embed`.
      rate: probability of dropping a word, in [0, 1].
      deterministic: True for no noise. Here or at the call, not in both; may be left
        out where rate is 0.
      rng_collection: the stream that keys come from.
      bits: as in `jaxnoise.dropout`.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise.linen as jnn
      >>> layer, words = jnn.Embed(100, 4, rate=0.1), jnp.arange(6).reshape(2, 3)
      >>> params = layer.init(jax.random.key(0), words, deterministic=True)
      >>> rng = jax.random.key(1)
      >>> layer.apply(params, words, deterministic=False, rng=rng).shape
      (2, 3, 4)
    """

    rate: ArrayLike = 0.0
    deterministic: bool | None = None
    rng_collection: str = "dropout"
    bits: int = 32

    def __post_init__(self):
        name = "Embed"
        _check.rate(name, self.rate)
        _integers.count(name, "num_embeddings", self.num_embeddings)
        _integers.count(name, "features", self.features)
        super().__post_init__()

    def __call__(
        self,
        inputs: jax.Array,
        deterministic: bool | None = None,
        rng: jax.Array | None = None,
    ) -> jax.Array:
        """Look words up, whole words dropped unless `deterministic`.

        Args:
          inputs: integers of any shape.
          deterministic: True for no noise.
          rng: PRNG key, used as it is; by default one from `make_rng`.

        Raises:
          ValueError: inputs that are not integers, deterministic given twice or, for a
            rate other than 0, not at all.
          flax.errors.InvalidRngError: neither rng nor the stream `rng_collection`.
        """
        name = "Embed"
        unset = deterministic is None and self.deterministic is None
        if unset and _check.known(_check.rate(name, self.rate), 0):
            deterministic = True
        table: Any = self.embedding
        if not nn.merge_param("deterministic", self.deterministic, deterministic):
            key = self.make_rng(self.rng_collection) if rng is None else rng
            table = jn.embedding_dropout(key, table, self.rate, bits=self.bits)
        (table,) = self.promote_dtype(table, dtype=self.dtype, inexact=False)
        return look_up("Embed", table, _arrays.array(name, "inputs", inputs))
