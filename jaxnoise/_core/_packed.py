"""Coins of 8 or 16 random bits: eight of them, from one or two threefry blocks, a byte.

Eight neighbours along the last dim but two (along the first dim of a matrix or a
vector) share a byte of keep bits. Compilers tile the last two dims, and lay them out as
they like: a byte of neighbours in one of these would be moved about to be expanded.
Along the dim in front of them, and along the rows of a matrix, eight elements come from
a byte for nothing where the mask is used, and the mask itself never reaches memory:
only its bytes do, one bit an element.
"""

import functools
import math
import operator

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from jaxnoise._core import _random, _sharding, _threefry, _wall

Shape = tuple[int, ...]
Sharding = _sharding.Sharding

GROUP = 8


def draw(
    key: jax.Array,
    threshold: jax.Array,
    shape: Shape,
    bits: int,
    sharding: Sharding = None,
    part: _threefry.Part | None = None,
) -> jax.Array:
    """Bytes of keep bits for an array of `shape`, a byte for eight neighbours.

    Neighbour 8 g + i is kept where bit i of byte g is set: where part i of the random
    bits of the group, `bits` wide and the lowest first, is below the threshold. These
    are `jax.random.bits(key, (*groups, bits // 8), uint64)`, the first block lowest.

    With `part`, a part of the last dim of an array of two dims or more, only that is
    drawn, for keys that count blocks.
    """
    groups = _groups(shape)
    known = all(isinstance(size, int) for size in shape)
    if known and math.prod(groups) * (bits // GROUP) >= 2**32:
        raise ValueError(
            f"bits must be 32 for a draw of 2^32 threefry blocks and more, got "
            f"bits={bits} for an array of shape {shape}."
        )
    placed = None if sharding is None else _placed(shape, sharding)

    def packed(key, threshold):
        words = _random.block_words(key, groups, bits // GROUP, placed, part)
        kept = (_kept_of_bytes if bits == 8 else _kept_of_halves)(words, threshold)
        return kept.astype(np.uint8)

    return _wall.materialised(packed, key, threshold)


def unpack(packed: jax.Array, shape: Shape, sharding: Sharding = None) -> jax.Array:
    """The bool mask of `shape` that `draw` packed, in integers of any width."""
    if not shape:
        return unpack(packed, (1,))[0]
    axis, size = _axis(shape), shape[_axis(shape)]
    if not isinstance(size, int) or size % GROUP:
        kept = _looked_up(packed, axis, size)
    else:
        bits = _bits(jnp.expand_dims(packed, axis + 1), axis + 1, GROUP)
        placed = None if sharding is None else _placed(shape, sharding)
        kept = lax.reshape(bits, shape, out_sharding=placed)
    return kept if sharding is None else jax.sharding.reshard(kept, sharding)


def _looked_up(packed, axis, size):
    """The same where eight do not go into the size: each looks its byte up.

    To expand whole groups and to cut off the rest takes up to twice as long on a TPU,
    and parts of a group on two devices would send it.
    """
    group = lax.iota(np.int32, size) // GROUP
    bytes_ = jnp.take(packed, group, axis, mode="clip", indices_are_sorted=True)
    return _bits(bytes_, axis, size)


def _bits(packed, axis, size):
    """Bit number i % 8 of what is at i along the axis, or broadcast to it, as bools."""
    shape = [1] * packed.ndim
    shape[axis] = size
    index = lax.broadcasted_iota(packed.dtype, shape, axis)
    if size != GROUP:
        index %= GROUP
    return (packed >> index) & 1 != 0


def _axis(shape: Shape) -> int:
    """The dim whose neighbours share a byte."""
    return max(len(shape) - 3, 0)


def _groups(shape: Shape) -> Shape:
    """The shape of the bytes."""
    axis, shape = _axis(shape), shape or (1,)
    return (*shape[:axis], -(-shape[axis] // GROUP), *shape[axis + 1 :])


def _placed(shape: Shape, sharding: NamedSharding) -> NamedSharding:
    """Where bytes lie on an explicit mesh: where their elements do, if they fit."""
    axis, mesh = _axis(shape), sharding.mesh
    spec = [*sharding.spec, *[None] * (len(shape) - len(sharding.spec))]
    if not shape:
        return NamedSharding(mesh, PartitionSpec(None))
    shards = math.prod(mesh.shape[name] for name in _sharding.names(spec[axis]))
    if shape[axis] % (GROUP * shards):
        spec[axis] = None
    return NamedSharding(mesh, PartitionSpec(*spec))


def _kept_of_halves(words, threshold):
    """Bit i is set where half i of four words, the lowest first, is below."""
    parts = [p for w in words for p in (w & np.uint32(0xFFFF), w >> np.uint32(16))]
    bits = [
        jnp.where(part < threshold, np.uint32(1 << index), np.uint32(0))
        for index, part in enumerate(parts)
    ]
    return functools.reduce(operator.or_, bits)


def _kept_of_bytes(words, threshold):
    """Bit i is set where byte i of two words, the lowest first, is below.

    Two bytes of a word are compared at once, those at bits 0 and 16: a byte is not
    below where 256 - threshold carries it into the bit above, 8 or 24.
    """
    carry = (np.uint32(256) - threshold) * np.uint32(0x00010001)

    def dropped(word, index):
        """Bits `index` and `index` + 16, of bytes 0 and 2 of a word."""
        carried = (word & np.uint32(0x00FF00FF)) + carry
        return carried >> np.uint32(8 - index) & np.uint32(0x00010001 << index)

    low, high = words
    bits = dropped(low, 0) | dropped(low >> np.uint32(8), 1)
    bits |= dropped(high, 4) | dropped(high >> np.uint32(8), 5)
    # bits 16, 17, 20 and 21 become 2, 3, 6 and 7
    return ~(bits | bits >> np.uint32(14))
