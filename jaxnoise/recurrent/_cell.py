"""A recurrent cell, and checks of the state, input and masks that it is given."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from jaxnoise._core import _arrays, _dims, _integers, _shown
from jaxnoise.recurrent._masks import rank
from jaxnoise.recurrent._noise import Noise
from jaxnoise.recurrent._weights import check_weights, widths

State = tuple[jax.Array, ...]


class Cell(NamedTuple):
    """A recurrent cell as a function of its preactivations.

    forward: (ax, ah, state, masks) -> (state, saved), ax and ah being the matmuls of
      the input and of h, a tuple of gates each; h is the last part of the state. saved
      has an array for each gate, and one more if ah of the last gate is needed apart.
    backward: (saved, state, masks, dstate) -> (da, dstate, dmasks), from the state
      before the step and the cotangent of the one after it. da is the cotangents of ax,
      and one more, that of ah of the last gate, if saved has one more: they take each
      other's place in memory. None where the activations are not known to have one.
    """

    name: str
    gates: int
    states: int
    places: tuple[str, ...]
    forward: Callable[..., Any]
    backward: Callable[..., Any] | None


def mask_shapes(cell, weights, batch, tied):
    width, features = widths(weights)
    gates = () if tied else (cell.gates,)
    unit = (*batch, features)
    return Noise(
        input=(*gates, *batch, width),
        recurrent=(*gates, *unit),
        candidate=unit,
        cell=unit,
        zoneout_hidden=unit,
        zoneout_cell=unit,
        weight=(cell.gates, features, features),
        output=unit,
    )


def check_arrays(cell, weights, state, x, name, front):
    check_weights(cell.name, cell.gates, weights)
    width, features = widths(weights)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(
            f"{cell.name}: {name} must have a floating dtype, got {x.dtype}."
        )
    dims = (*front, "*batch", "width")
    if x.ndim < len(dims) - 1 or x.shape[-1] != width:
        raise ValueError(
            f"{cell.name}: {name} must be ({', '.join(dims)}) with a width of {width}, "
            f"got shape {x.shape}."
        )
    if front and jax.typeof(x).sharding.spec[:1] not in ((), (None,)):
        raise ValueError(
            f"{cell.name}: {name} must not be split over time on an explicit mesh, got "
            f"{jax.typeof(x)}. Gather the steps with jax.sharding.reshard."
        )
    expected = (*x.shape[len(front) : -1], features)
    # the rows of an array would be taken for parts
    parts = state if isinstance(state, tuple | list) else (state,)
    shapes = tuple(map(np.shape, parts))
    if shapes != (expected,) * cell.states:
        raise ValueError(
            f"{cell.name}: carry must have {cell.states} array(s) of shape {expected}, "
            f"got shapes {_shown.shown(shapes)}."
        )


def check_lengths(function, lengths, steps, batch):
    if lengths is None:
        return None
    array = _arrays.array(function, "seq_lengths", lengths)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(
            f"{function}: seq_lengths must be integers, got dtype {array.dtype}."
        )
    if array.shape != batch:
        raise ValueError(
            f"{function}: seq_lengths must have the batch shape {batch}, got "
            f"{array.shape}."
        )
    known = not isinstance(array, Tracer) and _integers.known(steps)
    if known and array.size:
        low, high = np.asarray(array).min(), np.asarray(array).max()
        if low < 0 or high > steps:
            raise ValueError(
                f"{function}: seq_lengths must be in [0, {steps}], got values from "
                f"{low} to {high}."
            )
    return jnp.clip(array, 0, steps).astype(np.int32)


def arrange(
    function: str,
    noise: Noise | None,
    places: tuple[str, ...],
    shapes: Noise,
    steps: int | None,
    tied: bool,
) -> tuple[Noise, Noise]:
    """The masks of a whole sequence and those that differ from step to step.

    `shapes` has the shape of each mask without time. A mask with one dim more has time
    in front; one with fewer is shared by the dims that it lacks. If not tied, those of
    the input and of h become a tuple of gates.
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
            mask = jnp.broadcast_to(mask, (steps, *mask.shape[1:]))
        else:
            mask = rank(mask, len(shape))
        if place in ("input", "recurrent") and not tied:
            mask = _by_gate(mask, shape[0], 1 if timed else 0)
        (stepped if timed else fixed)[place] = mask
    return Noise(**fixed), Noise(**stepped)


def _by_gate(mask, gates, axis):
    shape = (*mask.shape[:axis], gates, *mask.shape[axis + 1 :])
    mask = jnp.broadcast_to(mask, shape)
    return tuple(
        lax.index_in_dim(mask, gate, axis, keepdims=False) for gate in range(gates)
    )


def _check_fit(function, place, mask, shape):
    if not jnp.issubdtype(mask.dtype, jnp.floating):
        raise TypeError(
            f"{function}: noise.{place} must be a floating mask, already scaled by "
            f"1 / (1 - rate), got dtype {mask.dtype}."
        )
    if not _dims.broadcasts(mask.shape, shape):
        raise ValueError(
            f"{function}: noise.{place} must broadcast to {shape}, got shape "
            f"{mask.shape}."
        )
