"""Embedding of words with whole words dropped."""

from collections.abc import Mapping
from typing import Any, TypedDict, Unpack

import jax
from flax import nnx
from flax.typing import Dtype, Initializer, PromoteDtypeFn
from jax.typing import ArrayLike

import jaxnoise as jn
from jaxnoise._core import _arrays, _check, _integers
from jaxnoise._text import look_up
from jaxnoise.nnx._noise_layer import KeyedLayer, Source, is_deterministic


class EmbedOptions(TypedDict, total=False):
    """Options of `flax.nnx.Embed`: its parameters but the sizes and rngs."""

    dtype: Dtype | None
    param_dtype: Dtype
    embedding_init: Initializer
    promote_dtype: PromoteDtypeFn
    embedding_metadata: Mapping[str, Any]


class Embed(KeyedLayer, nnx.Embed):
    """`flax.nnx.Embed` that drops words: the same parameters, arguments and outputs.

    Law: that of `jaxnoise.embedding_dropout` on the table; a dropped word is dropped at
    each place where it occurs, in all sequences of the batch. `attend` uses the table
    without noise. Of the arguments of a call, `out_sharding` is not there: on an
    explicit mesh the words are split as the inputs are.

    Args:
      num_embeddings, features: size of the vocabulary, and of a word.
      rate: probability of dropping a word, in [0, 1].
      deterministic, rng_collection: as in `flax.nnx.Dropout`.
      bits: as in `jaxnoise.dropout`.
      rngs: where the table and the noise take their keys from.
      **options: dtype, param_dtype, embedding_init, promote_dtype and
        embedding_metadata as in `flax.nnx.Embed`.

    Example:
      >>> import jax.numpy as jnp, jaxnoise.nnx as jnx
      >>> from flax import nnx
      >>> layer = jnx.Embed(100, 4, rate=0.5, rngs=nnx.Rngs(0, dropout=1))
      >>> words = jnp.array([[7, 8, 7]])
      >>> y = layer(words)
      >>> y.shape, bool((y[0, 0] == y[0, 2]).all())
      ((1, 3, 4), True)
    """

    def __init__(
        self,
        num_embeddings: int,
        features: int,
        *,
        rate: ArrayLike = 0.0,
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        bits: int = 32,
        rngs: nnx.Rngs,
        **options: Unpack[EmbedOptions],
    ):
        name = "Embed"
        _check.rate(name, rate)
        _integers.count(name, "num_embeddings", num_embeddings)
        _integers.count(name, "features", features)
        self.rate, self.bits = rate, bits
        nnx.Embed.__init__(self, num_embeddings, features, rngs=rngs, **options)
        # after the table, which is then that of flax for the same rngs; noise may still
        # get its keys at the call
        has_noise = {rng_collection, "default"} & set(rngs)
        super().__init__(
            deterministic=deterministic,
            rng_collection=rng_collection,
            rngs=rngs if has_noise else None,
        )

    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        inputs: jax.Array,
        *,
        deterministic: bool | None = None,
        rngs: Source | None = None,
    ) -> jax.Array:
        """Look words up, whole words dropped unless `deterministic`.

        Args:
          inputs: integers of any shape.
          deterministic: True for no noise; wins over the constructor's.
          rngs: a PRNG key, used as it is, or where to take one from; wins over the
            constructor's.

        Raises:
          ValueError: inputs that are not integers, or, for a rate other than 0,
            deterministic is None in both places or there are no rngs.
          TypeError: rngs is something else.
        """
        name = "Embed"
        off = _check.known(_check.rate(name, self.rate), 0)
        table = self.embedding[...]
        if not (off or is_deterministic(self, deterministic)):
            table = jn.embedding_dropout(
                self._key(rngs), table, self.rate, bits=self.bits
            )
        (table,) = self.promote_dtype((table,), dtype=self.dtype, inexact=False)
        return look_up("Embed", table, _arrays.array(name, "inputs", inputs))
