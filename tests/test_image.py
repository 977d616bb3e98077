"""Noise of images, against formulas of jax.random and quantiles of SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from data import normal
from scipy import stats

import jaxnoise as jn
from jaxnoise._core import _quantile, _random

SHAPE = (40, 30)


@pytest.fixture
def key():
    return jax.random.key(4)


@pytest.fixture
def x():
    return normal(8, *SHAPE)


def again(key):
    return jax.random.clone(key)


@pytest.mark.parametrize(
    ("rate", "salt"), [(0.1, 0.25), (0.5, 0.0), (0.5, 1.0), (1.0, 0.25), (1.0, 1.0)]
)
def test_salt_and_pepper(key, x, rate, salt):
    """To the bit: the mask of dropout, and the share of salt among the other words."""
    kept = np.asarray(jn.dropout_mask(again(key), SHAPE, rate))
    words = np.asarray(jax.random.bits(again(key), SHAPE)).astype(np.uint64)
    first = np.ceil(np.float32(1 - rate) * np.float32(2**23)) * 2**9
    salty = words >= first + np.rint((1 - salt) * (2**32 - first))
    y = jn.salt_and_pepper(
        again(key), x, rate, low=-3, high=np.float32(2), salt_vs_pepper=salt
    )
    expected = np.where(kept, x, np.where(salty, 2.0, -3.0))
    np.testing.assert_array_equal(y, expected)

    @jax.jit
    def traced(rate, salt):
        return jn.salt_and_pepper(
            again(key), x, rate, low=-3, high=2.0, salt_vs_pepper=salt
        )

    np.testing.assert_array_equal(traced(rate, salt), expected)
    assert (y != x).all() == (rate == 1)


def test_share_of_salt(key):
    """n = 2^17 replaced, false alarms 1e-6: it sees a share that is 1.3 % away."""
    y = jn.salt_and_pepper(key, jnp.full(2**18, 0.5), 0.5, salt_vs_pepper=0.3)
    salt, pepper = int((y == 1).sum()), int((y == 0).sum())
    assert stats.binomtest(salt + pepper, y.size, 0.5).pvalue > 1e-6
    assert stats.binomtest(salt, salt + pepper, 0.3).pvalue > 1e-6


def test_pixels_are_replaced_whole(key):
    x = jnp.full((16, 16, 3), 0.5)
    y = np.asarray(jn.salt_and_pepper(key, x, 0.5, broadcast_dims=(-1,)))
    assert (y == y[..., :1]).all() and set(np.unique(y)) == {0, 0.5, 1}


def test_salt_and_pepper_gradients(key, x):
    """Replaced values pass nothing on, whatever was there; kept ones pass all."""
    kept = jn.dropout_mask(again(key), SHAPE, 0.5)
    poisoned = jnp.where(kept, x, jnp.nan)

    def call(x, low):
        return jn.salt_and_pepper(again(key), x, 0.5, low=low, salt_vs_pepper=0)

    y, pull = jax.vjp(call, poisoned, 0.25)
    np.testing.assert_array_equal(y, np.where(kept, x, 0.25))
    by_x, by_low = pull(jnp.ones(SHAPE))
    np.testing.assert_array_equal(by_x, kept)
    assert by_low == (~kept).sum()


def test_salt_and_pepper_errors(key, x):
    with pytest.raises(ValueError, match=r"salt_vs_pepper must be in \[0, 1\], got 2"):
        jn.salt_and_pepper(key, x, 0.5, salt_vs_pepper=2)
    with pytest.raises(ValueError, match="low must be finite, got nan"):
        jn.salt_and_pepper(key, x, 0.5, low=float("nan"))
    with pytest.raises(TypeError, match="high must be a real number, got 'white'"):
        jn.salt_and_pepper(key, x, 0.5, high="white")


def uniform(key, shape):
    low = np.nextafter(np.float32(-1), np.float32(0))
    u = jax.random.uniform(key, shape, minval=low)
    return (1 + np.asarray(u, np.float64)) / 2


def test_photons_are_quantiles_but_near_the_steps(key):
    """Few photons to rounding, many to the error of the expansion."""
    means = [0.0, 1e-6, 0.3, 1.0, 4.0, 9.9, 10.0, 30.0, 1e3]
    off = [2e-5] * 6 + [1.5e-3, 3e-4, 3e-4]
    shape, means = (9, 2**16), np.asarray(means, np.float32)[:, None]
    mean = jnp.broadcast_to(means, shape)
    counts = np.asarray(jax.jit(_random.poisson)(again(key), mean))
    u = uniform(again(key), shape)
    expected = np.maximum(stats.poisson.ppf(u, means.astype(np.float64)), 0)
    assert abs(counts - expected).max() <= 1
    assert ((counts != expected).mean(1) <= off).all()


def test_every_step_of_the_expansion():
    """Its distribution function is that of the docstring: off by 5e-5 at most."""
    n = jnp.linspace(-5.4, 5.4, 10**6)
    quantile = jax.jit(_quantile.poisson)
    below = stats.norm.cdf(np.asarray(n, np.float64))
    for mean, off in ((10.0, 5e-5), (12.0, 3.2e-5), (50.0, 5e-6)):
        counts = quantile(jnp.zeros_like(n), n, jnp.full_like(n, mean))
        steps = np.searchsorted(np.asarray(counts), np.arange(1, int(counts[-1])))
        exact = stats.poisson.cdf(np.arange(len(steps)), mean)
        assert np.abs(below[steps] - exact).max() <= off


@pytest.mark.parametrize("mean", [1e6, 1e9, 1e12])
def test_means_at_which_other_samplers_fail(key, mean):
    """n = 2^18, false alarms 1e-6: it sees 1.9e-2 sd of mean, 2.7 % of variance."""
    x = jnp.full((2**18,), mean)
    y = np.asarray(jn.poisson_noise(key, x, 1.0), np.float64)
    z, deviation = 4.892 / np.sqrt(y.size), np.sqrt(mean)
    assert abs(y.mean() - float(x[0])) <= z * deviation
    assert abs(y.var() / mean - 1) <= z * np.sqrt(2)


def test_poisson_noise_out_of_its_range(key):
    x = jnp.asarray([-1.0, -1e-20, -0.0, 0.0, jnp.nan, jnp.inf])
    for scale in (0.5, 1e-38):
        y = np.asarray(jn.poisson_noise(again(key), x, scale))
        np.testing.assert_array_equal(y, [np.nan, np.nan, 0, 0, np.nan, np.inf])
    tiny = jax.jit(lambda scale: jn.poisson_noise(key, jnp.full(9, 1e3), scale))
    np.testing.assert_array_equal(tiny(1e-38), jnp.full(9, 1e3))


def test_poisson_noise_gradients_are_those_of_the_mean(key):
    x = jnp.asarray([0.0, 0.5, 3.0, 100.0])

    def call(x, scale):
        return jn.poisson_noise(again(key), x, scale)

    for scale in (0.0, 0.25):
        cotangent = jnp.asarray([1.0, 2.0, 3.0, 4.0])
        by_x, by_scale = jax.vjp(jax.jit(call), x, scale)[1](cotangent)
        np.testing.assert_array_equal(by_x, cotangent)
        assert by_scale == 0
        _, forward = jax.jvp(call, (x, scale), (cotangent, 1.0))
        np.testing.assert_array_equal(forward, cotangent)


def test_photons_of_a_pixel_do_not_depend_on_the_others(key):
    x = jnp.abs(normal(1, 8, 5)) * 4
    y = jn.poisson_noise(again(key), x, 0.25)
    assert (y % 0.25 == 0).all()
    half = jn.poisson_noise(again(key), x[:4], 0.25)
    np.testing.assert_array_equal(y[:4], half)
    brighter = jn.poisson_noise(again(key), x * 2, 0.25)
    assert (brighter >= y).all()


def test_poisson_noise_in_float64(key):
    with jax.enable_x64(True):
        x = jnp.full((2**12,), 7.5, jnp.float64)
        y = jn.poisson_noise(again(key), x, 1.5)
        u = jax.random.uniform(
            again(key), x.shape, jnp.float64, np.nextafter(np.float64(-1), 0)
        )
    assert y.dtype == np.float64
    expected = 1.5 * stats.poisson.ppf((1 + np.asarray(u)) / 2, 5)
    np.testing.assert_array_equal(y, expected)


def test_speckle_noise(key, x):
    n = jax.random.normal(again(key), SHAPE)
    y = jn.speckle_noise(key, x, 0.3)
    np.testing.assert_allclose(y, x * (1 + 0.3 * n), rtol=1e-5, atol=1e-6)
    # the noise of gaussian_dropout, by its standard deviation
    y = jn.speckle_noise(again(key), x, np.float32(np.sqrt(0.3 / 0.7)))
    np.testing.assert_array_equal(y, jn.gaussian_dropout(again(key), x, 0.3))


def test_speckle_noise_gradient_by_stddev(key, x):
    gradient = jax.grad(lambda s: jn.speckle_noise(again(key), x, s).sum())(0.3)
    expected = (x * jax.random.normal(again(key), SHAPE)).sum()
    np.testing.assert_allclose(gradient, expected, rtol=1e-4)


def test_the_smallest_uniform_number_is_a_small_count():
    """Key 2468 draws a 0 among 1024, 1 in 2^23: there the quantile must be finite."""
    key = jax.random.key(2468)
    assert jax.random.uniform(jax.random.clone(key), (1024,)).min() == 0
    counts = jn.poisson_noise(key, jnp.full(1024, 100.0), 1.0)
    assert counts.min() == 51 and counts.max() < 150
