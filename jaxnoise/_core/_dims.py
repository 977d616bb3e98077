"""Dims of an array that an argument names: axes, batch dims, dims that share a draw."""

from typing import Any

import jax

from jaxnoise._core import _integers, _shown


def normalized(function: str, name: str, value: Any, ndim: int) -> tuple[int, ...]:
    """Distinct dims as sorted non-negative ints; negative ones count from the end."""
    items, found = _integers.items(value), set()
    for item in items:
        dim = _integers.integer(function, name, item)
        if not -ndim <= dim < ndim:
            raise ValueError(
                f"{function}: {name} must be in [{-ndim}, {ndim}) for an array of "
                f"{ndim} dims, got {_shown.shown(value)}."
            )
        found.add(dim % ndim)
    if len(found) < len(items):
        raise ValueError(
            f"{function}: {name} must not repeat a dim, got {_shown.shown(value)}."
        )
    return tuple(sorted(found))


def spatial(
    function: str, x: jax.Array, channel_axis: Any, batch_dims: Any
) -> tuple[int, ...]:
    """The dims of `x` that are neither leading batch dims nor the channel axis."""
    batch = _integers.integer(function, "batch_dims", batch_dims)
    axis = _integers.integer(function, "channel_axis", channel_axis)
    (channel,) = normalized(function, "channel_axis", axis, x.ndim)
    if not 0 <= batch < x.ndim:
        raise ValueError(
            f"{function}: batch_dims must be in [0, {x.ndim}) for x of shape "
            f"{x.shape}, got {batch}."
        )
    if channel < batch:
        raise ValueError(
            f"{function}: channel_axis must not be one of the {batch} leading batch "
            f"dims, got {axis}. Channels first is channel_axis={batch}, and for one "
            f"example without a batch dim channel_axis=0, batch_dims=0."
        )
    found = tuple(dim for dim in range(batch, x.ndim) if dim != channel)
    if not found:
        raise ValueError(
            f"{function}: x must have spatial dims beside its {batch} batch dims and "
            f"its channels, got shape {x.shape}. For a single example without a batch "
            f"dim pass batch_dims=0."
        )
    return found


def broadcasts(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether an array of `shape` can be broadcast to the shape `wanted`."""
    # symbolic sizes can be compared with == alone, which numpy.broadcast_shapes is not
    pairs = zip(reversed(shape), reversed(wanted), strict=False)
    return len(shape) <= len(wanted) and all(a in (1, b) for a, b in pairs)


def shared(shape: tuple[int, ...], dims: tuple[int, ...]) -> tuple[int, ...]:
    """`shape` with size 1 on the dims that share one draw."""
    return tuple(1 if dim in dims else size for dim, size in enumerate(shape))
