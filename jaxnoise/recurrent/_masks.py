"""Masks applied to arrays, and zoneout."""

import jax
import jax.numpy as jnp
from jax import lax

from jaxnoise._core import _precision

Mask = jax.Array | tuple[jax.Array, ...] | None
"""One mask for all gates, or a tuple of one for each; None where there is none."""


def times(x: jax.Array, mask: jax.Array | None) -> jax.Array:
    """`x` times a mask, in the wider precision; what a 0 drops is 0, nan included."""
    if mask is None:
        return x
    mask = rank(mask, x.ndim)
    wide = _precision.wide_dtype(x, mask)
    product = (x.astype(wide) * mask.astype(wide)).astype(x.dtype)
    return jnp.where(mask == 0, jnp.zeros((), x.dtype), product)


def mix(new: jax.Array, old: jax.Array, update: jax.Array | None) -> jax.Array:
    """Zoneout: the new value where `update` is 1, the old one where it is 0."""
    if update is None:
        return new
    update = rank(update, new.ndim)
    wide = _precision.wide_dtype(new, update)
    update = update.astype(wide)
    mixed = update * new.astype(wide) + (1 - update) * old.astype(wide)
    return mixed.astype(new.dtype)


def rank(x: jax.Array, ndim: int) -> jax.Array:
    """`x` with dims of size 1 in front, as broadcasting would do it by itself."""
    return lax.expand_dims(x, range(ndim - x.ndim))
