"""The recurrence: a scan that holds only what has to be done step by step.

The matmul of the inputs comes before it and the weight gradients after it, each as one
matmul over the whole sequence. Masks are folded into the matmuls they belong to. The
backward pass keeps the gates after their activation, the state, and nothing else.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from jaxnoise.recurrent import _cell, _overwrite
from jaxnoise.recurrent._cell import Cell, State, Weights
from jaxnoise.recurrent._masks import project, rank, times, unproject
from jaxnoise.recurrent._noise import Noise
from jaxnoise.recurrent._sequence import where


class _Static(NamedTuple):
    cell: Cell
    unroll: int | bool


def run(
    cell: Cell,
    weights: Weights,
    state: State,
    xs: jax.Array,
    noise: Noise | None,
    *,
    tied: bool,
    seq_lengths: Any,
    unroll: int | bool,
    forward_mode: bool,
) -> tuple[Any, jax.Array]:
    """The final state and the outputs of a sequence with time in front."""
    _cell.check_arrays(cell, weights, state, xs, "xs", ("time",))
    steps, *batch, _ = xs.shape
    if steps == 0:
        raise ValueError(
            f"{cell.name}: xs must have at least one step, got shape {xs.shape}."
        )
    shapes = _cell.mask_shapes(cell, weights, tuple(batch), tied)
    fixed, stepped = _cell.arrange(cell.name, noise, cell.places, shapes, steps, tied)
    lengths = _cell.check_lengths(cell.name, seq_lengths, steps, tuple(batch))
    if forward_mode or cell.backward is None:
        scan = _plain
    else:
        scan = _recurrence
    static = _Static(cell, unroll)
    return _run(weights, state, xs, fixed, stepped, lengths, static=static, scan=scan)


def step(
    cell: Cell,
    weights: Weights,
    state: State,
    x: jax.Array,
    noise: Noise | None,
    *,
    tied: bool,
) -> tuple[Any, jax.Array]:
    """The state after a single step, and the output."""
    _cell.check_arrays(cell, weights, state, x, "x", ())
    shapes = _cell.mask_shapes(cell, weights, x.shape[:-1], tied)
    masks, _ = _cell.arrange(cell.name, noise, cell.places, shapes, None, tied)
    return _step(weights, state, x, masks, static=_Static(cell, 1))


@functools.partial(jax.jit, static_argnames=("static", "scan"))
def _run(weights, state, xs, fixed, stepped, lengths, *, static, scan):
    masks = _merge(fixed, stepped)
    ax, kernels = _prepare(static, weights, xs, masks)
    ends = {"input": None, "weight": None, "output": None}
    inner = fixed._replace(**ends), stepped._replace(**ends)
    bias = weights.recurrent_bias
    state = _placed(state, ax[0])
    state, hs = scan(static, ax, kernels, bias, state, *inner, lengths)
    return state, times(hs, masks.output)


@functools.partial(jax.jit, static_argnames=("static",))
def _step(weights, state, x, masks, *, static):
    ax, kernels = _prepare(static, weights, x, masks)
    bias = weights.recurrent_bias
    state, _ = _advance(static, ax, kernels, bias, state, masks)
    return state, times(state[-1], masks.output)


def _prepare(static, weights, x, masks):
    """The matmuls of the input, and the recurrent kernels.

    The input's are by gate: side by side, their gradients would have to be put together
    again. Those of h are side by side, as one larger matmul for each step, unless each
    gate has a mask of its own.
    """
    gates = static.cell.gates
    kernels = jnp.split(weights.input, gates, axis=-1)
    ax = project(x, masks.input, kernels)
    biases = jnp.split(weights.bias, gates)
    ax = tuple(a + rank(bias, a.ndim) for a, bias in zip(ax, biases, strict=True))
    kernels = (weights.recurrent,)
    if masks.weight is not None or isinstance(masks.recurrent, tuple):
        kernels = jnp.split(weights.recurrent, gates, axis=-1)
    if masks.weight is not None:
        dropped = jnp.broadcast_to(masks.weight, (gates, *kernels[0].shape))
        kernels = [times(kernel, m) for kernel, m in zip(kernels, dropped, strict=True)]
    if not isinstance(masks.recurrent, tuple):
        kernels = (jnp.concatenate(kernels, axis=-1),)
    return ax, tuple(kernels)


def _advance(static, ax, kernels, bias, state, masks):
    ah = project(state[-1], masks.recurrent, kernels)
    *ah, last = _by_gate(static, ah)
    if bias is not None:
        last = last + rank(bias, last.ndim)
    return static.cell.forward(ax, (*ah, last), state, masks)


def _by_gate(static, arrays):
    """One array for each gate, where they may be side by side in one."""
    if len(arrays) == static.cell.gates:
        return tuple(arrays)
    return tuple(jnp.split(arrays[0], static.cell.gates, axis=-1))


def _placed(state, ax):
    """On an explicit mesh, the state where the preactivations of a step are."""
    sharding = jax.typeof(ax).sharding
    if not sharding.mesh.explicit_axes:
        return state
    spec = PartitionSpec(*sharding.spec[1:])
    return jax.sharding.reshard(state, NamedSharding(sharding.mesh, spec))


def _merge(fixed: Noise, stepped: Noise) -> Noise:
    pairs = zip(fixed, stepped, strict=True)
    return Noise(*(mask if other is None else other for mask, other in pairs))


def _plain(static, ax, kernels, bias, state, fixed, stepped, lengths):
    """The final state and all h, by a scan that JAX can differentiate in any mode."""
    step = _stepper(static, kernels, bias, fixed, lengths)

    def body(carry, inputs):
        ax, x = inputs
        carry, _ = step(carry, ax, x)
        return carry, carry[0][-1]

    start, xs = _start(state, stepped, lengths, ax)
    carry, hs = lax.scan(body, start, (ax, xs), unroll=static.unroll)
    return _end(carry, lengths), hs


_recurrence = jax.custom_vjp(_plain, nondiff_argnums=(0,))


def _stepper(static, kernels, bias, fixed, lengths):
    def step(carry, ax, x):
        state, last = carry
        stepped, time = x
        masks = _merge(fixed, stepped)
        new, saved = _advance(static, ax, kernels, bias, state, masks)
        if lengths is not None:
            last = where(time < lengths, new, last)
        return (new, last), saved

    return step


def _start(state, stepped, lengths, ax):
    times = np.arange(ax[0].shape[0], dtype=np.int32)
    return (state, None if lengths is None else state), (stepped, times)


def _end(carry, lengths):
    state, last = carry
    return state if lengths is None else last


def _forward(static, ax, kernels, bias, state, fixed, stepped, lengths):
    step = _stepper(static, kernels, bias, fixed, lengths)
    gates = len(ax)

    def body(carry, ax, x):
        before = carry[0][:-1]
        carry, saved = step(carry, ax, x)
        return carry, saved[:gates], (saved[gates:], before, carry[0][-1])

    start, xs = _start(state, stepped, lengths, ax)
    carry, saved, (more, before, hs) = _overwrite.scan(
        body, start, ax, xs, unroll=static.unroll
    )
    kept = ((*saved, *more), before)
    outputs = _end(carry, lengths), hs
    return outputs, (kept, hs, state[-1], kernels, bias, fixed, stepped, lengths)


def _backward(static, residuals, cotangents):
    (saved, before), hs, h0, kernels, bias, fixed, stepped, lengths = residuals
    dlast, dhs = cotangents
    hs = jnp.concatenate([h0[None], hs[:-1]])
    # once, where every step would otherwise read the kernels against their layout
    by_gate = _by_gate(static, kernels)
    transposed = tuple(kernel.T for kernel in by_gate)

    def body(carry, saved, x):
        dstate, dfixed = carry
        dh, state, masks, time = x
        if lengths is not None:
            arrived = jax.tree.map(jnp.add, dstate, dlast)
            dstate = where(time == lengths - 1, arrived, dstate)
        dstate = (*dstate[:-1], dstate[-1] + dh)
        merged = _merge(fixed, masks)
        da, dstate, dmasks = static.cell.backward(saved, state, merged, dstate)
        dh, dmask = unproject(
            _recurrent(static, da), state[-1], merged.recurrent, transposed
        )
        dmasks = dmasks._replace(recurrent=dmask)
        dstate = (*dstate[:-1], dstate[-1] + dh)
        dfixed = jax.tree.map(jnp.add, dfixed, _only(dmasks, fixed))
        return (dstate, dfixed), da, _only(dmasks, masks)

    zeros = jax.tree.map(jnp.zeros_like, (dlast, fixed))
    start = (dlast, zeros[1]) if lengths is None else zeros
    times = np.arange(hs.shape[0], dtype=np.int32)
    xs = (dhs, (*before, hs), stepped, times)
    (dstate, dfixed), da, dstepped = _overwrite.scan(
        body, start, saved, xs, reverse=True, unroll=static.unroll
    )
    if lengths is not None:
        arrived = jax.tree.map(jnp.add, dstate, dlast)
        dstate = where(lengths == 0, arrived, dstate)
    dah = _recurrent(static, da)
    mask = _merge(fixed, stepped).recurrent
    _, pull = jax.vjp(lambda kernels: project(hs, mask, kernels), by_gate)
    (dkernels,) = pull(dah)
    if len(kernels) == 1:
        dkernels = (jnp.concatenate(dkernels, axis=-1),)
    dbias = None if bias is None else dah[-1].sum(tuple(range(dah[-1].ndim - 1)))
    dax = da[: static.cell.gates]
    return dax, dkernels, dbias, dstate, dfixed, dstepped, None


_recurrence.defvjp(_forward, _backward)


def _recurrent(static, da):
    """The cotangents of the matmuls of h, among those that a step gives."""
    gates = static.cell.gates
    return (*da[: gates - 1], da[-1])


def _only(masks: Noise, like: Noise) -> Noise:
    """Those of the masks that `like` has too."""
    pairs = zip(masks, like, strict=True)
    return Noise(*(None if other is None else mask for mask, other in pairs))
