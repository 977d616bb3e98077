"""Masks at work: how they meet arrays and matmuls."""

import jax
import jax.numpy as jnp
from jax import lax


def times(x: jax.Array, mask: jax.Array | None) -> jax.Array:
    """`x` times a mask, in the wider precision; what a 0 drops is 0, nan included."""
    if mask is None:
        return x
    mask = rank(mask, x.ndim)
    wide = jnp.promote_types(x.dtype, mask.dtype)
    product = (x.astype(wide) * mask.astype(wide)).astype(x.dtype)
    return jnp.where(mask == 0, jnp.zeros((), x.dtype), product)


def mix(new: jax.Array, old: jax.Array, update: jax.Array | None) -> jax.Array:
    """Zoneout: the new value where `update` is 1, the old one where it is 0."""
    if update is None:
        return new
    update = rank(update, new.ndim)
    wide = jnp.promote_types(new.dtype, update.dtype)
    update = update.astype(wide)
    mixed = update * new.astype(wide) + (1 - update) * old.astype(wide)
    return mixed.astype(new.dtype)


def rank(x: jax.Array, ndim: int) -> jax.Array:
    """`x` with dims of size 1 in front, as broadcasting would do it by itself."""
    return lax.expand_dims(x, range(ndim - x.ndim))


def dot(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The matmul over the last dim of `x`, in the dtype of the kernel."""
    dims = (((x.ndim - 1,), (0,)), ((), ()))
    return lax.dot_general(x.astype(kernel.dtype), kernel, dims)


def project(
    x: jax.Array, mask: jax.Array | None, kernels: tuple[jax.Array, ...], batch: int
) -> jax.Array:
    """The matmul of `x` under its mask: with one kernel, or with one per gate.

    With one per gate the mask has its gates before the `batch` dims and the width.
    """
    if len(kernels) == 1:
        return dot(times(x, mask), kernels[0])
    assert mask is not None
    axis = mask.ndim - batch - 2
    parts = [
        dot(times(x, lax.index_in_dim(mask, gate, axis, keepdims=False)), kernel)
        for gate, kernel in enumerate(kernels)
    ]
    return jnp.concatenate(parts, axis=-1)
