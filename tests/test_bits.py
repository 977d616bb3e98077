"""Dropout with 8 and 16 bits a decision: the masks, the grid and its errors."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from data import normal
from flax import linen as nn
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxnoise as jn
import jaxnoise.linen as jnn
import jaxnoise.nnx as jnx
from jaxnoise import recurrent, tree, weights
from jaxnoise._core import _random
from jaxnoise.testing._hlo import COLLECTIVES

SHAPES = [(), (5,), (16, 3), (2, 37, 3), (0, 4), (4, 0), (1, 2), (2, 9, 2, 5)]


SEED = 3


@functools.cache
def words_of_64_bits():
    """One draw for all shapes: JAX draws a word from its place in the flat array."""
    with jax.enable_x64(True):
        return np.asarray(jax.random.bits(jax.random.key(SEED), (256,), np.uint64))


def parts(shape, bits):
    """The oracle: the parts of 64-bit draws for 8 neighbours, the lowest first."""
    axis, whole = max(len(shape) - 3, 0), shape or (1,)
    groups = (*whole[:axis], -(-whole[axis] // 8), *whole[axis + 1 :])
    drawn = (*groups, bits // 8)
    words = words_of_64_bits()[: math.prod(drawn)].reshape(drawn)
    shifts = np.arange(0, 64, bits, dtype=np.uint64)
    split = (words[..., None] >> shifts) & np.uint64(2**bits - 1)
    rows = np.moveaxis(split.reshape(*groups, 8), -1, axis + 1)
    rows = rows.reshape(*whole[:axis], 8 * groups[axis], *whole[axis + 1 :])
    return np.take(rows, range(whole[axis]), axis).reshape(shape)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_masks_are_those_of_the_64_bits_of_a_block(shape, bits):
    kept = parts(shape, bits) < 0.75 * 2**bits

    @jax.jit
    def drawn(key, x):
        mask = jn.dropout_mask(jax.random.clone(key), shape, 0.25, bits=bits)
        return mask, jn.dropout(key, x, 0.25, bits=bits)

    mask, y = drawn(jax.random.key(SEED), np.ones(shape, np.float32))
    np.testing.assert_array_equal(mask, kept)
    np.testing.assert_array_equal(y, np.where(kept, np.float32(1 / 0.75), 0))


def test_dims_that_share_a_coin_have_no_random_bits():
    """The groups are of what is left: here of the batch, not of the one time step."""
    kept = parts((19, 5), 8) < 0.75 * 2**8
    shape, options = (19, 7, 5), {"broadcast_dims": (1,), "bits": 8}
    mask = jn.dropout_mask(jax.random.key(SEED), shape, 0.25, **options)
    np.testing.assert_array_equal(mask, kept[:, None])


@pytest.mark.parametrize(("bits", "steps"), [(8, 26), (16, 6554)])
def test_the_scale_is_that_of_the_realised_rate(bits, steps):
    """0.1 is not on the grid; the mean is exact all the same."""
    keep = 1 - steps / 2**bits
    x = jnp.ones((64, 64))
    y = jn.dropout(jax.random.key(0), x, 0.1, bits=bits)
    assert set(np.unique(y)) == {0, np.float32(1) / np.float32(keep)}
    mask = jn.dropout_mask(jax.random.key(0), x.shape, 0.1, bits=bits)
    np.testing.assert_array_equal(jn.apply_mask(x, mask, 0.1, bits=bits), y)
    traced = jax.jit(lambda k, x, r: jn.dropout(k, x, r, bits=bits))
    np.testing.assert_array_equal(traced(jax.random.key(0), x, 0.1), y)


def test_a_traced_rate_keeps_a_chance():
    dropped = jax.jit(
        lambda r: jn.dropout(jax.random.key(0), jnp.ones(2048), r, bits=8)
    )
    assert set(np.unique(dropped(0.9999))) == {0, 256}  # one step of the grid
    assert set(np.unique(dropped(1e-6))) == {1}
    assert set(np.unique(dropped(1.0))) == {0}


@pytest.mark.parametrize(
    ("bits", "rate"), [(8, 0.001), (8, 0.003), (8, 0.999), (16, 1e-6), (16, 1 - 1e-6)]
)
def test_a_rate_off_the_grid(bits, rate):
    instead = "16 or 32" if bits == 8 else "32"
    message = rf"dropout: rate must be near .* got {rate}, .* Use bits={instead}\."
    with pytest.raises(ValueError, match=message):
        jn.dropout(jax.random.key(0), jnp.ones(4), rate, bits=bits)
    with pytest.raises(ValueError, match="dropout_mask: rate must be near"):
        jn.dropout_mask(jax.random.key(0), (4,), rate, bits=bits)
    with pytest.raises(ValueError, match="alpha_dropout: rate must be near"):
        jn.alpha_dropout(jax.random.key(0), jnp.ones(4), rate, bits=bits)


@pytest.mark.parametrize("bits", [0, 1, 24, 64])
def test_other_bits(bits):
    with pytest.raises(ValueError, match=rf"bits must be 8, 16 or 32, got {bits}\."):
        jn.dropout(jax.random.key(0), jnp.ones(4), 0.5, bits=bits)


def test_keys_of_another_implementation():
    key = jax.random.key(0, impl="rbg")
    y = jn.dropout(key, jnp.ones((64, 64)), 0.5, bits=8)
    # 4096 fair coins: 6 sigma are .047, false alarm 2e-9
    assert abs(float(y.mean()) - 1) < 0.1
    assert set(np.unique(y)) == {0, 2}


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("rows", [64, 24, 8])
@pytest.mark.parametrize("kind", [AxisType.Explicit, AxisType.Auto], ids=str)
def test_shards_of_whole_and_of_broken_groups(kind, rows, bits):
    """Rows over 8 devices: the same bits and no collective, aligned or not."""
    x = normal(1, rows, 4)

    def draw(x):
        return jn.dropout(jax.random.key(0), x, 0.5, bits=bits)

    mesh = jax.make_mesh((8,), ("d",), axis_types=(kind,))
    with jax.set_mesh(mesh):
        sharding = NamedSharding(mesh, PartitionSpec("d"))
        sharded = jax.device_put(x, sharding)
        compiled = jax.jit(draw).lower(sharded).compile()
        y = compiled(sharded)
    assert not [name for name in COLLECTIVES if name in compiled.as_text()]
    assert y.sharding.is_equivalent_to(sharding, 2)
    np.testing.assert_array_equal(y, draw(x))


X, IDS = jnp.full((16, 9, 7), 3.0), jnp.ones((16, 9, 7), int)
# what the coins of a function drop, in the shape of the coins
DROPPED = {
    "spatial_dropout": lambda k, o: jn.spatial_dropout(k, X, 0.25, **o)[:, 0] == 0,
    "drop_path": lambda k, o: jn.drop_path(k, X, 0.25, **o)[:, 0, 0] == 0,
    "alpha_dropout": lambda k, o: jn.alpha_dropout(k, X, 0.25, **o) < 0,
    "feature_alpha_dropout": lambda k, o: (
        jn.feature_alpha_dropout(k, X, 0.25, **o)[:, 0] < 0
    ),
    "embedding_dropout": lambda k, o: (
        jn.embedding_dropout(k, X[0], 0.25, **o)[:, 0] == 0
    ),
    "token_dropout": lambda k, o: jn.token_dropout(k, IDS, 0.25, 0, **o) == 0,
    "weights.dropconnect_dense": lambda k, o: (
        weights.dropconnect_dense(k, jnp.eye(9), X[0], 0.25, **o) == 0
    ),
}
# the same of those that derive the keys of their coins from the key
DERIVED = {
    "real_gaussian_dropout": lambda k, o: (
        jn.real_gaussian_dropout(k, X, 0.25, 1.0, **o) != 3
    ),
    "tree.dropconnect": lambda k, o: tree.dropconnect(k, [X], 0.25, **o)[0] == 0,
    "tree.mask": lambda k, o: ~tree.mask(k, [X], 0.25, **o)[0],
    "recurrent.sample_noise": lambda k, o: (
        recurrent.sample_noise(
            k, (900, 3), 5, gates=4, recurrent_rate=0.25, **o
        ).recurrent
        == 0
    ),
    "DropoutWrapper": lambda k, o: (
        jnn.DropoutWrapper(nn.GRUCell(5), input_rate=0.25, **o)
        .sample_noise(k, (900, 5))
        .input
        == 0
    ),
}


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("name", DROPPED)
def test_coins_of_the_others(name, bits):
    draw = jax.jit(lambda key: DROPPED[name](key, {"bits": bits}))
    dropped = np.asarray(draw(jax.random.key(SEED)))
    expected = parts(dropped.shape, bits) >= 0.75 * 2**bits
    np.testing.assert_array_equal(dropped, expected)


@pytest.mark.parametrize("name", DERIVED)
def test_coins_of_derived_keys(name):
    """Other coins than those of 32 bits, a quarter of them dropped.

    n is at least 1,008, so 4.892 standard deviations are below .067.
    """

    @jax.jit
    def few_and_many(key):
        return [
            DERIVED[name](jax.random.clone(key), {"bits": bits}) for bits in (8, 32)
        ]

    few, many = map(np.asarray, few_and_many(jax.random.key(SEED)))
    assert (few != many).any() and abs(few.mean() - 0.25) < 0.067


def test_masks_of_a_tree_are_applied_with_their_scale():
    masks = tree.mask(jax.random.key(SEED), [X], 0.1, bits=8)
    (y,) = tree.apply_mask([X], masks, 0.1, bits=8)
    (same,) = tree.dropconnect(jax.random.key(SEED), [X], 0.1, bits=8)
    np.testing.assert_array_equal(y, same)
    assert np.unique(y).tolist() == [0, np.float32(3) * np.float32(256 / 230)]


def test_the_others_say_what_is_off_the_grid():
    x = jnp.ones((2, 4, 3))
    for call in (
        lambda: jn.drop_path(jax.random.key(0), x, 0.001, bits=8),
        lambda: tree.dropconnect(jax.random.key(0), [x], 0.001, bits=8),
        lambda: recurrent.sample_noise(
            jax.random.key(0), (2, 3), 4, gates=4, input_rate=0.001, bits=8
        ),
    ):
        with pytest.raises(ValueError, match="rate must be near a multiple of 2"):
            call()


def test_layers():
    x, key = jnp.ones((4, 16)), jax.random.key(5)
    expected = jn.dropout(jax.random.clone(key), x, 0.5, bits=8)
    layer: nn.Module = jnn.Dropout(0.5, deterministic=False, bits=8)
    np.testing.assert_array_equal(layer.apply({}, x, rng=key), expected)
    same = jnx.Dropout(0.5, bits=8, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(same(x, rngs=jax.random.clone(key)), expected)


@pytest.mark.parametrize(
    ("shape", "unrolled"), [((65537, 65535), True), ((65536, 65536), False)]
)
def test_counters_of_one_word_are_for_fewer_than_2_to_the_32_elements(shape, unrolled):
    """More are left to JAX, whose rounds are no part of the program before lowering."""
    program = jax.make_jaxpr(lambda key: _random.random_bits(key, shape))
    assert ("shift_left" in str(program(jax.random.key(0)))) is unrolled


@pytest.mark.parametrize("rate", [0.25, 0.3])
def test_alpha_dropout_of_few_bits_is_that_of_the_realised_rate(rate):
    """A constant has two values: where it is kept, and where not."""
    key, realised = jax.random.key(SEED), round(256 * rate) / 256
    x = jnp.ones((64, 8))
    y = np.unique(jn.alpha_dropout(key, x, rate, bits=8))
    expected = np.unique(jn.alpha_dropout(jax.random.clone(key), x, realised))
    assert len(y) == 2
    np.testing.assert_allclose(y, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "fits"), [((8 * 65535, 65537), True), ((8 * 65536, 65536), False)]
)
def test_blocks_of_few_bits_are_fewer_than_2_to_the_32(shape, fits):
    def draw(key):
        return jn.dropout_mask(key, shape, 0.5, bits=8)

    if fits:
        assert jax.eval_shape(draw, jax.random.key(0)).shape == shape
    else:
        with pytest.raises(ValueError, match=r"bits must be 32 .*\(524288, 65536\)"):
            jax.eval_shape(draw, jax.random.key(0))
