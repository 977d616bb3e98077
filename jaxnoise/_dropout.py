"""Dropout: each unit is kept or dropped by a coin of its own.

One call (`dropout`), or its two halves (`dropout_mask`, `apply_mask`) where a mask is
to be seen or used again, and the alpha family, which keeps the mean and the variance of
SELU activations. Inputs are floating or complex arrays of any shape.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import NamedSharding, PartitionSpec
from jax.typing import ArrayLike

from jaxnoise._core import (
    _check,
    _dims,
    _integers,
    _mask,
    _precision,
    _sharding,
)

# -lambda * alpha of SELU: what it tends to for very negative inputs
_SELU_FLOOR = np.float64(-1.7580993408473766)


def dropout(
    key: jax.Array,
    x: ArrayLike,
    rate: ArrayLike,
    *,
    broadcast_dims: Sequence[int] = (),
    bits: int = 32,
) -> jax.Array:
    """Drop units with probability `rate` and scale the others by 1 / (1 - rate).

    Law: y = x m / q, m ~ Bernoulli(q) i.i.d. over the elements, q = 1 - rate.
    E[y] = x, Var[y] = x^2 rate / (1 - rate).

    The same key gives the mask of `jax.random.bernoulli(key, 1 - rate, x.shape)`, and
    for float32 the bits of `flax.linen.Dropout` and `flax.nnx.Dropout`.

    Args:
      key: PRNG key, consumed.
      x: floating or complex array of any shape.
      rate: probability of dropping, in [0, 1]: 0 returns x; 1 drops everything and
        returns zeros, so that 1 % is 0.01. A traced rate is clipped to [0, 1], nan to
        1; no gradient reaches it. Under `jax.experimental.checkify.checkify` a bad one
        is an error.
      broadcast_dims: dims that share one draw. `(1,)` on (batch, time, features) is
        the locked dropout of AWD-LSTM: one mask for all time steps.
      bits: 32, or 16 or 8 for 4 or 8 decisions from each block of random bits: another
        mask, drawn faster, of which the backward pass keeps a bit an element and not a
        byte. The rate is rounded to a multiple of 2^-bits, and the scale with it, so
        that the mean stays exact. Eight neighbours along the last dim but two share
        their bits (along the first dim of a matrix or a vector): a device whose part
        has a multiple of eight there draws its own part alone.

    Returns:
      Array with the shape, dtype and sharding of x. What is dropped is exactly 0, nan
      and inf included.

    Raises:
      ValueError: a known rate outside [0, 1] or off the grid of its bits by more than
        5 %, a bad dim, other bits, or a batch of keys.
      TypeError: x is not floating or complex, or key is not a key.

    Sharp bits: the same key under `shard_map`, or under `vmap` with the key not mapped,
    gives every shard or row the same mask; split it first. `vmap` maps every argument
    unless it is told, and refuses a rate that is a number for its rank: `in_axes` says
    that all rows share it, as below. The grid of a draw is 2^-23:
    rates below 2^-24 never drop. Above 1 - 2^-12 the scale follows the probability on
    the grid, where flax's is biased.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise as jn
      >>> y = jn.dropout(jax.random.key(0), jnp.ones((2, 8)), 0.5)
      >>> sorted(set(y.ravel().tolist()))
      [0.0, 2.0]
      >>> keys = jax.random.split(jax.random.key(0), 2)
      >>> jax.vmap(jn.dropout, in_axes=(0, 0, None))(keys, y, 0.5).shape
      (2, 8)

    Reference: Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov, Dropout: a
    simple way to prevent neural networks from overfitting, JMLR 15, 2014.
    """
    name = "dropout"
    key = _check.key(name, key)
    x = _check.floating(name, x)
    rate = _check.rate(name, rate)
    dims = _dims.normalized(name, "broadcast_dims", broadcast_dims, x.ndim)
    bits = _check.bits(name, bits, rate)
    return _mask.drop(key, x, rate, dims, bits)


def dropout_mask(
    key: jax.Array,
    shape: int | Sequence[int],
    rate: ArrayLike,
    *,
    broadcast_dims: Sequence[int] = (),
    bits: int = 32,
    out_sharding: NamedSharding | PartitionSpec | None = None,
) -> jax.Array:
    """Draw the mask of `dropout`, to be applied as often as wanted.

    Law: m ~ Bernoulli(1 - rate) i.i.d. E[m] = 1 - rate, Var[m] = rate (1 - rate).

    Args:
      key: PRNG key, consumed.
      shape: shape of the array that the mask is for.
      rate: probability of dropping, in [0, 1]: 0 keeps everything, 1 nothing. A traced
        rate is clipped to [0, 1], nan to 1.
      broadcast_dims: dims that share one draw; they have size 1 in the mask.
      bits: as in `dropout`; give `apply_mask` the same.
      out_sharding: on an explicit mesh the sharding of the array that the mask is for,
        `jax.typeof(x).sharding`, so that each device draws its own part; None for a
        mask that is drawn whole on every device. The bits are the same. On an automatic
        mesh the compiler decides.

    Returns:
      Bool array, True = kept: `jax.random.bernoulli(key, float32(1 - rate), shape)`, if
      bits is 32. Under `jax.checkpoint` it goes by the name "jaxnoise_mask", for a
      policy such as `jax.checkpoint_policies.save_only_these_names` to keep it where it
      would be drawn again otherwise. So do the masks that `dropout` draws.

    Raises:
      ValueError: a known rate outside [0, 1] or off the grid of its bits by more than
        5 %, a bad shape, dim or sharding, other bits, or a batch of keys.
      TypeError: key is not a key, shape has something that is not an integer, or
        out_sharding is not a sharding.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise as jn
      >>> x = jnp.ones((4, 3))
      >>> mask = jn.dropout_mask(jax.random.key(0), x.shape, 0.5)
      >>> y = jn.dropout(jax.random.key(0), x, 0.5)
      >>> bool((jn.apply_mask(x, mask, 0.5) == y).all())
      True
    """
    name = "dropout_mask"
    key = _check.key(name, key)
    shape = _integers.shape(name, shape)
    rate = _check.rate(name, rate)
    dims = _dims.normalized(name, "broadcast_dims", broadcast_dims, len(shape))
    bits = _check.bits(name, bits, rate)
    wanted = _sharding.checked(name, "out_sharding", out_sharding, shape)
    threshold, _ = _mask.keep_threshold(rate, np.dtype(np.float32), bits)
    return _sampled_mask(key, threshold, _mask.Coins(shape, dims, bits, wanted))


@functools.partial(jax.jit, static_argnames="coins")
def _sampled_mask(key, threshold, coins):
    return checkpoint_name(_mask.keep_mask(key, threshold, coins), _mask.NAME)


def apply_mask(
    x: ArrayLike, mask: ArrayLike, rate: ArrayLike, *, bits: int = 32
) -> jax.Array:
    """Scale what `mask` keeps by 1 / (1 - rate), drop the rest.

    Law: y = x / (1 - rate) where the mask is True, else 0. Over masks of
    `dropout_mask` with the same rate, E[y] = x, Var[y] = x^2 rate / (1 - rate).

    Args:
      x: floating or complex array.
      mask: bool array that broadcasts to the shape of x, True = kept.
      rate: the probability of dropping that the mask was drawn with, in [0, 1]. At 1
        nothing should be kept; what is kept all the same is not scaled. A traced rate
        is clipped to [0, 1], nan to 1.
      bits: those that the mask was drawn with.

    Returns:
      Array with the shape, dtype and sharding of x.

    Raises:
      ValueError: a known rate outside [0, 1] or off the grid of its bits by more than
        5 %, other bits, or a mask that does not broadcast to x.
      TypeError: x is not floating or complex, or mask is not bool.

    Sharp bits: the backward pass keeps the mask, one byte a value, whatever its bits;
    that of `dropout` with few bits keeps one bit.

    Example:
      >>> import jax.numpy as jnp, jaxnoise as jn
      >>> jn.apply_mask(jnp.array([1., 2.]), jnp.array([True, False]), 0.5).tolist()
      [2.0, 0.0]
    """
    name = "apply_mask"
    x = _check.floating(name, x)
    rate = _check.rate(name, rate)
    mask = _check.mask(name, mask, x.shape)
    bits = _check.bits(name, bits, rate)
    _, keep = _mask.keep_threshold(rate, _precision.wide_dtype(x), bits)
    return _applied_mask(mask, x, keep)


_applied_mask = jax.jit(functools.partial(_mask.applied, _mask.scale_kept))


def alpha_dropout(
    key: jax.Array,
    x: ArrayLike,
    rate: ArrayLike,
    *,
    broadcast_dims: Sequence[int] = (),
    bits: int = 32,
) -> jax.Array:
    """Drop units to the floor of SELU, then rescale all to keep mean and variance.

    Law: y = a (m x + (1 - m) A) + c, m ~ Bernoulli(q) i.i.d., q = 1 - rate,
    A = -1.7580993408473766, a = (q (1 + rate A^2))^-1/2, c = -a rate A.

    E[y] = a q x, Var[y] = a^2 rate q (x - A)^2. Not unbiased element by element: what
    it keeps is mean 0 and variance 1 over data that has them.

    Args:
      key: PRNG key, consumed.
      x: floating array of any shape, in use the output of `jax.nn.selu`.
      rate: probability of dropping, in [0, 1): 0 returns x. A traced rate is clipped to
        [0, 1 - 2^-24], and nan gives nan; no gradient reaches it.
      broadcast_dims: dims that share one draw.
      bits: as in `dropout`; q is the rounded one in all of the law.

    Returns:
      Array with the shape, dtype and sharding of x. What is dropped is
      exactly a A + c, nan and inf included.

    Raises:
      ValueError: a known rate outside [0, 1) or off the grid of its bits by more than
        5 %, a bad dim, other bits, or a batch of keys.
      TypeError: x is not floating, or key is not a key.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise as jn
      >>> y = jn.alpha_dropout(jax.random.key(0), jnp.full((1000,), 2.0), 0.5)
      >>> len(set(y.tolist()))  # kept and dropped
      2

    Reference: Klambauer, Unterthiner, Mayr, Hochreiter, Self-normalizing neural
    networks, NeurIPS 2017, https://arxiv.org/abs/1706.02515.
    """
    name = "alpha_dropout"
    key = _check.key(name, key)
    x = _check.floating(name, x, allow_complex=False)
    rate = _check.rate(name, rate, below_one=True)
    dims = _dims.normalized(name, "broadcast_dims", broadcast_dims, x.ndim)
    bits = _check.bits(name, bits, rate)
    return _alpha(key, x, rate, dims, bits)


def feature_alpha_dropout(
    key: jax.Array,
    x: ArrayLike,
    rate: ArrayLike,
    *,
    channel_axis: int = -1,
    batch_dims: int = 1,
    bits: int = 32,
) -> jax.Array:
    """Alpha dropout of whole channels: one coin for each (example, channel).

    Law: that of `alpha_dropout` with its a and A, m shared by the positions of a
    channel. E[y] = a q x, Var[y] = a^2 rate q (x - A)^2.

    Args:
      key: PRNG key, consumed.
      x: floating array (*batch, *spatial, channels), or with channels elsewhere.
      rate: probability of dropping a channel, in [0, 1): 0 returns x. A traced rate is
        clipped to [0, 1 - 2^-24], and nan gives nan; no gradient reaches it.
      channel_axis: the dim of the channels.
      batch_dims: number of leading batch dims; 0 for a single example.
      bits: as in `alpha_dropout`.

    Returns:
      Array with the shape, dtype and sharding of x.

    Raises:
      ValueError: a known rate outside [0, 1), no spatial dim, a bad axis, or a batch of
        keys.
      TypeError: x is not floating, or key is not a key.

    Sharp bits: inside `jax.vmap` over examples, as in equinox, x has no batch dim: pass
    `batch_dims=0`, and a key for each example. With 1 the first dim of x passes for the
    batch.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise as jn
      >>> x = jnp.ones((2, 4, 4, 3))
      >>> y = jn.feature_alpha_dropout(jax.random.key(0), x, 0.5)
      >>> bool((y == y[:, :1, :1]).all())  # a channel is kept or dropped as a whole
      True

    Reference: Klambauer, Unterthiner, Mayr, Hochreiter, Self-normalizing neural
    networks, NeurIPS 2017, https://arxiv.org/abs/1706.02515.
    """
    name = "feature_alpha_dropout"
    key = _check.key(name, key)
    x = _check.floating(name, x, allow_complex=False)
    rate = _check.rate(name, rate, below_one=True)
    dims = _dims.spatial(name, x, channel_axis, batch_dims)
    bits = _check.bits(name, bits, rate)
    return _alpha(key, x, rate, dims, bits)


def _alpha(key, x, rate, shared, bits):
    """y = a x + c where kept, a A + c where not."""
    if _check.known(rate, 0):
        return x
    wide = _precision.wide_dtype(x)
    if isinstance(rate, jax.Array):
        xp, rate = jnp, _check.unit_interval(rate, below_one=True)
        drop = rate.astype(wide)
    else:
        xp, drop = np, np.float64(rate)
    threshold, keep = _mask.keep_threshold(rate, wide, bits)
    if bits < 32:
        drop = wide.type(1) - keep
    floor = _SELU_FLOOR.astype(drop.dtype)
    slope = 1 / xp.sqrt((1 - drop) * (1 + drop * floor**2))
    shift = -slope * drop * floor
    amounts = [a.astype(wide) for a in (slope, shift, slope * floor + shift)]
    return _alpha_noise(key, threshold, x, *amounts, shared=shared, bits=bits)


@_mask.masked
def _alpha_noise(mask, x, slope, shift, floor):
    kept = _precision.in_wide(lambda real: slope * real + shift, x)
    return jnp.where(mask, kept, floor.astype(x.dtype))
