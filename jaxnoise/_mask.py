"""What a keep mask does to an array: kept values are scaled, dropped ones become 0."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxnoise import _check, _random, _sharding


def drop(
    key: jax.Array,
    x: jax.Array,
    rate: _check.Amount,
    shape: _random.Shape,
    bits: int = 32,
) -> jax.Array:
    """`x` / (1 - rate) where a draw of `shape`, broadcast to `x`, keeps it, else 0."""
    if _check.known(rate, 0):
        return x
    if _check.known(rate, 1):
        return _dropped(x)
    threshold, keep = _random.keep_threshold(rate, _random.wide_dtype(x), bits)
    return _drop(key, x, threshold, keep, shape=shape, bits=bits)


@_random.noise
def _drop(key, x, threshold, keep, *, shape, bits):
    return scale_kept(x, keep_mask(key, x, threshold, shape, bits), keep)


def keep_mask(
    key: jax.Array, x: jax.Array, threshold: Any, shape: _random.Shape, bits: int
) -> jax.Array:
    """A mask of `shape` for `x`, on the devices where x is."""
    sharding, shared = _sharding.like(x, shape), shape != x.shape
    return _random.keep_mask(key, threshold, shape, sharding, bits, shared=shared)


@jax.jit
def _dropped(x):
    """Zeros that are sharded as `x`; a constant would be whole on every device."""
    nothing = lax.optimization_barrier(jnp.zeros((), bool))
    return jnp.where(nothing, x, jnp.zeros((), x.dtype))


def scale_kept(x: jax.Array, mask: jax.Array, keep: Any) -> jax.Array:
    """Select, never multiply: a dropped nan or inf is 0, and so is its gradient."""
    # nothing is kept where keep is 0, but 1/0 would still reach the gradient
    one = jnp.ones_like(keep)
    # a product, since XLA makes one of a quotient when and only when it sees fit
    scale = one / jnp.where(keep > 0, keep, one)
    scaled = _random.in_wide(lambda real: real * scale, x)
    return jnp.where(mask, scaled, jnp.zeros((), x.dtype))
