"""Channels, samples and blocks: what is shared, and the exact laws of drop_block."""

import inspect
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from data import bernoulli, normal

import jaxnoise as jn
import jaxnoise.linen as jnn
import jaxnoise.nnx as jnx
from jaxnoise import _structured


@pytest.fixture
def key():
    return jax.random.key(2)


def again(key):
    return jax.random.clone(key)


@pytest.mark.parametrize("spatial", [(5,), (5, 4), (5, 4, 3)])
@pytest.mark.parametrize("channel_axis", [-1, 1])
def test_spatial_dropout_is_dropout_with_broadcast_dims(key, spatial, channel_axis):
    first = channel_axis == 1
    shape = (6, 8, *spatial) if first else (6, *spatial, 8)
    x = normal(1, *shape)
    dims = range(2, x.ndim) if first else range(1, x.ndim - 1)

    @jax.jit
    def both(key, x):
        y = jn.spatial_dropout(key, x, 0.5, channel_axis=channel_axis)
        return y, jn.dropout(again(key), x, 0.5, broadcast_dims=tuple(dims))

    np.testing.assert_array_equal(*both(key, x))


def test_spatial_dropout_without_and_with_more_batch_dims(key):
    x = jnp.ones((7, 8))
    y = jn.spatial_dropout(key, x, 0.5, batch_dims=0)
    assert (y == y[:1]).all() and len(np.unique(y)) == 2
    x = jnp.ones((3, 4, 5, 6))
    y = jn.spatial_dropout(again(key), x, 0.5, batch_dims=2)
    assert (y == y[:, :, :1]).all() and not (y == y[:, :1]).all()


@pytest.mark.parametrize("batch_dims", [0, 1, 2, 3])
def test_drop_path_has_one_coin_for_each_sample(key, batch_dims):
    x = jnp.ones((8, 4, 3))
    y = jn.drop_path(key, x, 0.5, batch_dims=batch_dims)
    coins = np.asarray(y).reshape(*x.shape[:batch_dims], -1)
    assert (coins == coins[..., :1]).all()
    mask = bernoulli(key, 0.5, coins.shape[:-1] + (1,) * (3 - batch_dims))
    np.testing.assert_array_equal(y, np.broadcast_to(np.where(mask, 2.0, 0), x.shape))


def blocks(key, shape, size, gamma, share_channels=False):
    """A NumPy drop_block mask of (batch, *spatial, channels), position by position."""
    batch, *spatial, channels = shape
    seeded = 1 if share_channels else channels
    grid = (batch, *(n - size + 1 for n in spatial), seeded)
    keep = np.float32(1.0 - gamma)
    seeds = ~bernoulli(key, keep, grid)
    mask = np.ones(shape, bool)
    for index in zip(*np.nonzero(seeds), strict=True):
        block = tuple(slice(i, i + size) for i in index[1:-1])
        of_channel = slice(None) if share_channels else index[-1]
        mask[(index[0], *block, of_channel)] = False
    return mask


@pytest.mark.parametrize("share", [False, True], ids=["channels apart", "shared"])
@pytest.mark.parametrize(
    ("spatial", "size"), [((9,), 4), ((7, 5), 3), ((6, 5, 4), 2), ((4, 4), 1)]
)
def test_drop_block_against_loops_in_numpy(key, spatial, size, share):
    shape = (5, *spatial, 3)
    x = normal(1, *shape)
    ratio = np.prod([n / (size * (n - size + 1)) for n in spatial])
    mask = blocks(key, shape, size, 0.3 * float(ratio), share)
    examples = tuple(range(1, len(shape)))
    scale = mask[0].size / mask.sum(examples, keepdims=True)
    expected = np.where(mask, np.asarray(x, np.float64) * scale, 0)
    y = jn.drop_block(key, x, 0.3, size, share_channels=share)
    np.testing.assert_allclose(y, expected, rtol=1e-6)
    assert 0 < mask.mean() < 1


@pytest.mark.parametrize(
    ("shape", "size", "dims"),
    [
        ((2, 9, 3), 4, (1,)),
        ((2, 3, 8, 7), 5, (2, 3)),
        ((2, 5, 3, 4, 6), 2, (1, 3, 4)),
        ((0, 4, 4, 2), 2, (1, 2)),
    ],
)
def test_drop_block_spreads_seeds_as_one_window_over_all_dims(shape, size, dims):
    seeds = np.random.default_rng(0).random(shape) < 0.05
    window = [size if dim in dims else 1 for dim in range(len(shape))]
    padding, ones = [(n - 1, n - 1) for n in window], (1,) * len(shape)
    expected = jax.lax.reduce_window(
        seeds, False, jax.lax.bitwise_or, window, ones, padding
    )
    np.testing.assert_array_equal(_structured._spread(seeds, size, dims), expected)
    assert expected.any() or not expected.size


def test_drop_block_channels_first_is_channels_last_transposed(key):
    x = jnp.ones((2, 3, 6, 5))
    y = jn.drop_block(key, x, 0.5, 2, channel_axis=1)
    assert set(np.round(np.unique(np.asarray(y).mean((1, 2, 3))), 5)) == {1.0}
    dropped = np.asarray(y) == 0
    # every dropped position belongs to a dropped 2 x 2 square of its channel
    for n, c, i, j in zip(*np.nonzero(dropped), strict=True):
        squares = itertools.product((i - 1, i), (j - 1, j))
        assert any(
            0 <= a <= 4 and 0 <= b <= 3 and dropped[n, c, a : a + 2, b : b + 2].all()
            for a, b in squares
        )


def test_drop_block_shares_channels_wherever_they_are(key):
    """One draw for all channels of an example, and another for the next example."""
    x = jnp.ones((2, 3, 4, 6, 5))
    y = jn.drop_block(key, x, 0.5, 2, batch_dims=2, share_channels=True)
    np.testing.assert_array_equal(y, np.broadcast_to(y[..., :1], y.shape))
    assert len(np.unique(np.asarray(y).reshape(6, -1) == 0, axis=0)) == 6
    one = jn.drop_block(again(key), x[..., :1], 0.5, 2, batch_dims=2)
    np.testing.assert_allclose(y[..., :1], one, rtol=1e-6)
    first, shared = jnp.moveaxis(x, -1, 2), {"batch_dims": 2, "share_channels": True}
    for channels, layer in ((first, {"channel_axis": 2}), (x, {})):
        options = shared | layer
        linen = jnn.DropBlock(0.5, 2, **options, deterministic=False)
        of_linen = linen.apply({}, channels, rng=again(key))
        of_nnx = jnx.DropBlock(0.5, 2, **options)(channels, rngs=again(key))
        expected = jnp.moveaxis(y, -1, 2) if layer else y
        np.testing.assert_array_equal(of_linen, expected)
        np.testing.assert_array_equal(of_nnx, expected)


@pytest.mark.parametrize("share", [False, True], ids=["channels apart", "shared"])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_drop_block_keeps_the_mean_of_each_constant_example(key, rate, share):
    x = jnp.ones((64, 14, 14, 8))
    y = jn.drop_block(key, x, rate, 7, share_channels=share)
    means = np.asarray(y).mean((1, 2, 3))
    np.testing.assert_allclose(means[means > 0], 1, rtol=1e-5)
    assert (means > 0).sum() > 32


@pytest.mark.parametrize(
    ("side", "size", "rate", "fraction"),
    [
        (14, 7, 0.1, 0.093),
        (14, 7, 0.3, 0.243),
        (28, 7, 0.1, 0.094),
        (28, 7, 0.3, 0.250),
        (7, 3, 0.1, 0.095),
        (7, 3, 0.3, 0.256),
    ],
)
def test_drop_block_drops_the_fraction_of_contained_blocks(side, size, rate, fraction):
    """1 - E[M] = mean of 1 - (1 - gamma)^(blocks over a position), then in draws."""
    cover = np.convolve(np.ones(side - size + 1), np.ones(size))
    gamma = rate * side**2 / (size**2 * (side - size + 1) ** 2)
    exact = 1 - ((1 - gamma) ** np.outer(cover, cover)).mean()
    assert round(exact, 3) == fraction
    maps = 20000
    x = jnp.ones((maps // 4, side, side, 4))
    y = np.asarray(jn.drop_block(jax.random.key(3), x, rate, size))
    means = (y == 0).mean((1, 2)).ravel()
    # maps are independent: false alarms 1e-6 by their own standard error
    assert abs(means.mean() - exact) <= 4.892 * means.std() / np.sqrt(maps)


def test_drop_block_first_rows_do_not_depend_on_the_batch(key):
    x = normal(1, 4, 6, 6, 2)
    whole = jn.drop_block(key, x, 0.3, 3)
    half = jn.drop_block(again(key), x[:2], 0.3, 3)
    np.testing.assert_allclose(whole[:2], half, rtol=1e-6)


def test_drop_block_is_zero_where_all_of_an_example_dropped(key):
    x = jnp.ones((50, 3, 1))
    y = np.asarray(jn.drop_block(key, x, 0.9, 3))
    assert set(np.unique(y)) == {0.0, 1.0}
    gradient = jax.grad(lambda x: jn.drop_block(again(key), x, 0.9, 3).sum())(x)
    np.testing.assert_array_equal(gradient, y)


# --- one example at a time ---------------------------------------------------------

PER_EXAMPLE = ["drop_block", "drop_path", "feature_alpha_dropout", "spatial_dropout"]


def test_functions_that_have_batch_dims_are_those_below():
    """Each of them, as a function and as a layer, says what `jax.vmap` needs."""
    has = [f for f in (getattr(jn, name) for name in jn.__all__) if has_dims(f)]
    assert sorted(f.__name__ for f in has) == PER_EXAMPLE
    for api in (jnn, jnx):
        layers = [getattr(api, name) for name in api.__all__]
        has += [one for one in layers if getattr(one, "function", None) in has]
    assert len(has) == 12
    for one in has:
        text = " ".join((inspect.getdoc(one) or "").split())
        assert "`jax.vmap`" in text and "`batch_dims=0`" in text, one


def has_dims(function):
    return "batch_dims" in inspect.signature(function).parameters


@pytest.mark.parametrize("name", PER_EXAMPLE)
def test_under_vmap_over_examples(key, name):
    """batch_dims=0 and a key for each example drop what a batch would."""
    sizes = (2,) if name == "drop_block" else ()
    x, keys = jnp.ones((64, 4, 4, 3)), jax.random.split(key, 64)

    def one_example(key, x):
        return getattr(jn, name)(key, x, 0.5, *sizes, batch_dims=0)

    y = np.asarray(jax.vmap(one_example)(keys, x))
    if name == "drop_block":
        # an example keeps its mean, and has blocks of its own
        kept = y.reshape(64, -1).any(1)
        np.testing.assert_allclose(y[kept].mean((1, 2, 3)), 1, rtol=1e-5)
        assert len(np.unique(y.reshape(64, -1) == 0, axis=0)) > 32
        return
    units = y[:, :1, :1, :1] if name == "drop_path" else y[:, :1, :1]
    assert (y == units).all()
    # 6 standard deviations of so many fair coins
    coins = units == units.min()
    assert abs(coins.mean() - 0.5) < 3 / coins.size**0.5


def test_channels_first_of_one_example(key):
    with pytest.raises(ValueError, match=r"channel_axis=1, and for .* batch_dims=0"):
        jn.spatial_dropout(key, jnp.ones((3, 4, 5)), 0.5, channel_axis=0)
