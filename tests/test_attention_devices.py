"""Attention on meshes: over batch and heads, noise sends nothing that scores do not."""

import functools
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from meshes import KINDS, mesh_of

import jaxnoise as jn
from jaxnoise.testing._hlo import collectives

pytestmark = pytest.mark.mesh

# 2 examples and 8 heads on each device; more keys than queries, and no whole blocks
BATCH, QUERIES, KEYS, HEADS, DEPTH = 4, 6, 10, 16, 4
SPEC = PartitionSpec("data", None, "tensor", None)
OPTIONS = {
    f"{bits} bits, {'blocks' if size else 'whole'}": {"bits": bits, "block_size": size}
    for bits in (32, 8)
    for size in (None, 4)
}


def operands():
    shapes = [(BATCH, length, HEADS, DEPTH) for length in (QUERIES, KEYS, KEYS)]
    return [
        np.sin(np.arange(np.prod(s), dtype=np.float32) * (n + 1)).reshape(s)
        for n, s in enumerate(shapes)
    ]


def output_and_gradients(q, k, v, rate, **options):
    def f(q, k, v):
        return jn.dot_product_attention(jax.random.key(0), q, k, v, rate, **options)

    y, pull = jax.vjp(f, q, k, v)
    return y, *pull(jnp.cos(y))


def program(rate):
    """All ways to compute it, in one program."""

    @jax.jit
    def all_ways(q, k, v):
        return {
            name: output_and_gradients(q, k, v, rate, **options)
            for name, options in OPTIONS.items()
        }

    return all_ways


@functools.cache
def on_one_device():
    return program(0.5)(*operands())


@KINDS
def test_batch_and_heads_over_devices(kind):
    """The numbers of one device, and not one collective, forward and backward."""
    mesh = mesh_of(kind, (2, 2), ("data", "tensor"))
    with jax.set_mesh(mesh):
        placed = jax.device_put(operands(), NamedSharding(mesh, SPEC))
        compiled = program(0.5).lower(*placed).compile()
        found = compiled(*placed)
    assert not collectives(compiled.as_text())
    for name, arrays in on_one_device().items():
        for ours, expected, like in zip(
            found[name], arrays, (placed[0], *placed), strict=True
        ):
            np.testing.assert_allclose(ours, expected, atol=2e-6, err_msg=name)
            assert ours.sharding.is_equivalent_to(like.sharding, 4), name


def test_keys_over_devices_send_what_they_send_without_noise():
    """As a whole; the largest scores and the sums have to meet, the masks do not."""
    mesh = mesh_of(AxisType.Auto, (2, 2), ("data", "tensor"))
    spec = PartitionSpec("data", "tensor", None, None)
    sent = []
    with jax.set_mesh(mesh):
        placed = jax.device_put(operands(), NamedSharding(mesh, spec))
        for rate in (0.0, 0.5):
            ways = jax.jit(functools.partial(output_and_gradients, rate=rate))
            sent.append(Counter(collectives(ways.lower(*placed).compile().as_text())))
    assert sent[0] and not sent[1] - sent[0]
