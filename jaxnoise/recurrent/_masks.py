"""Masks at work: how they meet arrays, and whether they fit a sequence."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnoise.recurrent._noise import Noise


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


def arrange(
    function: str,
    noise: Noise | None,
    places: tuple[str, ...],
    shapes: Noise,
    steps: int | None,
) -> tuple[Noise, Noise]:
    """The masks of a whole sequence and those that differ from step to step.

    `shapes` has the shape of each mask without time. A mask with one dim more has time
    in front; one with fewer is shared by the dims that it lacks.
    """
    if noise is None:
        return Noise(), Noise()
    if not isinstance(noise, Noise):
        raise TypeError(
            f"{function}: noise must be a jaxnoise.recurrent.Noise or None, got "
            f"{type(noise).__name__}. Draw it with sample_noise."
        )
    fixed: dict[str, Any] = {}
    stepped: dict[str, Any] = {}
    for place, mask in noise._asdict().items():
        if mask is None:
            continue
        if place not in places:
            raise ValueError(
                f"{function}: noise.{place} must be None, got a mask. This cell has "
                f"the places {', '.join(places)}."
            )
        mask = jnp.asarray(mask)
        shape = getattr(shapes, place)
        timed = steps is not None and place != "weight" and mask.ndim > len(shape)
        _check_fit(function, place, mask, (steps, *shape) if timed else shape)
        if timed:
            stepped[place] = mask
        else:
            fixed[place] = rank(mask, len(shape))
    return Noise(**fixed), Noise(**stepped)


def _check_fit(function, place, mask, shape):
    if not jnp.issubdtype(mask.dtype, jnp.floating):
        raise TypeError(
            f"{function}: noise.{place} must be a floating mask, already scaled by "
            f"1 / (1 - rate), got dtype {mask.dtype}."
        )
    try:
        fits = np.broadcast_shapes(mask.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"{function}: noise.{place} must broadcast to {shape}, got shape "
            f"{mask.shape}."
        )
