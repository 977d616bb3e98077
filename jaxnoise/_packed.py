"""Several decisions from one threefry block: 8 of 8 bits each, or 4 of 16 bits.

A block is 64 bits. Blocks lie along the last axis, each for the next 64 / bits elements
of a row, so that a row needs the blocks of no other row, and a shard that holds whole
blocks none of another shard.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from jaxnoise import _threefry, _wall

Shape = tuple[int, ...]
Sharding = NamedSharding | None


def lanes(
    key: jax.Array, shape: Shape, bits: int, sharding: Sharding = None
) -> jax.Array:
    """Integers in [0, 2^bits), uint32, uniform and independent.

    Those of a row are the parts, `bits` wide and the lowest first, of the blocks
    `jax.random.bits(key, (*rows, blocks), uint64)`, in the default implementation of
    keys with `jax_threefry_partitionable`.
    """
    if not shape:
        return lanes(key, (1,), bits)[0]
    *rows, length = shape
    per_block = 64 // bits
    blocks = (*rows, -(-length // per_block))
    placed = _placed(sharding, length, per_block)
    words = _words(key, blocks, placed)
    shifts = np.arange(0, 32, bits, dtype=np.uint32)
    shifts = shifts.reshape((1,) * words.ndim + shifts.shape)
    parts = (words[..., None] >> shifts) & np.uint32(2**bits - 1)
    row = lax.reshape(parts, (*rows, blocks[-1] * per_block), **placed)
    row = row if row.shape == shape else lax.slice_in_dim(row, 0, length, axis=-1)
    return row if sharding is None else jax.sharding.reshard(row, sharding)


def _placed(sharding: Sharding, length: int, per_block: int) -> dict[str, Any]:
    """Where blocks lie on an explicit mesh: where their elements do, if they fit."""
    if sharding is None:
        return {}
    mesh, *rows, last = sharding.mesh, *sharding.spec
    axes = last if isinstance(last, tuple) else (last,)
    shards = math.prod(mesh.shape[axis] for axis in axes if axis is not None)
    whole = length % (per_block * shards) == 0
    spec = PartitionSpec(*rows, last if whole else None)
    return {"out_sharding": NamedSharding(mesh, spec)}


def _words(key, shape, placed):
    """Both words of each block, the low one first, in a last dim of 2."""
    known = all(isinstance(size, int) for size in shape)
    if not known or math.prod(shape) >= 2**32:
        raise ValueError(
            f"bits must be 32 where a size is not known, or with 2^32 blocks and more, "
            f"got a draw of {shape} blocks."
        )
    if str(jax.random.key_impl(key)) != "threefry2x32":
        return jax.random.bits(key, (*shape, 2), np.uint32)

    def words(key):
        high, low = _threefry.blocks(key, shape, **placed)
        # a choice by index stays local where a concatenation would be put together
        first = np.arange(2).reshape((1,) * len(shape) + (2,)) == 0
        return jnp.where(first, low[..., None], high[..., None])

    return _wall.materialised(words, key)
