"""Attention with dropout, for `flax.nnx.MultiHeadAttention`."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from flax.nnx.nn import attention as flax_attention
from flax.nnx.nn import dtypes

from jaxnoise._flax import _attention


def dot_product_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    bias: jax.Array | None = None,
    mask: jax.Array | None = None,
    broadcast_dropout: bool = True,
    dropout_rng: jax.Array | None = None,
    dropout_rate: float = 0.0,
    deterministic: bool = False,
    dtype: Any = None,
    precision: Any = None,
    module: nnx.Module | None = None,
    promote_dtype: Callable[..., Any] = dtypes.promote_dtype,
    is_causal: bool = False,
    *,
    drop: Literal["weights", "keys"] = "weights",
    broadcast_dims: Sequence[int] | None = None,
    bits: int = 32,
    block_size: int | None = None,
) -> jax.Array:
    """`flax.nnx.dot_product_attention`, with the dropout of this library.

    Law: that of `jaxnoise.dot_product_attention` for the key `dropout_rng` and the rate
    `dropout_rate`. For the same key float32 outputs are those of flax to rounding. In
    the backward pass it keeps the weights and a byte for each, or a bit if `bits` is
    less than 32, where flax keeps the dropped weights as well.

    It is the `attention_fn` of `flax.nnx.MultiHeadAttention`, and `functools.partial`
    sets the rest.

    Args:
      query, key, value, bias, mask, broadcast_dropout, dropout_rng, dropout_rate,
        deterministic, dtype, precision, module, promote_dtype, is_causal: as in
        `flax.nnx.dot_product_attention`. `key` are the keys of attention.
      drop: "weights" after the softmax, or "keys" before it (DropKey).
      broadcast_dims: dims of the weights (*batch, heads, queries, keys) that share a
        coin, in the place of `broadcast_dropout`; (-2, -1) drops whole heads.
      bits: as in `jaxnoise.dropout`: 8 and 16 draw another mask, faster.
      block_size: as in `jaxnoise.dot_product_attention`: memory that grows with the
        length and not with its square. The softmax is computed in float32.

    Returns:
      Array (*batch, queries, heads, depth of values).

    Raises:
      ValueError: as `jaxnoise.dot_product_attention`; no `dropout_rng` where there is
        dropout; precision, or a module to sow into, with `block_size` or with
        `drop="keys"`, which have no weights after the softmax to work on.

    Example:
      >>> import functools, jax.numpy as jnp, jaxnoise.nnx as jnx
      >>> from flax import nnx
      >>> attend = functools.partial(jnx.dot_product_attention, bits=8, block_size=4)
      >>> layer = nnx.MultiHeadAttention(2, 8, dropout_rate=0.1, deterministic=False,
      ...     decode=False, attention_fn=attend, rngs=nnx.Rngs(0))
      >>> layer(jnp.ones((1, 6, 8))).shape
      (1, 6, 8)
    """
    noise = (broadcast_dropout, broadcast_dims, bits)
    if block_size is not None or drop != "weights":
        query, key, value = promote_dtype((query, key, value), dtype=dtype)
        return _attention.pure(
            dropout_rng,
            query,
            key,
            value,
            dropout_rate,
            deterministic,
            *noise,
            refused={"precision": precision, "module": module},
            bias=bias,
            mask=mask,
            is_causal=is_causal,
            drop=drop,
            block_size=block_size,
        )
    if not _attention.drops(dropout_rate, deterministic):
        return nnx.dot_product_attention(
            query,
            key,
            value,
            bias,
            mask,
            deterministic=True,
            dtype=dtype,
            precision=precision,
            module=module,
            promote_dtype=promote_dtype,
            is_causal=is_causal,
        )
    query, key, value = promote_dtype((query, key, value), dtype=dtype)
    weights = flax_attention.dot_product_attention_weights(
        query,
        key,
        bias,
        mask,
        deterministic=True,
        dtype=dtype,
        precision=precision,
        module=module,
        promote_dtype=promote_dtype,
        is_causal=is_causal,
    )
    # as many values as queries, where groups of queries share them
    value = jnp.repeat(value, weights.shape[-3] // value.shape[-2], axis=-2)
    mix = functools.partial(jnp.einsum, _attention.FORMULA, precision=precision)
    return _attention.mixed(dropout_rng, weights, value, dropout_rate, *noise, mix)
