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

from jaxnoise._core import _integers, _sharding
from jaxnoise.recurrent import _apart, _cell, _together, _weights
from jaxnoise.recurrent._cell import Cell, State
from jaxnoise.recurrent._masks import rank, times
from jaxnoise.recurrent._matmul import project, project_state
from jaxnoise.recurrent._noise import Noise
from jaxnoise.recurrent._time_layout import of_step, where
from jaxnoise.recurrent._weights import Weights, by_gate


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
    if not _integers.known(steps) and unroll not in (False, 1):
        raise ValueError(
            f"{cell.name}: unroll must be 1 where the number of steps is not known, "
            f"got {unroll} for {steps} steps."
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
    kernels = _weights.kernels(static.cell.gates, weights, masks)
    once = fixed._replace(weight=None, output=None)
    each = stepped._replace(output=None)
    state = _placed(kernels, xs, state, masks.input)
    state, hs = scan(static, kernels, xs, state, once, each, lengths)
    return state, times(hs, masks.output)


@functools.partial(jax.jit, static_argnames=("static",))
def _step(weights, state, x, masks, *, static):
    kernels = _weights.kernels(static.cell.gates, weights, masks)
    ax = project(x, masks.input, kernels.input)
    state, _ = _advance(static, ax, kernels, state, masks)
    return state, times(state[-1], masks.output)


def _advance(static, ax, kernels, state, masks):
    # the bias here, where a loop has these in the cache anyway
    ax = tuple(a + rank(bias, a.ndim) for a, bias in zip(ax, kernels.bias, strict=True))
    *ah, last = project_state(state[-1], masks.recurrent, kernels.recurrent)
    if kernels.recurrent_bias is not None:
        last = last + rank(kernels.recurrent_bias, last.ndim)
    return static.cell.forward(ax, (*ah, last), state, masks)


def shardings(
    gates: int, weights: Weights, xs: jax.Array
) -> dict[str, _sharding.Sharding]:
    """Where the input and the state of a step are: arguments of `sample_noise`."""
    of_input = of_step(jax.typeof(xs).sharding)
    if of_input is None:
        return {}
    of_state = _of_state(by_gate(weights.input, gates), xs, None)
    return {"input_sharding": of_input, "state_sharding": of_state}


def _of_state(kernels, xs, mask):
    """On an explicit mesh, where the preactivations of a step are, and so the state."""
    return of_step(jax.eval_shape(project, xs, mask, kernels)[0].sharding)


def _placed(kernels, xs, state, mask):
    if of_step(jax.typeof(xs).sharding) is None:
        return state
    return jax.sharding.reshard(state, _of_state(kernels.input, xs, mask))


def _merge(fixed: Noise, stepped: Noise) -> Noise:
    pairs = zip(fixed, stepped, strict=True)
    return Noise(*(mask if other is None else other for mask, other in pairs))


def _plain(static, kernels, xs, state, fixed, stepped, lengths):
    """The final state and all h, by a scan that JAX can differentiate in any mode."""
    ax = project(xs, _merge(fixed, stepped).input, kernels.input)
    step, start, rest = _prepare(static, kernels, xs, state, fixed, stepped, lengths)

    def body(carry, inputs):
        ax, x = inputs
        carry, _ = step(carry, ax, x)
        return carry, carry[0][-1]

    carry, hs = lax.scan(body, start, (ax, rest), unroll=static.unroll)
    return _end(carry, lengths), hs


_recurrence = jax.custom_vjp(_plain, nondiff_argnums=(0,))


def _prepare(static, kernels, xs, state, fixed, stepped, lengths):
    """A step, the state that it starts from, and what it takes beside the inputs."""

    def step(carry, ax, x):
        state, last = carry
        stepped, time = x
        masks = _merge(fixed, stepped)
        new, saved = _advance(static, ax, kernels, state, masks)
        if lengths is not None:
            last = where(time < lengths, new, last)
        return (new, last), saved

    start = state, None if lengths is None else state
    times = lax.iota(np.int32, xs.shape[0])
    return step, start, (stepped._replace(input=None), times)


def _end(carry, lengths):
    state, last = carry
    return state if lengths is None else last


def _forward(static, kernels, xs, state, fixed, stepped, lengths):
    args = kernels, xs, state, fixed, stepped, lengths
    outputs, kept = _where_it_runs(_forward_of, static, *args)
    return outputs, (kept, kernels, xs, state[-1], fixed, stepped, lengths)


def _where_it_runs(function, static, *args):
    """`function` with the gates in the form that is good there.

    No form is good for all. Gates together take 1.7 to 3.5 times as long on the CPU;
    apart, a step on a GPU has two to three times as many kernels.
    """
    apart, for_tpu, for_gpu = (
        functools.partial(function, form, static)
        for form in (_apart, _together.FOR_TPU, _together.FOR_GPU)
    )
    return lax.platform_dependent(*args, cpu=apart, tpu=for_tpu, default=for_gpu)


def _forward_of(form, static, kernels, xs, state, fixed, stepped, lengths):
    masks, gates = _merge(fixed, stepped), static.cell.gates
    ax = form.inputs(xs, masks.input, kernels)
    kernels = form.forward_kernels(kernels, masks.recurrent)
    step, start, rest = _prepare(static, kernels, xs, state, fixed, stepped, lengths)

    def body(carry, ax, x):
        before = carry[0][:-1]
        carry, saved = step(carry, ax, x)
        return carry, saved[:gates], (saved[gates:], before, carry[0][-1])

    carry, saved, (more, before, hs) = form.scan(
        body, start, ax, rest, unroll=static.unroll
    )
    kept = ((*form.by_gate(saved), *more), before, hs)
    return (_end(carry, lengths), hs), kept


def _backward(static, residuals, cotangents):
    return *_where_it_runs(_backward_of, static, residuals, cotangents), None


def _backward_of(form, static, residuals, cotangents):
    (saved, before, hs), kernels, xs, h0, fixed, stepped, lengths = residuals
    dlast, dhs = cotangents
    hs = jnp.concatenate([h0[None], hs[:-1]])
    masks, gates = _merge(fixed, stepped), static.cell.gates
    recurrent = form.backward_kernels(kernels.recurrent, masks.recurrent, dhs)
    inside = fixed._replace(input=None), stepped._replace(input=None)

    def body(carry, saved, x):
        dstate, dfixed = carry
        dh, state, each, time = x
        if lengths is not None:
            arrived = jax.tree.map(jnp.add, dstate, dlast)
            dstate = where(time == lengths - 1, arrived, dstate)
        dstate = (*dstate[:-1], dstate[-1] + dh)
        merged = _merge(inside[0], each)
        da, (*dbefore, dh), dmasks = static.cell.backward(saved, state, merged, dstate)
        da, dbefore = form.settled((da, dbefore))
        dah = (*da[: gates - 1], da[-1])
        more, dmask = form.unproject_state(dah, state[-1], merged.recurrent, recurrent)
        dmasks = dmasks._replace(recurrent=dmask)
        dstate = (*dbefore, dh + more)
        dfixed = jax.tree.map(jnp.add, dfixed, _only(dmasks, inside[0]))
        return (dstate, dfixed), da, _only(dmasks, each)

    zeros = jax.tree.map(jnp.zeros_like, (dlast, inside[0]))
    start = (dlast, zeros[1]) if lengths is None else zeros
    times = lax.iota(np.int32, hs.shape[0])
    rest = (dhs, (*before, hs), inside[1], times)
    (dstate, dfixed), da, dstepped = form.scan(
        body,
        start,
        form.from_gates(saved, gates),
        rest,
        reverse=True,
        unroll=static.unroll,
    )
    if lengths is not None:
        arrived = jax.tree.map(jnp.add, dstate, dlast)
        dstate = where(lengths == 0, arrived, dstate)
    dkernels, dxs, dmask = form.gradients(da, xs, hs, masks, kernels)
    dfixed = dfixed._replace(input=None if fixed.input is None else dmask)
    dstepped = dstepped._replace(input=None if stepped.input is None else dmask)
    return dkernels, dxs, dstate, dfixed, dstepped


_recurrence.defvjp(_forward, _backward)


def _only(masks: Noise, like: Noise) -> Noise:
    """The masks at the places where `like` has one, too."""
    pairs = zip(masks, like, strict=True)
    return Noise(*(None if other is None else mask for mask, other in pairs))
