"""GRU with noise: a step, and a whole sequence on a scan made for it.

a_k = (x mx_k) W_k + b_k and u_k = (h mh_k) R_k for the gates k = r, z, n;
r = s(a_r + u_r), z = s(a_z + u_z), n = tanh(a_n + r (u_n + b_hn)),
h~ = (1 - z) (mg n) + z h, and with zoneout h' = uh h~ + (1 - uh) h. The path z h meets
no mask: one that is shared over time would make it grow without bound.
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

_PLACES = ("input", "recurrent", "candidate", "zoneout_hidden", "weight", "output")


def gru(
    weights: Weights,
    carry: jax.Array,
    xs: jax.Array,
    noise: Noise | None = None,
    *,
    tied: bool = True,
    seq_lengths: Any = None,
    unroll: int | bool = 1,
    forward_mode: bool = False,
    gate_fn: Activation = jax.nn.sigmoid,
    activation_fn: Activation = jnp.tanh,
) -> tuple[jax.Array, jax.Array]:
    """Run a GRU over a sequence, with noise that was drawn beforehand.

    Law: that of this file; with a noise of `sample_noise` the preactivations have the
    mean of the plain GRU, given h.

    Args:
      weights: kernels (D, 3 H) and (H, 3 H), bias (3 H,) and recurrent_bias (H,) or
        None, gates r, z, n side by side, or tuples of three. The matmuls are done in
        their dtype.
      carry: h, (*batch, H); the state keeps its dtype.
      xs: (time, *batch, D), any number of batch dims.
      noise: masks from `sample_noise` with gates=3 and num_steps=time, or your own;
        None for none. A GRU has no places `cell` and `zoneout_cell`.
      tied: whether the masks of the input and of h are one for all gates. False: they
        have the gates in front.
      seq_lengths: integers (*batch) from 0 to time: where each sequence ends. The final
        carry is the one after its last step, the initial one for length 0. Outputs
        after the end are those of a GRU that runs on. None for the whole.
      unroll: steps per iteration of the loop, as in `jax.lax.scan`.
      forward_mode: True for a plain scan, which `jax.jvp` can differentiate too; False
        for a backward pass of its own, faster, in reverse mode only.
      gate_fn: activation of r and z. Other activations than the default ones run as a
        plain scan.
      activation_fn: activation of n.

    Returns:
      (h, ys): the final carry, and the outputs (time, *batch, H).

    Raises:
      ValueError: shapes or masks that do not fit, a sequence without steps, seq_lengths
        out of range.
      TypeError: an integer xs, weights of several dtypes, noise of another type.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise.recurrent as jr
      >>> wx, wh = jnp.full((3, 12), 0.1), jnp.full((4, 12), 0.1)
      >>> weights = jr.Weights(wx, wh, jnp.zeros(12), jnp.zeros(4))
      >>> noise = jr.sample_noise(
      ...     jax.random.key(0), (2, 3), 4, gates=3, num_steps=7, recurrent_rate=0.5)
      >>> h, ys = jr.gru(weights, jnp.zeros((2, 4)), jnp.ones((7, 2, 3)), noise)
      >>> ys.shape, bool((ys[-1] == h).all())
      ((7, 2, 4), True)

    Reference: Gal, Ghahramani, A theoretically grounded application of dropout in
    recurrent neural networks, NeurIPS 2016, https://arxiv.org/abs/1512.05287.
    """
    cell = _cell("gru", gate_fn, activation_fn)
    (h,), ys = _scan.run(
        cell,
        weights,
        (carry,),
        xs,
        noise,
        tied=tied,
        seq_lengths=seq_lengths,
        unroll=unroll,
        forward_mode=forward_mode,
    )
    return h, ys


def gru_step(
    weights: Weights,
    carry: jax.Array,
    x: jax.Array,
    noise: Noise | None = None,
    *,
    tied: bool = True,
    gate_fn: Activation = jax.nn.sigmoid,
    activation_fn: Activation = jnp.tanh,
) -> tuple[jax.Array, jax.Array]:
    """Run a GRU for one step.

    Law: that of this file.

    Args:
      weights: as in `gru`.
      carry: h, (*batch, H).
      x: (*batch, D).
      noise: masks of one step, from `sample_noise` without num_steps; None for none.
      tied: whether the masks of the input and of h are one for all gates.
      gate_fn: activation of r and z.
      activation_fn: activation of n.

    Returns:
      (h, y): the carry after the step, and the output (*batch, H).

    Raises:
      ValueError: shapes or masks that do not fit.
      TypeError: an integer x, weights of several dtypes, noise of another type.

    Example:
      >>> import jax.numpy as jnp, jaxnoise.recurrent as jr
      >>> wx, wh = jnp.full((3, 12), 0.1), jnp.full((4, 12), 0.1)
      >>> weights = jr.Weights(wx, wh, jnp.zeros(12), jnp.zeros(4))
      >>> h, y = jr.gru_step(weights, jnp.zeros(4), jnp.ones(3))
      >>> bool((y == h).all())
      True

    Reference: Cho et al., Learning phrase representations using RNN encoder-decoder for
    statistical machine translation, EMNLP 2014, https://arxiv.org/abs/1406.1078.
    """
    cell = _cell("gru_step", gate_fn, activation_fn)
    (h,), y = _scan.step(cell, weights, (carry,), x, noise, tied=tied)
    return h, y


@functools.cache
def _cell(name, gate_fn, activation_fn):
    """One object for the same arguments, so that nothing is compiled again."""
    known = gate_fn is jax.nn.sigmoid and activation_fn is jnp.tanh
    return Cell(
        name=name,
        gates=3,
        states=1,
        places=_PLACES,
        forward=functools.partial(_forward, gate_fn, activation_fn),
        backward=_backward if known else None,
    )


def _forward(gate_fn, activation_fn, ax, ah, state, masks):
    ax_r, ax_z, ax_n = ax
    ah_r, ah_z, ah_n = ah
    r, z = gate_fn(ax_r + ah_r), gate_fn(ax_z + ah_z)
    n = activation_fn(ax_n + r * ah_n)
    return _combine((z, n), state, masks), (r, z, n, ah_n)


def _combine(gates, state, masks):
    """The state after a step, from the gates after their activation."""
    (h,) = state
    z, n = (gate.astype(h.dtype) for gate in gates)
    new_h = (1 - z) * times(n, masks.candidate) + z * h
    return (mix(new_h, h, masks.zoneout_hidden),)


def _backward(saved, state, masks, dstate):
    r, z, n, ah_n = saved
    _, pull = jax.vjp(_combine, (z, n), state, masks)
    (dz, dn), dstate, dmasks = pull(dstate)
    # the slopes of sigmoid and tanh, from their values
    da_n = dn * (1 - n * n)
    da_z = dz * (z * (1 - z))
    da_r = da_n * ah_n * (r * (1 - r))
    return (da_r, da_z, da_n, da_n * r), dstate, dmasks
