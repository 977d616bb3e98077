"""The noise of a sequence: drawn once, outside the scan, and handed to it as a value.

A mask that is a value cannot freeze in a closure, cannot outlive its sequence unless it
is meant to, and can be looked at, replaced, used again and mapped over.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jax.typing import ArrayLike, DTypeLike

from jaxnoise._core import _check, _integers, _mask, _sharding, _wall

OutSharding = NamedSharding | PartitionSpec | None


class Noise(NamedTuple):
    """Multiplicative masks for each place of a recurrent cell, None where it is off.

    Kept units are scaled by 1 / (1 - rate) already, except for zoneout, whose masks say
    how much of the new state is taken. A mask is of shape (*batch, width), with size 1
    on batch dims that share it; `input` and `recurrent` have the gates in front when
    these are not tied, in the order i, f, g, o (LSTM) or r, z, n (GRU); masks that
    differ from step to step have time before everything else. `weight` is (gates,
    features, features). The fields are documented in `sample_noise`.
    """

    input: Any = None
    recurrent: Any = None
    candidate: Any = None
    cell: Any = None
    zoneout_hidden: Any = None
    zoneout_cell: Any = None
    weight: Any = None
    output: Any = None


_ZONEOUT = ("zoneout_hidden", "zoneout_cell")
_PER_GATE = ("input", "recurrent")


def sample_noise(
    key: jax.Array,
    input_shape: int | Sequence[int],
    features: int,
    *,
    gates: int,
    num_steps: int | None = None,
    input_rate: ArrayLike = 0.0,
    recurrent_rate: ArrayLike = 0.0,
    candidate_rate: ArrayLike = 0.0,
    cell_rate: ArrayLike = 0.0,
    zoneout_hidden: ArrayLike = 0.0,
    zoneout_cell: ArrayLike = 0.0,
    weight_rate: ArrayLike = 0.0,
    output_rate: ArrayLike = 0.0,
    tied: bool = True,
    per_step: bool = False,
    batch_shared: bool = False,
    bits: int = 32,
    dtype: DTypeLike = np.float32,
    input_sharding: OutSharding = None,
    state_sharding: OutSharding = None,
) -> Noise:
    """Draw the masks of a whole sequence for every place whose rate is not 0.

    Law: masks m / q, m ~ Bernoulli(q) i.i.d., q = 1 - rate, E = 1, Var = rate / q; for
    zoneout m ~ Bernoulli(1 - zoneout), E = 1 - zoneout, Var = zoneout (1 - zoneout).
    Each place draws from a key of its own, so turning one on leaves the others alone.

    Args:
      key: PRNG key, consumed.
      input_shape: shape (*batch, width) of the input of one step.
      features: width of the state.
      gates: 4 for an LSTM, 3 for a GRU, 1 for a simple cell.
      num_steps: length of the sequence; None for the noise of a single step.
      input_rate: of the input of the matmuls (Gal and Ghahramani).
      recurrent_rate: of h as input of the matmuls (Gal and Ghahramani). The path on
        which a GRU carries h over is not touched, which keeps shared masks stable.
      candidate_rate: of the update g or n, whatever is kept of the state not being
        touched (Semeniuta et al.).
      cell_rate: of the carried c itself (Moon et al.), scaled by 1 / q like the others.
        Sharp: with one mask for all steps a kept unit follows
        c <- (f / q) c + ..., which grows without bound once the forget gate f is above
        q. With forget bias 1, orthogonal kernels and rate .5, max |c| is 1e8 after 35
        steps and inf after 200; recurrent_rate .5 stays at 2. Keep rate and sequence
        small, or take `recurrent_rate` or `candidate_rate` instead.
      zoneout_hidden: probability that a unit of h stays as it was, drawn per step
        (Krueger et al.).
      zoneout_cell: the same for c.
      weight_rate: of the elements of the recurrent kernels (DropConnect), drawn once
        for the sequence and the batch (Merity et al.).
      output_rate: of what is emitted, not of what is carried.
      tied: one mask of the input and of h for all gates; False draws one per gate.
      per_step: new masks at every step; False draws one for the sequence.
      batch_shared: one mask for all rows; False draws one per row.
      bits: as in `jaxnoise.dropout`, for all masks.
      dtype: dtype of the masks, float32 or float64.
      input_sharding: on an explicit mesh the sharding of the input of one step, for
        each device to draw its own part of the masks; None for masks that are drawn
        whole on every device. The bits are the same. On an automatic mesh the compiler
        decides.
      state_sharding: that of the state, (*batch, features). By default the rows are
        split as those of the input, and the units are whole.

    Returns:
      Noise with the masks, None at places whose rate is 0. A traced rate always gives a
      mask, and is clipped to [0, 1]; no gradient reaches it.

    Raises:
      ValueError: a known rate outside [0, 1], a bad shape or sharding, a sequence
        without steps, or a batch of keys.
      TypeError: key is not a key, a rate not a number, or a sharding not one.

    Example:
      >>> import jax, jaxnoise.recurrent as jr
      >>> key = jax.random.key(0)
      >>> noise = jr.sample_noise(key, (8, 5), 16, gates=4, recurrent_rate=0.5)
      >>> noise.recurrent.shape, noise.input is None
      ((8, 16), True)
      >>> sorted(set(noise.recurrent.ravel().tolist()))
      [0.0, 2.0]

    Reference: Gal, Ghahramani, A theoretically grounded application of dropout in
    recurrent neural networks, NeurIPS 2016, https://arxiv.org/abs/1512.05287;
    Semeniuta, Severyn, Barth, Recurrent dropout without memory loss, COLING 2016,
    https://arxiv.org/abs/1603.05118; Moon, Choi, Lee, Song, RNNDROP, ASRU 2015;
    Krueger et al., Zoneout, ICLR 2017, https://arxiv.org/abs/1606.01305; Merity,
    Keskar, Socher, Regularizing and optimizing LSTM language models, ICLR 2018,
    https://arxiv.org/abs/1708.02182.
    """
    function = "sample_noise"
    key = _check.key(function, key)
    bits = _check.bits(function, bits, 0.0)
    *batch, width = _check_input_shape(function, input_shape)
    rates = {
        "input": _check.rate(function, input_rate, name="input_rate"),
        "recurrent": _check.rate(function, recurrent_rate, name="recurrent_rate"),
        "candidate": _check.rate(function, candidate_rate, name="candidate_rate"),
        "cell": _check.rate(function, cell_rate, name="cell_rate"),
        "zoneout_hidden": _check.rate(function, zoneout_hidden, name="zoneout_hidden"),
        "zoneout_cell": _check.rate(function, zoneout_cell, name="zoneout_cell"),
        "weight": _check.rate(function, weight_rate, name="weight_rate"),
        "output": _check.rate(function, output_rate, name="output_rate"),
    }
    given = {"input_sharding": input_sharding, "state_sharding": state_sharding}
    placed = _places(function, batch, width, features, **given)
    rows = (1,) * len(batch) if batch_shared else tuple(batch)
    steps = _steps(function, num_steps)
    drawn, amounts = {}, {}
    for place, rate in rates.items():
        if _check.known(rate, 0):
            continue
        shape = (*rows, width if place == "input" else features)
        if place in _PER_GATE and not tied:
            shape = (gates, *shape)
        if per_step or place in _ZONEOUT:
            shape = (*steps, *shape)
        shape = (gates, features, features) if place == "weight" else shape
        drawn[place] = shape, placed(place, shape)
        bits = _check.bits(function, bits, rate)
        amounts[place] = _mask.keep_threshold(rate, np.dtype(dtype), bits)
    return Noise(**_draw(key, amounts, drawn=tuple(drawn.items()), bits=bits))


def _places(function, batch, width, features, *, input_sharding, state_sharding):
    """A function of a place and the shape of its mask, with the sharding of that."""
    inputs, states = (*batch, width), (*batch, features)
    of_input = _sharding.checked(function, "input_sharding", input_sharding, inputs)
    of_state = _sharding.checked(function, "state_sharding", state_sharding, states)
    if of_state is None:
        of_state = _sharding.by_rows(of_input, len(batch), len(states))

    def placed(place, shape):
        if place == "input":
            return _sharding.aligned(of_input, inputs, shape)
        if place == "weight":
            return _of_kernels(of_state)
        return _sharding.aligned(of_state, states, shape)

    return placed


def _of_kernels(of_state):
    """The units of each gate are split as those of the state."""
    if of_state is None:
        return None
    return NamedSharding(of_state.mesh, PartitionSpec(None, None, of_state.spec[-1]))


@functools.partial(jax.jit, static_argnames=("drawn", "bits"))
def _draw(key, amounts, *, drawn, bits):
    return {
        place: _place_mask(key, place, amounts[place], shape, sharding, bits)
        for place, (shape, sharding) in drawn
    }


def _place_mask(key, place, amount, shape, sharding, bits):
    # a key per place, not one split over those that are on: the others stay as they are
    key = jax.random.fold_in(key, Noise._fields.index(place))
    return _scaled_mask(key, amount, shape, sharding, place not in _ZONEOUT, bits)


def _scaled_mask(key, amount, shape, sharding, scaled, bits):
    threshold, keep = amount
    coins = _mask.Coins(shape, bits=bits, sharding=sharding)
    # in memory, since it is read at many steps, and again by the backward pass
    draw = functools.partial(_mask.keep_mask, coins=coins)
    kept = _wall.materialised(draw, key, threshold)
    one = jnp.ones((), keep.dtype)
    # nothing is kept where keep is 0, and 1/0 must not be made
    scale = one / jnp.where(keep > 0, keep, one) if scaled else one
    return jnp.where(kept, scale, jnp.zeros((), keep.dtype))


_draw_mask = jax.jit(
    _scaled_mask, static_argnames=("shape", "sharding", "scaled", "bits")
)


def sample_mask(
    key: jax.Array,
    rate: _check.Amount,
    shape: tuple[int, ...],
    sharding: _sharding.Sharding = None,
    *,
    scaled: bool = True,
    bits: int = 32,
) -> jax.Array:
    """A float32 mask of checked rate: 1 / (1 - rate), or 1, where kept, else 0."""
    amount = _mask.keep_threshold(rate, np.dtype(np.float32), bits)
    options = {"sharding": sharding, "scaled": scaled, "bits": bits}
    return _draw_mask(key, amount, shape=tuple(shape), **options)


def expected_noise(
    *,
    zoneout_hidden: ArrayLike = 0.0,
    zoneout_cell: ArrayLike = 0.0,
    dtype: DTypeLike = np.float32,
) -> Noise:
    """The noise of evaluation: zoneout takes its expectation, all else is off.

    Law: h = (1 - zoneout) h~ + zoneout h_before, and the same for c.

    Args:
      zoneout_hidden: probability that a unit of h stays as it was, in [0, 1].
      zoneout_cell: the same for c.
      dtype: dtype of the masks, float32 or float64.

    Returns:
      Noise with a scalar at the two places, None where the probability is 0.

    Raises:
      ValueError: a known probability outside [0, 1].
      TypeError: a probability that is not a number.

    Example:
      >>> import jaxnoise.recurrent as jr
      >>> float(jr.expected_noise(zoneout_hidden=0.25).zoneout_hidden)
      0.75

    Reference: Krueger et al., Zoneout, ICLR 2017, https://arxiv.org/abs/1606.01305.
    """
    masks = {}
    for name, value in zip(_ZONEOUT, (zoneout_hidden, zoneout_cell), strict=True):
        rate = _check.rate("expected_noise", value, name=name)
        if not _check.known(rate, 0):
            _, keep = _mask.keep_threshold(rate, np.dtype(dtype))
            masks[name] = jnp.asarray(keep)
    return Noise(**masks)


def _check_input_shape(function, value):
    shape = _integers.shape(function, value)
    if not shape:
        raise ValueError(
            f"{function}: input_shape must be (*batch, width), got {shape}."
        )
    return shape


def _steps(function, num_steps):
    if num_steps is None:
        return ()
    steps = _integers.size(function, "num_steps", num_steps)
    if _integers.known(steps) and steps < 1:
        raise ValueError(f"{function}: num_steps must be at least 1, got {steps}.")
    return (steps,)
