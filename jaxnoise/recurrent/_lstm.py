"""LSTM with noise: a step, and a whole sequence on a scan made for it.

a_k = (x mx_k) W_k + (h mh_k) R_k + b_k for the gates k = i, f, g, o,
c~ = mc (f c + i (mg g)), h~ = o tanh(c~), and with zoneout c' = uc c~ + (1 - uc) c,
h' = uh h~ + (1 - uh) h, which takes the h~ of the new cell before its zoneout.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxnoise.recurrent import _scan
from jaxnoise.recurrent._cell import Cell
from jaxnoise.recurrent._masks import mix, times
from jaxnoise.recurrent._noise import Noise
from jaxnoise.recurrent._weights import Weights

Activation = Callable[[jax.Array], jax.Array]
Carry = tuple[jax.Array, jax.Array]


def lstm(
    weights: Weights,
    carry: Carry,
    xs: jax.Array,
    noise: Noise | None = None,
    *,
    tied: bool = True,
    seq_lengths: Any = None,
    unroll: int | bool = 1,
    forward_mode: bool = False,
    gate_fn: Activation = jax.nn.sigmoid,
    activation_fn: Activation = jnp.tanh,
) -> tuple[Carry, jax.Array]:
    """Run an LSTM over a sequence, with noise that was drawn beforehand.

    Law: that of this file; with a noise of `sample_noise` the preactivations have the
    mean of the plain LSTM, given h.

    Args:
      weights: kernels (D, 4 H) and (H, 4 H) and bias (4 H,), gates i, f, g, o side by
        side, or tuples of four. The matmuls are done in their dtype.
      carry: (c, h), each (*batch, H); the state keeps their dtype.
      xs: (time, *batch, D), any number of batch dims.
      noise: masks from `sample_noise` with gates=4 and num_steps=time, or your own;
        None for none.
      tied: whether the masks of the input and of h are one for all gates. False: they
        have the gates in front.
      seq_lengths: integers (*batch) from 0 to time: where each sequence ends. The final
        carry is the one after its last step, the initial one for length 0. Outputs
        after the end are those of an LSTM that runs on. None for the whole.
      unroll: steps per iteration of the loop, as in `jax.lax.scan`.
      forward_mode: True for a plain scan, which `jax.jvp` and `jax.jacfwd` can
        differentiate too, slower in reverse. False for a backward pass of its own, of
        which `jax.jvp` says that it cannot be applied to a custom_vjp function.
      gate_fn: activation of i, f and o. Other activations than the default ones run as
        a plain scan.
      activation_fn: activation of g and of c.

    Returns:
      ((c, h), ys): the final carry, and the outputs (time, *batch, H).

    Raises:
      ValueError: shapes or masks that do not fit, a sequence without steps, seq_lengths
        out of range.
      TypeError: an integer xs, weights of several dtypes, noise of another type.

    Sharp bits: a mask is a value, so a gradient for it can be asked for. That of an
    element that is exactly 0 is 0, since what it drops is selected away.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise.recurrent as jr
      >>> wx, wh = jnp.full((3, 16), 0.1), jnp.full((4, 16), 0.1)
      >>> weights = jr.Weights(wx, wh, jnp.zeros(16))
      >>> carry, xs = (jnp.zeros((2, 4)), jnp.zeros((2, 4))), jnp.ones((7, 2, 3))
      >>> noise = jr.sample_noise(
      ...     jax.random.key(0), (2, 3), 4, gates=4, num_steps=7, recurrent_rate=0.5)
      >>> carry, ys = jr.lstm(weights, carry, xs, noise)
      >>> ys.shape, bool((ys[-1] == carry[1]).all())
      ((7, 2, 4), True)

    Reference: Gal, Ghahramani, A theoretically grounded application of dropout in
    recurrent neural networks, NeurIPS 2016, https://arxiv.org/abs/1512.05287.
    """
    cell = _cell("lstm", gate_fn, activation_fn)
    return _scan.run(
        cell,
        weights,
        carry,
        xs,
        noise,
        tied=tied,
        seq_lengths=seq_lengths,
        unroll=unroll,
        forward_mode=forward_mode,
    )


def lstm_step(
    weights: Weights,
    carry: Carry,
    x: jax.Array,
    noise: Noise | None = None,
    *,
    tied: bool = True,
    gate_fn: Activation = jax.nn.sigmoid,
    activation_fn: Activation = jnp.tanh,
) -> tuple[Carry, jax.Array]:
    """Run an LSTM for one step.

    Law: that of this file.

    Args:
      weights: as in `lstm`.
      carry: (c, h), each (*batch, H).
      x: (*batch, D).
      noise: masks of one step, from `sample_noise` without num_steps; None for none.
      tied: whether the masks of the input and of h are one for all gates.
      gate_fn: activation of i, f and o.
      activation_fn: activation of g and of c.

    Returns:
      ((c, h), y): the carry after the step, and the output (*batch, H).

    Raises:
      ValueError: shapes or masks that do not fit.
      TypeError: an integer x, weights of several dtypes, noise of another type.

    Example:
      >>> import jax.numpy as jnp, jaxnoise.recurrent as jr
      >>> wx, wh = jnp.full((3, 16), 0.1), jnp.full((4, 16), 0.1)
      >>> weights = jr.Weights(wx, wh, jnp.zeros(16))
      >>> (c, h), y = jr.lstm_step(weights, (jnp.zeros(4), jnp.zeros(4)), jnp.ones(3))
      >>> bool((y == h).all())
      True

    Reference: Hochreiter, Schmidhuber, Long short-term memory, Neural Computation 9,
    1997.
    """
    cell = _cell("lstm_step", gate_fn, activation_fn)
    return _scan.step(cell, weights, carry, x, noise, tied=tied)


@functools.cache
def _cell(name, gate_fn, activation_fn):
    """One object for the same arguments, so that nothing is compiled again."""
    known = gate_fn is jax.nn.sigmoid and activation_fn is jnp.tanh
    return Cell(
        name=name,
        gates=4,
        states=2,
        places=Noise._fields,
        forward=functools.partial(_forward, gate_fn, activation_fn),
        backward=_backward if known else None,
    )


def _forward(gate_fn, activation_fn, ax, ah, state, masks):
    i, f, g, o = (x + h for x, h in zip(ax, ah, strict=True))
    gates = (gate_fn(i), gate_fn(f), activation_fn(g), gate_fn(o))
    return _combine(activation_fn, gates, state, masks), gates


def _combine(activation_fn, gates, state, masks):
    """The state after a step, from the gates after their activation."""
    c, h = state
    i, f, g, o = (gate.astype(c.dtype) for gate in gates)
    new_c = times(f * c + i * times(g, masks.candidate), masks.cell)
    new_h = (o * activation_fn(new_c)).astype(h.dtype)
    return mix(new_c, c, masks.zoneout_cell), mix(new_h, h, masks.zoneout_hidden)


def _backward(gates, state, masks, dstate):
    combine = functools.partial(_combine, jnp.tanh)
    _, pull = jax.vjp(combine, gates, state, masks)
    (di, df, dg, do), dstate, dmasks = pull(dstate)
    i, f, g, o = gates
    # the slopes of sigmoid and tanh, from their values
    dax = (di * (i * (1 - i)), df * (f * (1 - f)), dg * (1 - g * g), do * (o * (1 - o)))
    return dax, dstate, dmasks
