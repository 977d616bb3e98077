"""The attention functions of `linen` and `nnx`, with the arguments of flax."""

from collections.abc import Callable, Sequence
from typing import Any

import jax

from jaxnoise._attention import _plain as _attention_plain
from jaxnoise._attention import dot_product_attention
from jaxnoise._core import _arrays, _check, _dims, _shown

_NAME = "dot_product_attention"
# flax's formula of the sum of values by weights
FORMULA = "...hqk,...khd->...qhd"


def drops(rate: Any, deterministic: bool) -> bool:
    """Whether there is noise."""
    return not deterministic and not _check.known(_rate(rate), 0)


def _rate(rate: Any) -> _check.Amount:
    return _check.rate(_NAME, rate, name="dropout_rate")


def _shared(ndim: int, broadcast_dropout: bool, dims: Sequence[int] | None):
    """The dims that share a coin: flax shares batch and heads, unless told."""
    if dims is not None:
        return _dims.normalized(_NAME, "broadcast_dims", dims, ndim)
    return tuple(range(ndim - 2)) if broadcast_dropout else ()


def mixed(
    key: Any,
    weights: jax.Array,
    value: jax.Array,
    rate: Any,
    broadcast_dropout: bool,
    broadcast_dims: Sequence[int] | None,
    bits: int,
    mix: Callable[[jax.Array, jax.Array], jax.Array],
) -> jax.Array:
    """`mix` of weights and values, with dropout on the weights."""
    rate = _rate(rate)
    key = _key(key)
    shared = _shared(weights.ndim, broadcast_dropout, broadcast_dims)
    bits = _check.bits(_NAME, bits, rate)
    odds = _attention_plain.odds_of(rate, weights, bits)
    return _attention_plain.weighted(key, weights, value, odds, shared, bits, mix)


def _key(key: Any) -> jax.Array:
    if key is None:
        raise ValueError(
            f"{_NAME}: dropout_rng must be a PRNG key where there is dropout, got "
            f"None. Pass one, or deterministic=True."
        )
    return _check.key(_NAME, key, name="dropout_rng")


def pure(
    key: Any,
    query: jax.Array,
    keys: jax.Array,
    value: jax.Array,
    rate: Any,
    deterministic: bool,
    broadcast_dropout: bool,
    broadcast_dims: Sequence[int] | None,
    bits: int,
    refused: dict[str, Any],
    **options: Any,
) -> jax.Array:
    """`jaxnoise.dot_product_attention`, which has no weights to show or to change."""
    for name, wanted in refused.items():
        if wanted:
            raise ValueError(
                f"{_NAME}: {name} must not be given with block_size or drop='keys', "
                f"got {_shown.shown(wanted)}. Leave block_size and drop out for it."
            )
    if drops(rate, deterministic):
        shared = _shared(query.ndim, broadcast_dropout, broadcast_dims)
        key, rate = _key(key), _rate(rate)
    else:  # some key: nothing is drawn
        key, rate, shared, bits = jax.random.key(0), 0.0, (), 32
    if options["mask"] is not None:
        options["mask"] = _arrays.array(_NAME, "mask", options["mask"]).astype(bool)
    return dot_product_attention(
        key, query, keys, value, rate, broadcast_dims=shared, bits=bits, **options
    )
