"""The gradient of one layer of attention by its length: what its dropout costs.

One sequence in bfloat16, 16 heads x 64. Over 16384 keys there is attention by blocks
alone: without blocks the program, with dropout or without, does not fit into the
memory of a TPU v5e.
"""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from benchmarks import _attention
from benchmarks.compiled._tables import Program, Table, key_of

LENGTHS = (1024, 2048, 4096, 8192)
LONGEST = 16384
HEADS, DEPTH = 16, 64
DTYPE = jnp.bfloat16


def tables() -> Iterator[Table]:
    whole = {"none": _attention.jax_without} | _attention.WHOLE
    for length in (*LENGTHS, LONGEST):
        rows = _attention.BLOCKED if length == LONGEST else whole | _attention.BLOCKED
        programs = {name: partial(_step, f, length) for name, f in rows.items()}
        peer = "flax.linen" if length < LONGEST else next(iter(programs))
        weights = HEADS * length**2
        yield Table(f"attention over {length} keys", programs, peer, weights)


def _step(attend: _attention.Attention, length: int) -> Program:
    """The gradient for queries, keys and values; on 2 x 2 chips a part of the heads."""
    x = jax.ShapeDtypeStruct((1, length, HEADS, DEPTH), DTYPE)

    def loss(arrays, key):
        return jnp.square(attend(key, *arrays).astype(jnp.float32)).mean()

    heads = PartitionSpec(None, None, ("data", "tensor"))
    specs = ((heads,) * 3, PartitionSpec())
    blocks = -(-length // _attention.BLOCK)
    return Program(jax.grad(loss), ((x,) * 3, key_of()), specs, blocks)
