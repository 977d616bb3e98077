"""Noise with a density against jax.random with the same key."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from data import normal

import jaxnoise as jn
from jaxnoise._core import _random

SHAPE = (40, 30)


@pytest.fixture
def key():
    return jax.random.key(4)


@pytest.fixture
def x():
    return normal(8, *SHAPE)


def again(key):
    return jax.random.clone(key)


def ulps(actual, expected, size):
    """Largest difference, in units in the last place of `size`."""
    actual, expected = (np.asarray(v, np.float64) for v in (actual, expected))
    return (np.abs(actual - expected) / np.spacing(np.float32(size))).max()


@pytest.mark.parametrize("jit", [False, True])
def test_draws_are_those_of_jax_random(key, jit):
    """As jax.random: uniform to the bit, normal and Laplace to 3 and 2 ulps."""
    wrap = jax.jit if jit else lambda f: f
    float32 = np.dtype(np.float32)
    u = wrap(lambda k: _random.uniform(k, SHAPE, float32, -1))(key)
    expected = jax.random.uniform(again(key), SHAPE, minval=-1)
    np.testing.assert_array_equal(u, expected)
    n = wrap(lambda k: _random.normal(k, SHAPE, float32))(again(key))
    np.testing.assert_array_max_ulp(n, jax.random.normal(again(key), SHAPE), 3)
    la = wrap(lambda k: _random.laplace(k, SHAPE, float32))(again(key))
    np.testing.assert_array_max_ulp(la, jax.random.laplace(again(key), SHAPE), 2)


def test_float64_draws_are_those_of_jax_random(key):
    float64 = np.dtype(np.float64)
    with jax.enable_x64(True):
        n = _random.normal(key, SHAPE, float64)
        expected = jax.random.normal(again(key), SHAPE, float64)
        np.testing.assert_allclose(n, expected, rtol=1e-14, atol=1e-15)
        y = jn.gaussian_noise(again(key), jnp.ones(SHAPE, float64), 0.5)
        np.testing.assert_allclose(y, 1 + 0.5 * expected, rtol=1e-14)


def test_gaussian_noise(key, x):
    expected = x + 0.3 * jax.random.normal(again(key), SHAPE)
    assert ulps(jn.gaussian_noise(key, x, 0.3), expected, 4) <= 1


def test_gaussian_dropout(key, x):
    n = jax.random.normal(again(key), SHAPE)
    expected = x * (1 + np.float32(np.sqrt(0.3 / 0.7)) * n)
    assert ulps(jn.gaussian_dropout(key, x, 0.3), expected, 4) <= 2


def test_uniform_noise(key, x):
    expected = x + 0.3 * jax.random.uniform(again(key), SHAPE, minval=-1)
    assert ulps(jn.uniform_noise(key, x, 0.3), expected, 4) <= 1


def test_laplace_noise(key, x):
    expected = x + 0.3 * jax.random.laplace(again(key), SHAPE)
    assert ulps(jn.laplace_noise(key, x, 0.3), expected, 4) <= 1


def test_real_gaussian_dropout(key, x):
    """Untouched units are x to the bit, the others gaussian_noise with its own key."""
    key_mask, key_noise = jax.random.split(again(key))
    untouched = jn.dropout_mask(key_mask, SHAPE, 0.3)
    y = np.asarray(jn.real_gaussian_dropout(key, x, 0.3, 0.2))
    noisy = np.asarray(jn.gaussian_noise(key_noise, x, 0.2))
    np.testing.assert_array_equal(y[untouched], np.asarray(x)[untouched])
    assert ulps(y[~untouched], noisy[~untouched], 4) <= 1
    assert 0 < (~untouched).sum() < untouched.size


def test_real_gaussian_dropout_at_the_ends(key, x):
    y = jn.real_gaussian_dropout(key, x, 1, 0.2)
    noise_key = jax.random.split(again(key))[1]
    assert ulps(y, jn.gaussian_noise(noise_key, x, 0.2), 4) <= 1
    assert jn.real_gaussian_dropout(again(key), x, 0, 0.2) is x
    assert jn.real_gaussian_dropout(again(key), x, 0.2, 0) is x


def test_complex_noise_has_total_variance_one(key):
    """n = 2^18; the bound on the variance of each part is 4.892 sqrt(2 / n)."""
    x = jnp.zeros((2**18,), jnp.complex64)
    n = np.asarray(jn.gaussian_noise(key, x, 1.0), np.complex128)
    expected = jax.random.normal(again(key), x.shape, jnp.complex64)
    np.testing.assert_allclose(n, expected, atol=1e-6)
    for part in (n.real, n.imag):
        assert abs(part.var() - 0.5) <= 0.5 * 4.892 * np.sqrt(2 / n.size)


def test_complex_numbers_are_multiplied_by_a_real_factor(key):
    x = jnp.full((50,), 3 + 4j, jnp.complex64)
    factor = np.asarray(jn.gaussian_dropout(key, x, 0.5)) / np.asarray(x)
    assert np.abs(factor.imag).max() < 1e-6


def test_additive_noise_is_linear_in_its_amount(key, x):
    for noise in (jn.gaussian_noise, jn.uniform_noise, jn.laplace_noise):
        unit = noise(again(key), x, 1.0) - x
        np.testing.assert_allclose(
            noise(again(key), x, 2.0**-3) - x, unit / 8, atol=2e-6
        )


@pytest.mark.parametrize(
    ("noise", "quantile"),
    [
        ("gaussian_noise", "norm"),
        ("uniform_noise", "uniform"),
        ("laplace_noise", "laplace"),
    ],
)
def test_distribution(noise, quantile):
    """Kolmogorov-Smirnov on 2^16 draws, false alarms 1e-6; it sees 1% of distance."""
    from scipy import stats

    law = {
        "norm": stats.norm(),
        "uniform": stats.uniform(-1, 2),
        "laplace": stats.laplace(),
    }[quantile]
    y = getattr(jn, noise)(jax.random.key(12), jnp.zeros((2**16,)), 1.0)
    assert stats.kstest(np.asarray(y, np.float64), law.cdf).pvalue > 1e-6


def test_bfloat16_noise_has_more_than_the_128_values_of_a_bfloat16_draw(key):
    x = jnp.zeros((2**16,), jnp.bfloat16)
    y = jn.gaussian_noise(key, x, 1.0)
    assert len(np.unique(np.asarray(y, np.float32))) > 1000


def test_laplace_variables_of_float64_are_those_of_jax_random():
    with jax.enable_x64(True):
        x = jnp.zeros((64, 8), jnp.float64)
        y = jn.laplace_noise(jax.random.key(1), x, 1.0)
        expected = jax.random.laplace(jax.random.key(1), x.shape, jnp.float64)
        np.testing.assert_allclose(y, expected, rtol=1e-13)


@pytest.mark.parametrize("rate", [0.25, 0.5, 0.75])
def test_gaussian_dropout_has_its_formula_at_a_traced_rate(rate):
    x = jnp.ones((64, 8))
    y = jax.jit(jn.gaussian_dropout)(jax.random.key(2), x, np.float32(rate))
    n = jax.random.normal(jax.random.key(2), x.shape)
    expected = 1 + n * np.float32(np.sqrt(rate / (1 - rate)))
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
