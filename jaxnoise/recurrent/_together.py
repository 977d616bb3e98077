"""A sequence with all gates in one array: the form for a GPU and a TPU.

On a GPU each array that a step writes and each matmul is a kernel to launch, and the
launches are what a step of a small layer costs; a TPU starts a loop for each. Here all
gates of a step are written at once and meet the kernels of h in one matmul, forward and
backward. `_apart.py` is the form for the CPU, with the same names.

The gates are the second dim, behind time. On a TPU the last two are tiles of 8 by 128,
which a dim of three or four gates would leave half empty.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnoise import _sharding
from jaxnoise.recurrent import _overwrite
from jaxnoise.recurrent._masks import (
    Mask,
    gate_axis,
    project,
    project_stacked,
    stacked_axis,
    through,
    unstacked,
    widened,
)
from jaxnoise.recurrent._noise import Noise
from jaxnoise.recurrent._weights import ByGate, Kernels

Arrays = tuple[jax.Array, ...]
"""Arrays (time, gates, *batch, H): the gates, and what else a cell saves."""


def scan(
    body: Callable[[Any, Any, Any], tuple[Any, Any, Any]],
    carry: Any,
    arrays: Arrays,
    xs: Any,
    *,
    unroll: int | bool,
    reverse: bool = False,
) -> tuple[Any, Any, Any]:
    """`_overwrite.scan` with gates side by side: `body` has them in one tuple.

    A step reads one slice of an array and writes it, so nothing is read ahead.
    """

    def step(carry, inputs):
        inner, arrays = carry
        time, x = inputs
        slices = (_overwrite.at(array, time) for array in arrays)
        parts = tuple(part for gates in slices for part in unstacked(gates, 0))
        inner, parts, y = body(inner, parts, x)
        written = []
        for array in arrays:
            gates, parts = parts[: array.shape[1]], parts[array.shape[1] :]
            written.append(_overwrite.put(array, jnp.stack(gates), time))
        return (inner, tuple(written)), y

    times = np.arange(arrays[0].shape[0], dtype=np.int32)
    (carry, arrays), ys = lax.scan(
        step, (carry, arrays), (times, xs), reverse=reverse, unroll=unroll
    )
    return carry, arrays, ys


def inputs(xs: jax.Array, mask: Mask, kernels: Kernels) -> Arrays:
    """The matmul of the input over the whole sequence, which `scan` writes over."""
    if isinstance(mask, tuple):
        return (jnp.stack(project(xs, mask, kernels.input), 1),)
    ax = project_stacked(xs, mask, jnp.stack(kernels.input, gate_axis(mask)))
    return (jnp.moveaxis(ax, stacked_axis(mask), 1),)


def forward_kernels(kernels: Kernels, mask: Mask) -> Kernels:
    """The kernels as the forward scan takes them."""
    rows = 1 - gate_axis(mask)
    return kernels._replace(recurrent=_filled(kernels.recurrent, rows, 1))


def backward_kernels(kernels: jax.Array, mask: Mask, dhs: jax.Array) -> jax.Array:
    """The kernels of h as the backward scan takes them.

    Put together again, after the forward scan: those that it took were to be kept in
    memory otherwise.
    """
    axis = gate_axis(mask)
    apart, _ = lax.optimization_barrier((unstacked(kernels, axis), dhs))
    summed = 1 if isinstance(mask, tuple) else len(apart)
    return _filled(jnp.stack(apart, axis), 2, summed)


def _filled(kernels, dim, gates):
    """Zeros behind the units of a dim that a matmul sums over, together with `gates`.

    XLA for GPU splits the sum of a matmul of few rows into 2, 4, 8 or 16 parts, of 64
    elements or more and a multiple of 4. Where that does not come out even, it would
    put zeros behind both operands, at every step.
    """
    units = kernels.shape[dim]
    parts = min(16, gates * units // 64)
    if parts < 2 or jax.typeof(kernels).sharding.mesh.explicit_axes:
        return kernels  # on such a mesh, the units may not be split evenly then
    multiple = 4 << (parts.bit_length() - 1)
    multiple //= math.gcd(multiple, gates)
    return widened(kernels, units + -units % multiple, dim)


def settled(cotangents):
    """The cotangents of the gates and of c at a step, all from one kernel.

    Without the barrier each array that is written computes again what it needs of them.
    """
    return lax.optimization_barrier(cotangents)


def unproject_state(
    dy: ByGate, h: jax.Array, mask: Mask, kernels: jax.Array
) -> tuple[jax.Array, Mask]:
    """The cotangents of `h` and of its mask: one matmul, which sums over the gates."""
    _, pull = jax.vjp(lambda h, mask: project_stacked(h, mask, kernels), h, mask)
    stacked = jnp.stack(dy, stacked_axis(mask)).astype(kernels.dtype)
    return pull(widened(stacked, kernels.shape[2]))


def by_gate(arrays: Arrays) -> ByGate:
    """What `scan` has left, for the backward pass: in both forms the same.

    In one program, XLA sees that `from_gates` takes this back.
    """
    return tuple(part for array in arrays for part in unstacked(array, 1))


def from_gates(arrays: ByGate, gates: int) -> Arrays:
    """The way back."""
    more = tuple(jnp.expand_dims(array, 1) for array in arrays[gates:])
    return jnp.stack(arrays[:gates], 1), *more


def gradients(
    da: Arrays, xs: jax.Array, hs: jax.Array, masks: Noise, kernels: Kernels
) -> tuple[Kernels, jax.Array, Mask]:
    """The cotangents of the kernels, the inputs and their mask, from what `scan` left.

    One after the other, so that no more than one of these is in memory beside `da`.
    """
    axis = gate_axis(masks.recurrent)
    recurrent = unstacked(kernels.recurrent, axis)
    drecurrent = _weight_gradients(hs, masks.recurrent, recurrent, _of_state(da))
    if len(recurrent) > 1:  # the two matmuls of one gate fit, and XLA makes them one
        drecurrent, da = lax.optimization_barrier((drecurrent, da))
    dinput = _weight_gradients(xs, masks.input, kernels.input, da[:1])
    dinput, da = lax.optimization_barrier((dinput, da))
    dxs, dmask = _unproject(da[0], xs, masks.input, kernels.input)
    dkernels = Kernels(
        dinput,
        unstacked(_sum(da[0]), 0),
        jnp.stack(drecurrent, axis),
        None if kernels.recurrent_bias is None else _sum(da[-1])[-1],
    )
    return dkernels, dxs, dmask


def _of_state(da):
    """The cotangents of the matmuls of h, among those of the gates and one more."""
    dax, *more = da
    return (dax[:, :-1], *more) if more else da


def _weight_gradients(x, mask, kernels, dy):
    """The cotangents of the kernels, by gate."""
    if isinstance(mask, tuple):
        pull = jax.vjp(lambda kernels: project(x, mask, kernels), kernels)[1]
        return pull(tuple(part.astype(kernels[0].dtype) for part in by_gate(dy)))[0]
    found = []
    for array in dy:
        here, kernels = kernels[: array.shape[1]], kernels[array.shape[1] :]
        pull = jax.vjp(lambda k: project_stacked(x, mask, k), jnp.stack(here, 1))[1]
        array = jnp.moveaxis(array, 1, -2).astype(here[0].dtype)
        found += unstacked(pull(array)[0], 1)
    return tuple(found)


def _unproject(dy, x, mask, kernels):
    """A matmul for each gate, but batched: of one sum, XLA would pad the operands."""
    dims = (((dy.ndim - 1,), (2,)), ((0,), (0,)))
    parts = lax.dot_general(
        jnp.moveaxis(dy, 1, 0).astype(kernels[0].dtype),
        jnp.stack(kernels),
        dims,
        out_sharding=_sharding.like(x, (len(kernels), *x.shape)),
    )
    return through(unstacked(parts.astype(x.dtype), 0), x, mask)


def _sum(array):
    """Over time and the batch."""
    return array.sum((0, *range(2, array.ndim - 1)))
