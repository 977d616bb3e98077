"""Structured dropout: channels, samples or contiguous blocks, dropped as a whole.

Arrays are (*batch, *spatial, channels), or with the channels on any other dim after
the batch dims.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.typing import ArrayLike

from jaxnoise._core import (
    _check,
    _dims,
    _integers,
    _mask,
    _precision,
    _sharding,
)


def spatial_dropout(
    key: jax.Array,
    x: ArrayLike,
    rate: ArrayLike,
    *,
    channel_axis: int = -1,
    batch_dims: int = 1,
    bits: int = 32,
) -> jax.Array:
    """Drop whole channels: one coin for each (example, channel).

    Law: y = x m / q, m ~ Bernoulli(q) i.i.d. over examples and channels, shared by all
    positions, q = 1 - rate. E[y] = x, Var[y] = x^2 rate / (1 - rate).

    Args:
      key: PRNG key, consumed.
      x: floating or complex array with one or more spatial dims: (batch, time,
        channels), (batch, height, width, channels), ...
      rate: probability of dropping a channel, in [0, 1]: 0 returns x, 1 returns zeros.
        A traced rate is clipped to [0, 1], nan to 1; no gradient reaches it.
      channel_axis: the dim of the channels; 1 for channels first.
      batch_dims: number of leading batch dims; 0 for a single example.
      bits: as in `dropout`.

    Returns:
      Array with the shape, dtype and sharding of x.

    Raises:
      ValueError: a known rate outside [0, 1], no spatial dim, a bad axis, or a batch of
        keys.
      TypeError: x is not floating or complex, or key is not a key.

    Sharp bits: inside `jax.vmap` over examples, as in equinox, x has no batch dim: pass
    `batch_dims=0`, and a key for each example. With 1 the first dim of x passes for the
    batch: of (channels, height, width) columns are dropped, of (height, width,
    channels) rows.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise as jn
      >>> x = jnp.ones((2, 5, 5, 3))
      >>> y = jn.spatial_dropout(jax.random.key(0), x, 0.5)
      >>> bool((y == y[:, :1, :1]).all())  # a channel is kept or dropped as a whole
      True

    Reference: Tompson, Goroshin, Jain, LeCun, Bregler, Efficient object localization
    using convolutional networks, CVPR 2015, https://arxiv.org/abs/1411.4280.
    """
    name = "spatial_dropout"
    key = _check.key(name, key)
    x = _check.floating(name, x)
    rate = _check.rate(name, rate)
    dims = _dims.spatial(name, x, channel_axis, batch_dims)
    bits = _check.bits(name, bits, rate)
    return _mask.drop(key, x, rate, dims, bits)


def drop_path(
    key: jax.Array,
    x: ArrayLike,
    rate: ArrayLike,
    *,
    batch_dims: int = 1,
    bits: int = 32,
) -> jax.Array:
    """Drop whole samples: one coin for each, as in stochastic depth.

    Use it on the residual branch: `x + drop_path(key, branch(x), rate)`.

    Law: y = x m / q, m ~ Bernoulli(q) i.i.d. over samples, q = 1 - rate.
    E[y] = x, Var[y] = x^2 rate / (1 - rate).

    Args:
      key: PRNG key, consumed.
      x: floating or complex array (*batch, ...).
      rate: probability of dropping a sample, in [0, 1]: 0 returns x, 1 returns zeros. A
        traced rate is clipped to [0, 1], nan to 1; no gradient reaches it.
      batch_dims: number of leading batch dims; 0 for one coin for all of x.
      bits: as in `dropout`.

    Returns:
      Array with the shape, dtype and sharding of x.

    Raises:
      ValueError: a known rate outside [0, 1], more batch dims than dims, or a batch of
        keys.
      TypeError: x is not floating or complex, or key is not a key.

    Sharp bits: inside `jax.vmap` over examples, as in equinox, x has no batch dim: pass
    `batch_dims=0`, and a key for each example. With 1 the first dim of x passes for the
    batch: of (tokens, features) tokens are dropped.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise as jn
      >>> y = jn.drop_path(jax.random.key(0), jnp.ones((4, 3)), 0.5)
      >>> bool((y == y[:, :1]).all())
      True
      >>> keys = jax.random.split(jax.random.key(0), 8)
      >>> example = lambda key, x: jn.drop_path(key, x, 0.5, batch_dims=0)
      >>> y = jax.vmap(example)(keys, jnp.ones((8, 5, 3)))
      >>> bool((y == y[:, :1, :1]).all())  # an example is dropped as a whole
      True

    Reference: Huang, Sun, Liu, Sedra, Weinberger, Deep networks with stochastic depth,
    ECCV 2016, https://arxiv.org/abs/1603.09382.
    """
    name = "drop_path"
    key = _check.key(name, key)
    x = _check.floating(name, x)
    rate = _check.rate(name, rate)
    batch = _integers.integer(name, "batch_dims", batch_dims)
    if not 0 <= batch <= x.ndim:
        raise ValueError(
            f"drop_path: batch_dims must be in [0, {x.ndim}] for x of shape "
            f"{x.shape}, got {batch}."
        )
    bits = _check.bits(name, bits, rate)
    return _mask.drop(key, x, rate, tuple(range(batch, x.ndim)), bits)


def drop_block(
    key: jax.Array,
    x: ArrayLike,
    rate: ArrayLike,
    block_size: int,
    *,
    channel_axis: int = -1,
    batch_dims: int = 1,
    share_channels: bool = False,
) -> jax.Array:
    """Drop contiguous blocks of each channel and rescale what is left of the example.

    Law: y = x M size / sum(M), M = 0 on the union of the blocks, size and sum over the
    example. Blocks of size k start at seeds ~ Bernoulli(gamma), i.i.d. on the
    positions where a block fits whole, gamma = rate prod(n_d) / prod(k (n_d - k + 1))
    over the spatial dims d. Each channel has seeds of its own, or all channels of an
    example the same. For constant x the mean over the example is x to rounding, unless
    everything dropped. Position by position it is not: borders drop less.

    Args:
      key: PRNG key, consumed.
      x: floating or complex array with 1 to 3 spatial dims.
      rate: nominal fraction dropped, in [0, 1]: 0 returns x. Blocks overlap, so less is
        dropped: .243 of a 14 x 14 map for rate .3 and blocks of 7. At 1 some positions
        may survive. A traced rate is clipped to [0, 1], nan to 1; no gradient reaches
        it.
      block_size: side k of the blocks, from 1 (dropout) to the smallest spatial size.
      channel_axis: the dim of the channels; 1 for channels first.
      batch_dims: number of leading batch dims; 0 for a single example.
      share_channels: True for the same blocks in all channels of an example, so that no
        channel shows what a block hides; False for other blocks in each channel.

    Returns:
      Array with the shape, dtype and sharding of x; an example is zero where all of it
      dropped.

    Raises:
      ValueError: a known rate outside [0, 1], block_size that does not fit, or that may
        not fit a symbolic size of `jax.export`, no spatial dim or more than three, a
        bad axis, or a batch of keys.
      TypeError: x is not floating or complex, block_size is not an integer,
        share_channels is not a bool, or key is not a key.

    Sharp bits: sum(M) is a sum over each example: with examples split over devices it
    costs a reduction, with whole examples on each device nothing. Of a symbolic size
    gamma is a float32 number, and its threshold may sit one step of 2^-23 from that of
    the known size. Inside `jax.vmap` over examples, as in equinox, x has no batch dim:
    pass `batch_dims=0`, and a key for each example. With 1 the first dim of x passes
    for the batch.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise as jn
      >>> x = jnp.ones((2, 14, 14, 3))
      >>> y = jn.drop_block(jax.random.key(0), x, 0.1, 7)
      >>> bool(jnp.allclose(y.mean((1, 2, 3)), 1.0))
      True
      >>> y = jn.drop_block(jax.random.key(0), x, 0.1, 7, share_channels=True)
      >>> bool((y == y[..., :1]).all())
      True

    Reference: Ghiasi, Lin, Le, DropBlock: a regularization method for convolutional
    networks, NeurIPS 2018, https://arxiv.org/abs/1810.12890.
    """
    name = "drop_block"
    key = _check.key(name, key)
    x = _check.floating(name, x)
    rate = _check.rate(name, rate)
    size = _integers.integer(name, "block_size", block_size)
    dims = _dims.spatial(name, x, channel_axis, batch_dims)
    share = _check.flag(name, "share_channels", share_channels)
    if len(dims) > 3:
        raise ValueError(
            f"drop_block: x must have 1 to 3 spatial dims, got {len(dims)} in shape "
            f"{x.shape}."
        )
    sizes = [x.shape[dim] for dim in dims]
    smallest = min(filter(_integers.known, sizes), default=math.inf)
    if not 1 <= size <= smallest:
        raise ValueError(
            f"drop_block: block_size must be in [1, {smallest}] for x of shape "
            f"{x.shape}, got {size}."
        )
    for n in sizes:
        _integers.at_least(name, n, size)
    if _check.known(rate, 0):
        return x
    # of symbolic sizes a traced number, and gamma a float32 as for a traced rate
    ratio = math.prod(n / (size * (n - size + 1)) for n in sizes)
    if isinstance(rate, jax.Array):
        gamma = _check.unit_interval(rate) * jnp.asarray(ratio, np.float32)
    else:
        gamma = rate * ratio
    threshold, _ = _mask.keep_threshold(gamma, _precision.wide_dtype(x))
    batch = _integers.integer(name, "batch_dims", batch_dims)
    # the dim beside those of the batch and of the image is that of the channels
    shared = tuple(set(range(batch, x.ndim)) - set(dims)) if share else ()
    options = {"size": size, "dims": dims, "batch": batch, "shared": shared}
    return _blocks(key, x, threshold, **options)


@functools.partial(jax.jit, static_argnames=["size", "dims", "batch", "shared"])
def _blocks(key, x, threshold, *, size, dims, batch, shared):
    grid = tuple(n - size + 1 if dim in dims else n for dim, n in enumerate(x.shape))
    coins = _mask.Coins(grid, shared, sharding=_sharding.like(x, grid))
    blocks = _spread(~_mask.keep_mask(key, threshold, coins), size, dims)
    keep = checkpoint_name(~blocks, _mask.NAME)
    return _mask.applied(functools.partial(_scaled_by_example, batch), keep, x)


def _scaled_by_example(batch, keep, x):
    """The kept elements of each example, scaled by its size over their number."""
    # counted in the mask, which has one channel where all share it
    example = tuple(range(batch, x.ndim))
    kept = keep.sum(example, dtype=np.int32, keepdims=True)
    total = math.prod(keep.shape[dim] for dim in example)
    probability = kept.astype(_precision.wide_dtype(x)) / total
    return _mask.scale_kept(keep, x, probability)


def _spread(seeds, size, dims):
    """True within `size` after each seed: the union of the blocks they start.

    A block is an interval in each dim: seeds make intervals in the first, these make
    rectangles, and so on. k values are read for each of d dims, not k^d at once.
    """
    # the compiler for TPU v6e aborts over some windows of bools joined by "or"
    found = seeds.astype(np.uint8)
    for spread in dims:
        window = tuple(size if dim == spread else 1 for dim in range(seeds.ndim))
        padding = [(n - 1, n - 1) for n in window]
        ones = (1,) * seeds.ndim
        found = lax.reduce_window(found, np.uint8(0), lax.max, window, ones, padding)
    return found.astype(bool)
