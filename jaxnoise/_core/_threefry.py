"""Threefry-2x32 written out: the blocks of `jax.random`, for XLA to fuse."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Shape = tuple[int, ...]


class Part(NamedTuple):
    """The indices of the last dim from `start` on, as many as `size`.

    `start` may be traced. What lies beyond the dim has random bits like any other.
    """

    start: Any
    size: int


def blocks(
    key: jax.Array,
    shape: Shape,
    sharding: Any = None,
    *,
    every: int = 1,
    first: int = 0,
    part: Part | None = None,
) -> tuple[jax.Array, jax.Array]:
    """The block of every element of `shape`, as two words (high, low).

    Args:
      key: a typed key of the implementation threefry2x32.
      shape: fewer than 2^32 / every elements; more if they are known and a part is
        wanted. A size may be symbolic.
      sharding: where the elements are on an explicit mesh.
      every: how many blocks an element has; they lie side by side.
      first: which of them this is. The counter of an element is its row-major index
        times `every`, plus `first`.
      part: of the last dim, for the blocks of these elements alone.
    """
    key0, key1 = jax.random.key_data(key)
    known = all(isinstance(size, int) for size in shape)
    if part is not None and known and math.prod(shape) * every >= 2**32:
        counter = _wide_counters(shape, every, first, part, sharding)
    else:
        counter = None, _counters(shape, every, first, part, sharding)
    return _rounds(key0, key1, *counter)


def _counters(
    shape: Shape, every: int, first: int, part: Part | None, sharding: Any
) -> jax.Array:
    """The counter of every element, from iotas that stay local if sharded."""
    counter, stride, drawn = jnp.full((), first, np.uint32), every, shape
    if part is not None:
        counter += jnp.asarray(part.start).astype(np.uint32) * np.uint32(every)
        drawn = (*shape[:-1], part.size)
    for dim in reversed(range(len(shape))):
        iota = lax.broadcasted_iota(np.uint32, drawn, dim, out_sharding=sharding)
        known = isinstance(stride, int)
        step = np.uint32(stride) if known else jnp.asarray(stride).astype(np.uint32)
        counter = counter + iota * step
        stride = stride * shape[dim]
    return counter


def _wide_counters(
    shape: Shape, every: int, first: int, part: Part, sharding: Any
) -> tuple[jax.Array, jax.Array]:
    """The same as two words (high, low), the number of rows being below 2^32."""
    drawn, row, stride = (*shape[:-1], part.size), jnp.zeros((), np.uint32), 1
    for dim in reversed(range(len(shape) - 1)):
        iota = lax.broadcasted_iota(np.uint32, drawn, dim, out_sharding=sharding)
        row, stride = row + iota * np.uint32(stride), stride * shape[dim]
    last = len(shape) - 1
    column = lax.broadcasted_iota(np.uint32, drawn, last, out_sharding=sharding)
    column = column + jnp.asarray(part.start).astype(np.uint32)
    column = column * np.uint32(every) + np.uint32(first)
    high, low = _product(row, np.uint32(shape[-1] * every))
    total = low + column
    return high + (total < low).astype(np.uint32), total


def _product(a: jax.Array, b: np.uint32) -> tuple[jax.Array, jax.Array]:
    """The 64 bits of a product of words, as (high, low)."""
    half, low = np.uint32(16), np.uint32(0xFFFF)
    cross = (a & low) * (b >> half)
    carried = (a >> half) * (b & low) + ((a & low) * (b & low) >> half)
    middle = carried + cross
    wrapped = (middle < cross).astype(np.uint32) << half
    return (a >> half) * (b >> half) + (middle >> half) + wrapped, a * b


def _rounds(
    key0: jax.Array, key1: jax.Array, high: jax.Array | None, low: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The 20 rounds of Threefry-2x32 on the counter (high, low), high 0 if None.

    Reference: Salmon, Moraes, Dror, Shaw, Parallel random numbers: as easy as 1, 2, 3,
    SC 2011.
    """
    # what the operators of `jax.numpy` bind, without their checks: traced for every
    # program, these hundred are most of its tracing
    add, xor, either = lax.add, lax.bitwise_xor, lax.bitwise_or
    schedule = (key0, key1, xor(xor(key0, key1), np.uint32(0x1BD11BDA)))
    rotations = ((13, 15, 26, 6), (17, 29, 16, 24))
    high, low = key0 if high is None else add(high, key0), add(low, key1)
    for group in range(5):
        for rotation in rotations[group % 2]:
            high = add(high, low)
            left = lax.shift_left(low, np.uint32(rotation))
            right = lax.shift_right_logical(low, np.uint32(32 - rotation))
            low = xor(high, either(left, right))
        high = add(high, schedule[(group + 1) % 3])
        low = add(low, add(schedule[(group + 2) % 3], np.uint32(group + 1)))
    return high, low
