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
from jaxnoise.recurrent._masks import project, rank, times
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
    fixed, stepped = _cell.arrange(cell.name, noise, cell.places, shapes, steps)
    lengths = _cell.check_lengths(cell.name, seq_lengths, steps, tuple(batch))
    if forward_mode or cell.backward is None:
        scan = _plain
    else:
        scan = _recurrence
    options = {"static": _Static(cell, unroll), "tied": tied, "scan": scan}
    return _run(weights, state, xs, fixed, stepped, lengths, **options)


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
    masks, _ = _cell.arrange(cell.name, noise, cell.places, shapes, None)
    return _step(weights, state, x, masks, cell=cell, tied=tied)


@functools.partial(jax.jit, static_argnames=("static", "tied", "scan"))
def _run(weights, state, xs, fixed, stepped, lengths, *, static, tied, scan):
    cell, batch = static.cell, xs.ndim - 2
    masks = _merge(fixed, stepped)
    kernels = _kernels(cell, weights.input, masks.input, tied)
    ax = project(xs, masks.input, kernels, batch)
    ax = ax + rank(weights.bias.astype(ax.dtype), ax.ndim)
    recurrent = _recurrent_kernels(cell, weights, masks, tied)
    ends = {"input": None, "weight": None, "output": None}
    inner = fixed._replace(**ends), stepped._replace(**ends)
    bias = _recurrent_bias(cell, weights)
    state, hs = scan(static, ax, recurrent, bias, state, *inner, lengths)
    return state, times(hs, masks.output)


@functools.partial(jax.jit, static_argnames=("cell", "tied"))
def _step(weights, state, x, masks, *, cell, tied):
    batch = x.ndim - 1
    kernels = _kernels(cell, weights.input, masks.input, tied)
    ax = project(x, masks.input, kernels, batch)
    ax = ax + rank(weights.bias.astype(ax.dtype), ax.ndim)
    recurrent = _recurrent_kernels(cell, weights, masks, tied)
    bias = _recurrent_bias(cell, weights)
    ah = _add(project(state[-1], masks.recurrent, recurrent, batch), bias)
    state, _ = cell.forward(ax, ah, state, masks)
    return state, times(state[-1], masks.output)


def _kernels(cell, kernel, mask, tied):
    """One kernel for all gates, or one for each gate that has a mask of its own."""
    if tied or mask is None:
        return (kernel,)
    return tuple(jnp.split(kernel, cell.gates, axis=-1))


def _recurrent_kernels(cell, weights, masks, tied):
    kernel = weights.recurrent
    if masks.weight is not None:
        gates = jnp.broadcast_to(
            masks.weight, (cell.gates, kernel.shape[0], kernel.shape[0])
        )
        kernel = times(kernel, jnp.concatenate(list(gates), axis=-1))
    return _kernels(cell, kernel, masks.recurrent, tied)


def _recurrent_bias(cell, weights):
    bias = weights.recurrent_bias
    if bias is None:
        return None
    zeros = jnp.zeros(((cell.gates - 1) * bias.shape[0],), bias.dtype)
    return jnp.concatenate([zeros, bias])


def _add(x, bias):
    return x if bias is None else x + rank(bias.astype(x.dtype), x.ndim)


def _merge(fixed: Noise, stepped: Noise) -> Noise:
    pairs = zip(fixed, stepped, strict=True)
    return Noise(*(mask if other is None else other for mask, other in pairs))


def _plain(static, ax, kernels, bias, state, fixed, stepped, lengths):
    outputs, _ = _scan(static, ax, kernels, bias, state, fixed, stepped, lengths)
    return outputs


_recurrence = jax.custom_vjp(_plain, nondiff_argnums=(0,))


def _scan(static, ax, kernels, bias, state, fixed, stepped, lengths):
    """The final state and all h; and what the backward pass keeps of each step."""
    batch = ax.ndim - 2

    def body(carry, inputs):
        state, last = carry
        ax, masks, time = inputs
        masks = _merge(fixed, masks)
        ah = _add(project(state[-1], masks.recurrent, kernels, batch), bias)
        new, saved = static.cell.forward(ax, ah, state, masks)
        if lengths is not None:
            last = where(time < lengths, new, last)
        return (new, last), (new[-1], (saved, state[:-1]))

    last = None if lengths is None else state
    xs = (ax, stepped, np.arange(ax.shape[0], dtype=np.int32))
    (state, last), (hs, kept) = lax.scan(body, (state, last), xs, unroll=static.unroll)
    return (state if lengths is None else last, hs), kept


def _forward(static, ax, kernels, bias, state, fixed, stepped, lengths):
    outputs, kept = _scan(static, ax, kernels, bias, state, fixed, stepped, lengths)
    return outputs, (
        kept,
        outputs[1],
        kernels,
        bias,
        state[-1],
        fixed,
        stepped,
        lengths,
    )


def _backward(static, residuals, cotangents):
    (saved, before), hs, kernels, bias, h0, fixed, stepped, lengths = residuals
    dlast, dhs = cotangents
    batch = hs.ndim - 2
    hs = jnp.concatenate([h0[None], hs[:-1]])

    def body(carry, inputs):
        dstate, dfixed = carry
        dh, h, before, saved, masks, time = inputs
        if lengths is not None:
            arrived = tuple(d + e for d, e in zip(dstate, dlast, strict=True))
            dstate = where(time == lengths - 1, arrived, dstate)
        dstate = (*dstate[:-1], dstate[-1] + dh)
        merged = _merge(fixed, masks)
        dax, dah, dstate, dmasks = static.cell.backward(
            saved, (*before, h), merged, dstate
        )
        _, pull = jax.vjp(
            lambda h, mask: project(h, mask, kernels, batch), h, merged.recurrent
        )
        dh, dmask = pull(dax if dah is None else dah)
        dmasks = dmasks._replace(recurrent=dmask)
        dstate = (*dstate[:-1], dstate[-1] + dh)
        dfixed = jax.tree.map(jnp.add, dfixed, _only(dmasks, fixed))
        return (dstate, dfixed), (dax, dah, _only(dmasks, masks))

    zeros = jax.tree.map(jnp.zeros_like, (dlast, fixed))
    start = (dlast, zeros[1]) if lengths is None else zeros
    xs = (dhs, hs, before, saved, stepped, np.arange(hs.shape[0], dtype=np.int32))
    (dstate, dfixed), (dax, dah, dstepped) = lax.scan(
        body, start, xs, reverse=True, unroll=static.unroll
    )
    if lengths is not None:
        arrived = tuple(d + e for d, e in zip(dstate, dlast, strict=True))
        dstate = where(lengths == 0, arrived, dstate)
    dah = dax if dah is None else dah
    mask = _merge(fixed, stepped).recurrent
    _, pull = jax.vjp(lambda kernels: project(hs, mask, kernels, batch), kernels)
    (dkernels,) = pull(dah)
    dbias = None
    if bias is not None:
        dbias = dah.sum(tuple(range(dah.ndim - 1))).astype(bias.dtype)
    return dax, dkernels, dbias, dstate, dfixed, dstepped, None


_recurrence.defvjp(_forward, _backward)


def _only(masks: Noise, like: Noise) -> Noise:
    """Those of the masks that `like` has too."""
    pairs = zip(masks, like, strict=True)
    return Noise(*(None if other is None else mask for mask, other in pairs))
