"""The weights of a recurrent cell: as callers and as the matmuls have them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnoise._core import _shown
from jaxnoise.recurrent._masks import times
from jaxnoise.recurrent._matmul import gate_axis
from jaxnoise.recurrent._noise import Noise

ByGate = tuple[jax.Array, ...]


class Weights(NamedTuple):
    """The weights of a cell, with its gates side by side or as tuples.

    The gates are in the order i, f, g, o (LSTM) or r, z, n (GRU); a simple cell has
    one. With D the width of the input, H that of the state and G gates:

    input: (D, G H), the kernel of the input; or a tuple of G, (D, H) each.
    recurrent: (H, G H), the kernel of h; or a tuple of G, (H, H) each.
    bias: (G H,), added once to the sum of both matmuls; or a tuple of G, (H,) each.
    recurrent_bias: (H,) or None, added to the matmul of h for the gate n of a GRU,
      inside the product with r. None for the other cells.

    Tuples are for kernels with their units over devices, which each have some units of
    all gates then. Side by side, they have all units of some gates, which have to move.
    """

    input: jax.Array | ByGate
    recurrent: jax.Array | ByGate
    bias: jax.Array | ByGate
    recurrent_bias: jax.Array | None = None


def widths(weights: Weights) -> tuple[int, int]:
    """The width D of the input, and H of the state."""
    return _rows(weights.input), _rows(weights.recurrent)


def _rows(kernel):
    first = kernel[0] if isinstance(kernel, tuple) else kernel
    return first.shape[0] if first.ndim else 0


def check_weights(function: str, gates: int, weights: Weights) -> None:
    if not isinstance(weights, Weights):
        raise TypeError(
            f"{function}: weights must be jaxnoise.recurrent.Weights, got "
            f"{type(weights).__name__}."
        )
    fields = {k: v for k, v in weights._asdict().items() if k != "recurrent_bias"}
    for name, value in fields.items():
        parts = value if isinstance(value, tuple) else (value,)
        if not parts or not all(isinstance(p, jax.Array | np.ndarray) for p in parts):
            raise TypeError(
                f"{function}: weights.{name} must be an array, or a tuple of one for "
                f"each of {gates} gate(s), got {_shown.shown(value)}."
            )
    dtypes = {str(array.dtype) for array in jax.tree.leaves(weights)}
    if len(dtypes) > 1:
        raise TypeError(
            f"{function}: weights must have one dtype, in which the matmuls are done, "
            f"got {', '.join(sorted(dtypes))}."
        )
    width, features = widths(weights)
    rows = {"recurrent": (features,), "input": (width,), "bias": ()}
    for name, front in rows.items():
        value, whole = fields[name], (*front, gates * features)
        part = (*front, features)
        found = tuple(map(np.shape, value)) if isinstance(value, tuple) else value.shape
        if found not in (whole, (part,) * gates):
            raise ValueError(
                f"{function}: weights.{name} must have shape {whole} for {gates} "
                f"gate(s) of {features} units, or be a tuple of {gates} of shape "
                f"{part}, got {_shown.shown(found)}."
            )
    bias = weights.recurrent_bias
    if bias is not None and bias.shape != (features,):
        raise ValueError(
            f"{function}: weights.recurrent_bias must have shape ({features},), got "
            f"{bias.shape}."
        )


class Kernels(NamedTuple):
    """The weights as the matmuls take them.

    The kernels of the input are by gate: in one array, their gradients would have to be
    put together. Those of h are one array: (H, G, H), for one larger matmul a step, or
    (G, H, H) where each gate has a mask of its own. With a dim for the gates, units
    that are split over devices stay where they are.
    """

    input: ByGate
    bias: ByGate
    recurrent: jax.Array
    recurrent_bias: jax.Array | None


def kernels(gates: int, weights: Weights, masks: Noise) -> Kernels:
    """The kernels, that of h under its mask."""
    recurrent = weights.recurrent
    if masks.weight is not None:
        recurrent = _dropped(recurrent, masks.weight, gates)
    return Kernels(
        by_gate(weights.input, gates),
        by_gate(weights.bias, gates),
        jnp.stack(by_gate(recurrent, gates), gate_axis(masks.recurrent)),
        weights.recurrent_bias,
    )


def _dropped(kernel, mask, gates):
    # in the form that the kernel has: in another one, the parts of a kernel that is
    # split over devices would have to move, or those of its gradient
    if not isinstance(kernel, tuple):
        if not jax.typeof(kernel).sharding.mesh.explicit_axes:
            rows, columns = kernel.shape
            mask = jnp.broadcast_to(mask, (gates, rows, columns // gates))
            mask = jnp.moveaxis(mask, 0, 1)
            return times(kernel, mask.reshape(kernel.shape))
        # whose mask is split by units
        kernel = by_gate(kernel, gates)
    return tuple(map(times, kernel, jnp.broadcast_to(mask, (gates, *kernel[0].shape))))


def by_gate(array: jax.Array | ByGate, gates: int) -> ByGate:
    """Arrays side by side as a tuple of them."""
    if isinstance(array, tuple):
        return array
    return tuple(jnp.split(array, gates, axis=-1))
