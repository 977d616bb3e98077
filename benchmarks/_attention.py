"""Attention with dropout on its weights, (key, q, k, v) -> y: ours, and flax's."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax

import jaxnoise as jn
from benchmarks._formulas import RATE

BLOCK = 512
Attention = Callable[..., jax.Array]


def flax(key: jax.Array, q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    options: Any = {"dropout_rng": key, "dropout_rate": RATE}
    return nn.dot_product_attention(q, k, v, broadcast_dropout=False, **options)


def flax_without(_, q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    return nn.dot_product_attention(q, k, v)


def jax_without(_, q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    return jax.nn.dot_product_attention(q, k, v)


def ours(**options: Any) -> Attention:
    return partial(jn.dot_product_attention, rate=RATE, **options)


BLOCKED = {
    f"jaxnoise, block_size={BLOCK}": ours(block_size=BLOCK),
    f"jaxnoise, block_size={BLOCK}, bits=8": ours(block_size=BLOCK, bits=8),
}
WHOLE = {"flax.linen": flax, "jaxnoise": ours(), "jaxnoise, bits=8": ours(bits=8)}
