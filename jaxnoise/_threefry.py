"""Threefry-2x32 written out: the blocks of `jax.random`, for XLA to fuse."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Shape = tuple[int, ...]


def blocks(
    key: jax.Array,
    shape: Shape,
    sharding: Any = None,
    *,
    every: int = 1,
    first: int = 0,
) -> tuple[jax.Array, jax.Array]:
    """The block of every element of `shape`, as two words (high, low).

    Args:
      key: a typed key of the implementation threefry2x32.
      shape: fewer than 2^32 / every elements. A size may be symbolic.
      sharding: where the elements are on an explicit mesh.
      every: how many blocks an element has; they lie side by side.
      first: which of them this is. The counter of an element is its row-major index
        times `every`, plus `first`.
    """
    key0, key1 = jax.random.key_data(key)
    return _rounds(key0, key1, _counters(shape, sharding, every, first))


def _counters(shape: Shape, sharding: Any, every: int, first: int) -> jax.Array:
    """The counter of every element, from iotas that stay local if sharded."""
    counter, stride = jnp.full((), first, np.uint32), every
    for dim in reversed(range(len(shape))):
        iota = lax.broadcasted_iota(np.uint32, shape, dim, out_sharding=sharding)
        known = isinstance(stride, int)
        step = np.uint32(stride) if known else jnp.asarray(stride).astype(np.uint32)
        counter = counter + iota * step
        stride = stride * shape[dim]
    return counter


def _rounds(
    key0: jax.Array, key1: jax.Array, counter: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The 20 rounds of Threefry-2x32 on the counter (0, counter).

    Reference: Salmon, Moraes, Dror, Shaw, Parallel random numbers: as easy as 1, 2, 3,
    SC 2011.
    """
    schedule = (key0, key1, key0 ^ key1 ^ np.uint32(0x1BD11BDA))
    rotations = ((13, 15, 26, 6), (17, 29, 16, 24))
    high, low = key0, counter + key1
    for group in range(5):
        for rotation in rotations[group % 2]:
            high = high + low
            low = (low << np.uint32(rotation)) | (low >> np.uint32(32 - rotation))
            low = high ^ low
        high = high + schedule[(group + 1) % 3]
        low = low + (schedule[(group + 2) % 3] + np.uint32(group + 1))
    return high, low
