"""The simple recurrent network of Elman with noise: a step, and a whole sequence.

h~ = tanh((x mx) W + (h mh) R + b), with h added inside tanh if it is residual, and with
zoneout h' = uh h~ + (1 - uh) h.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxnoise.recurrent import _scan
from jaxnoise.recurrent._cell import Cell
from jaxnoise.recurrent._masks import mix
from jaxnoise.recurrent._noise import Noise
from jaxnoise.recurrent._weights import Weights

Activation = Callable[[jax.Array], jax.Array]

_PLACES = ("input", "recurrent", "zoneout_hidden", "weight", "output")


def simple(
    weights: Weights,
    carry: jax.Array,
    xs: jax.Array,
    noise: Noise | None = None,
    *,
    residual: bool = False,
    seq_lengths: Any = None,
    unroll: int | bool = 1,
    forward_mode: bool = False,
    activation_fn: Activation = jnp.tanh,
) -> tuple[jax.Array, jax.Array]:
    """Run a simple recurrent network over a sequence, with noise drawn beforehand.

    Law: that of this file; with a noise of `sample_noise` the preactivations have the
    mean of the plain network, given h.

    Args:
      weights: kernels (D, H) and (H, H) and bias (H,). The matmuls are done in their
        dtype.
      carry: h, (*batch, H); the state keeps its dtype.
      xs: (time, *batch, D), any number of batch dims.
      noise: masks from `sample_noise` with gates=1 and num_steps=time, or your own;
        None for none. There are no places `candidate`, `cell` and `zoneout_cell`.
      residual: whether h is added to the preactivation.
      seq_lengths: integers (*batch) from 0 to time: where each sequence ends. The final
        carry is the one after its last step, the initial one for length 0. Outputs
        after the end are those of a network that runs on. None for the whole.
      unroll: steps per iteration of the loop, as in `jax.lax.scan`.
      forward_mode: True for a plain scan, which `jax.jvp` can differentiate too; False
        for a backward pass of its own, faster, in reverse mode only.
      activation_fn: any other activation than the default one runs as a plain scan.

    Returns:
      (h, ys): the final carry, and the outputs (time, *batch, H).

    Raises:
      ValueError: shapes or masks that do not fit, a sequence without steps, seq_lengths
        out of range.
      TypeError: an integer xs, weights of several dtypes, noise of another type.

    Example:
      >>> import jax.numpy as jnp, jaxnoise.recurrent as jr
      >>> weights = jr.Weights(jnp.ones((3, 4)), jnp.eye(4), jnp.zeros(4))
      >>> h, ys = jr.simple(weights, jnp.zeros((2, 4)), jnp.ones((7, 2, 3)))
      >>> ys.shape, bool((ys[-1] == h).all())
      ((7, 2, 4), True)

    Reference: Elman, Finding structure in time, Cognitive Science 14, 1990.
    """
    cell = _cell("simple", residual, activation_fn)
    (h,), ys = _scan.run(
        cell,
        weights,
        (carry,),
        xs,
        noise,
        tied=True,
        seq_lengths=seq_lengths,
        unroll=unroll,
        forward_mode=forward_mode,
    )
    return h, ys


def simple_step(
    weights: Weights,
    carry: jax.Array,
    x: jax.Array,
    noise: Noise | None = None,
    *,
    residual: bool = False,
    activation_fn: Activation = jnp.tanh,
) -> tuple[jax.Array, jax.Array]:
    """Run a simple recurrent network for one step.

    Law: that of this file.

    Args:
      weights: as in `simple`.
      carry: h, (*batch, H).
      x: (*batch, D).
      noise: masks of one step, from `sample_noise` without num_steps; None for none.
      residual: whether h is added to the preactivation.
      activation_fn: the activation.

    Returns:
      (h, y): the carry after the step, and the output (*batch, H).

    Raises:
      ValueError: shapes or masks that do not fit.
      TypeError: an integer x, weights of several dtypes, noise of another type.

    Example:
      >>> import jax.numpy as jnp, jaxnoise.recurrent as jr
      >>> weights = jr.Weights(jnp.ones((3, 4)), jnp.eye(4), jnp.zeros(4))
      >>> h, y = jr.simple_step(weights, jnp.zeros(4), jnp.ones(3))
      >>> bool((y == h).all())
      True

    Reference: Elman, Finding structure in time, Cognitive Science 14, 1990.
    """
    cell = _cell("simple_step", residual, activation_fn)
    (h,), y = _scan.step(cell, weights, (carry,), x, noise, tied=True)
    return h, y


@functools.cache
def _cell(name, residual, activation_fn):
    """One object for the same arguments, so that nothing is compiled again."""
    known = activation_fn is jnp.tanh
    return Cell(
        name=name,
        gates=1,
        states=1,
        places=_PLACES,
        forward=functools.partial(_forward, residual, activation_fn),
        backward=functools.partial(_backward, residual) if known else None,
    )


def _forward(residual, activation_fn, ax, ah, state, masks):
    (x,), (u,), (h,) = ax, ah, state
    value = activation_fn(x + u + h.astype(x.dtype) if residual else x + u)
    return _combine(value, state, masks), (value,)


def _combine(value, state, masks):
    """The state after a step, from its value after the activation."""
    (h,) = state
    return (mix(value.astype(h.dtype), h, masks.zoneout_hidden),)


def _backward(residual, saved, state, masks, dstate):
    (value,) = saved
    _, pull = jax.vjp(_combine, value, state, masks)
    dvalue, (dh,), dmasks = pull(dstate)
    da = dvalue * (1 - value * value)
    if residual:
        dh = dh + da.astype(dh.dtype)
    return (da,), (dh,), dmasks
