"""Attention with dropout, for `flax.linen.MultiHeadDotProductAttention`."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype

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
    module: nn.Module | None = None,
    force_fp32_for_softmax: bool = False,
    einsum_dot_general: Callable[..., jax.Array] | None = None,
    qk_attn_weights_einsum: Callable[..., jax.Array] | None = None,
    attn_weights_value_einsum: Callable[..., jax.Array] | None = None,
    *,
    drop: Literal["weights", "keys"] = "weights",
    broadcast_dims: Sequence[int] | None = None,
    bits: int = 32,
    block_size: int | None = None,
) -> jax.Array:
    """`flax.linen.dot_product_attention`, with the dropout of this library.

    Law: that of `jaxnoise.dot_product_attention` for the key `dropout_rng` and the rate
    `dropout_rate`. For the same key float32 outputs are those of flax to rounding. In
    the backward pass it keeps the weights and a byte for each, or a bit if `bits` is
    less than 32, where flax keeps the dropped weights as well.

    It is the `attention_fn` of `flax.linen.MultiHeadDotProductAttention`, and
    `functools.partial` sets the rest.

    Args:
      query, key, value, bias, mask, broadcast_dropout, dropout_rng, dropout_rate,
        deterministic, dtype, precision, module, force_fp32_for_softmax,
        einsum_dot_general, qk_attn_weights_einsum, attn_weights_value_einsum: as in
        `flax.linen.dot_product_attention`. `key` are the keys of attention.
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
        dropout; precision, a module to sow into, or an einsum with `block_size` or with
        `drop="keys"`, which have no weights after the softmax to work on.

    Example:
      >>> import functools, flax.linen as nn, jax, jax.numpy as jnp
      >>> import jaxnoise.linen as jnn
      >>> attend = functools.partial(jnn.dot_product_attention, bits=8, block_size=4)
      >>> layer = nn.MultiHeadDotProductAttention(
      ...     2, dropout_rate=0.1, deterministic=False, attention_fn=attend)
      >>> x, rngs = jnp.ones((1, 6, 8)), {"dropout": jax.random.key(1)}
      >>> variables = layer.init({"params": jax.random.key(0), **rngs}, x)
      >>> layer.apply(variables, x, rngs=rngs).shape
      (1, 6, 8)
    """
    noise = (broadcast_dropout, broadcast_dims, bits)
    if block_size is not None or drop != "weights":
        query, key, value = promote_dtype(query, key, value, dtype=dtype)
        return _attention.pure(
            dropout_rng,
            query,
            key,
            value,
            dropout_rate,
            deterministic,
            *noise,
            refused={
                "precision": precision,
                "module": module,
                "einsum_dot_general": einsum_dot_general,
                "qk_attn_weights_einsum": qk_attn_weights_einsum,
                "attn_weights_value_einsum": attn_weights_value_einsum,
            },
            bias=bias,
            mask=mask,
            drop=drop,
            block_size=block_size,
        )
    dot = einsum_dot_general or jax.lax.dot_general
    contract = functools.partial(jnp.einsum, precision=precision, _dot_general=dot)

    def mix(formula, weights, value):
        inner = functools.partial(attn_weights_value_einsum or contract, formula)
        if not _attention.drops(dropout_rate, deterministic):
            return inner(weights, value)
        return _attention.mixed(
            dropout_rng, weights, value, dropout_rate, *noise, inner
        )

    # flax computes the weights, and shows them to the module
    return nn.dot_product_attention(
        query,
        key,
        value,
        bias,
        mask,
        deterministic=True,
        dtype=dtype,
        module=module,
        force_fp32_for_softmax=force_fp32_for_softmax,
        qk_attn_weights_einsum=qk_attn_weights_einsum or contract,
        attn_weights_value_einsum=mix,
    )
