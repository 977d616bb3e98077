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

from jaxnoise.recurrent import _cell
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
    state, hs = scan(static, ax, kernels, bias, state, *inner, lengths)
    return state, times(hs, masks.output)


@functools.partial(jax.jit, static_argnames=("static",))
def _step(weights, state, x, masks, *, static):
    ax, kernels = _prepare(static, weights, x, masks)
    bias = weights.recurrent_bias
    state, _ = _advance(static, ax, kernels, bias, state, masks)
    return state, times(state[-1], masks.output)


def _prepare(static, weights, x, masks):
    """The matmuls of the input, and the recurrent kernels, each gate by itself.

    Side by side the gates would need copies of the weights and of their gradients, and
    a mask for each gate could not be folded in.
    """
    gates = static.cell.gates
    kernels = jnp.split(weights.input, gates, axis=-1)
    ax = project(x, masks.input, kernels)
    biases = jnp.split(weights.bias, gates)
    ax = tuple(a + rank(bias, a.ndim) for a, bias in zip(ax, biases, strict=True))
    kernels = jnp.split(weights.recurrent, gates, axis=-1)
    if masks.weight is not None:
        dropped = jnp.broadcast_to(masks.weight, (gates, *kernels[0].shape))
        kernels = [times(kernel, m) for kernel, m in zip(kernels, dropped, strict=True)]
    return ax, tuple(kernels)


def _advance(static, ax, kernels, bias, state, masks):
    *ah, last = project(state[-1], masks.recurrent, kernels)
    if bias is not None:
        last = last + rank(bias, last.ndim)
    return static.cell.forward(ax, (*ah, last), state, masks)


def _merge(fixed: Noise, stepped: Noise) -> Noise:
    pairs = zip(fixed, stepped, strict=True)
    return Noise(*(mask if other is None else other for mask, other in pairs))


def _plain(static, ax, kernels, bias, state, fixed, stepped, lengths):
    """The final state and all h, by a scan that JAX can differentiate in any mode."""
    outputs, _ = _scan(static, ax, kernels, bias, state, fixed, stepped, lengths)
    return outputs


_recurrence = jax.custom_vjp(_plain, nondiff_argnums=(0,))


def _scan(static, ax, kernels, bias, state, fixed, stepped, lengths):
    def body(carry, inputs):
        state, last = carry
        ax, masks, time = inputs
        masks = _merge(fixed, masks)
        new, saved = _advance(static, ax, kernels, bias, state, masks)
        if lengths is not None:
            last = where(time < lengths, new, last)
        return (new, last), (new[-1], (saved, state[:-1]))

    last = None if lengths is None else state
    xs = (ax, stepped, np.arange(ax[0].shape[0], dtype=np.int32))
    (state, last), (hs, kept) = lax.scan(body, (state, last), xs, unroll=static.unroll)
    return ((state if lengths is None else last), hs), kept


def _forward(static, ax, kernels, bias, state, fixed, stepped, lengths):
    outputs, kept = _scan(static, ax, kernels, bias, state, fixed, stepped, lengths)
    rest = (outputs[1], state[-1], kernels, bias, fixed, stepped, lengths)
    return outputs, (kept, *rest)


def _backward(static, residuals, cotangents):
    (saved, before), hs, h0, kernels, bias, fixed, stepped, lengths = residuals
    dlast, dhs = cotangents
    hs = jnp.concatenate([h0[None], hs[:-1]])
    # once, where every step would otherwise read the kernels against their layout
    transposed = tuple(kernel.T for kernel in kernels)

    def body(carry, inputs):
        dstate, dfixed = carry
        dh, state, saved, masks, time = inputs
        if lengths is not None:
            arrived = jax.tree.map(jnp.add, dstate, dlast)
            dstate = where(time == lengths - 1, arrived, dstate)
        dstate = (*dstate[:-1], dstate[-1] + dh)
        merged = _merge(fixed, masks)
        dax, dlast_gate, dstate, dmasks = static.cell.backward(
            saved, state, merged, dstate
        )
        dh, dmask = unproject(
            _recurrent(dax, dlast_gate),
            state[-1],
            merged.recurrent,
            transposed,
        )
        dmasks = dmasks._replace(recurrent=dmask)
        dstate = (*dstate[:-1], dstate[-1] + dh)
        dfixed = jax.tree.map(jnp.add, dfixed, _only(dmasks, fixed))
        return (dstate, dfixed), (dax, dlast_gate, _only(dmasks, masks))

    zeros = jax.tree.map(jnp.zeros_like, (dlast, fixed))
    start = (dlast, zeros[1]) if lengths is None else zeros
    times = np.arange(hs.shape[0], dtype=np.int32)
    (dstate, dfixed), (dax, dlast_gate, dstepped) = lax.scan(
        body,
        start,
        (dhs, (*before, hs), saved, stepped, times),
        reverse=True,
        unroll=static.unroll,
    )
    if lengths is not None:
        arrived = jax.tree.map(jnp.add, dstate, dlast)
        dstate = where(lengths == 0, arrived, dstate)
    dah = _recurrent(dax, dlast_gate)
    mask = _merge(fixed, stepped).recurrent
    _, pull = jax.vjp(lambda kernels: project(hs, mask, kernels), kernels)
    (dkernels,) = pull(dah)
    dbias = None if bias is None else dah[-1].sum(tuple(range(dah[-1].ndim - 1)))
    return dax, dkernels, dbias, dstate, dfixed, dstepped, None


_recurrence.defvjp(_forward, _backward)


def _recurrent(dax, dlast_gate):
    """The cotangents of the matmuls of h, from those of the input."""
    return dax if dlast_gate is None else (*dax[:-1], dlast_gate)


def _only(masks: Noise, like: Noise) -> Noise:
    """Those of the masks that `like` has too."""
    pairs = zip(masks, like, strict=True)
    return Noise(*(None if other is None else mask for mask, other in pairs))
