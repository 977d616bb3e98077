"""A sequence with an array for each gate: the form for the CPU.

There a matmul or a write of its own costs nothing, but gates side by side have to be
put together and taken apart. The other form is `_together.py`, and `_scan.py` knows
both by the same names.
"""

import jax
import jax.numpy as jnp

from jaxnoise.recurrent import _scan_in_place
from jaxnoise.recurrent._masks import Mask
from jaxnoise.recurrent._matmul import (
    gate_axis,
    project,
    unproject,
    unstacked,
    weight_gradients,
)
from jaxnoise.recurrent._noise import Noise
from jaxnoise.recurrent._weights import ByGate, Kernels

scan = _scan_in_place.scan


def inputs(xs: jax.Array, mask: Mask, kernels: Kernels) -> ByGate:
    """The matmuls of the input over the whole sequence, which `scan` writes over."""
    return project(xs, mask, kernels.input)


def forward_kernels(kernels: Kernels, mask: Mask) -> Kernels:
    """The kernels as the forward scan takes them."""
    return kernels


def backward_kernels(kernels: jax.Array, mask: Mask, dhs: jax.Array) -> ByGate:
    """The kernels of h as the backward scan takes them.

    Transposed once, where every step would otherwise read them against their layout.
    """
    return tuple(kernel.T for kernel in unstacked(kernels, gate_axis(mask)))


def settled(cotangents):
    """The cotangents of the gates and of c at a step."""
    return cotangents


unproject_state = unproject


def by_gate(arrays: ByGate) -> ByGate:
    """The arrays that `scan` has left for the backward pass, the same in both forms."""
    return arrays


def from_gates(arrays: ByGate, gates: int) -> ByGate:
    """The way back."""
    return arrays


def gradients(
    da: ByGate, xs: jax.Array, hs: jax.Array, masks: Noise, kernels: Kernels
) -> tuple[Kernels, jax.Array, Mask]:
    """The cotangents of the kernels, the inputs and their mask, from what `scan` left.

    `da` is as the `backward` of a `Cell` has it, but over the whole sequence.
    """
    gates, axis = len(kernels.input), gate_axis(masks.recurrent)
    dax, dah = da[:gates], (*da[: gates - 1], da[-1])
    dxs, dmask = unproject(dax, xs, masks.input, tuple(k.T for k in kernels.input))
    recurrent = unstacked(kernels.recurrent, axis)
    drecurrent = weight_gradients(hs, masks.recurrent, recurrent, dah)
    dkernels = Kernels(
        weight_gradients(xs, masks.input, kernels.input, dax),
        tuple(_sum(d) for d in dax),
        jnp.stack(drecurrent, axis),
        None if kernels.recurrent_bias is None else _sum(dah[-1]),
    )
    return dkernels, dxs, dmask


def _sum(array):
    return array.sum(tuple(range(array.ndim - 1)))
