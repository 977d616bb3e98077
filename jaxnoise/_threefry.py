"""Threefry-2x32 written out: the blocks of `jax.random`, for XLA to fuse."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Shape = tuple[int, ...]


def blocks(key: jax.Array, shape: Shape, **placed: Any) -> tuple[jax.Array, jax.Array]:
    """The block of every element of `shape`, as two words (high, low).

    Args:
      key: a typed key of the implementation threefry2x32.
      shape: fewer than 2^32 elements, which are the counters in row-major order.
      **placed: `out_sharding` of the counters, if there is any.
    """
    first, second = jax.random.key_data(key)
    return _rounds(first, second, _counters(shape, placed))


def _counters(shape: Shape, placed: dict[str, Any]) -> jax.Array:
    """The row-major index of every element, from iotas that stay local if sharded."""
    index, stride = jnp.zeros((), np.uint32), 1
    for dim in reversed(range(len(shape))):
        iota = lax.broadcasted_iota(np.uint32, shape, dim, **placed)
        index, stride = index + iota * np.uint32(stride), stride * shape[dim]
    return index


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
