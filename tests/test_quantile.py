"""Quantiles over every float32 draw that there is, against float64 and `jax.random`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from scipy import optimize, special

from jaxnoise._core import _quantile, _random

PARTS = 8  # of all draws, one after the other: as float64 they are large


def draws(low: np.float32):
    """All uniforms on [low, 1), as `jax.random.uniform` makes them, part by part."""
    for words in np.split(np.arange(2**23, dtype=np.float32), PARTS):
        # 23 random bits, shifted and scaled
        fractions = words / np.float32(2**23)
        yield np.maximum(low, fractions * (np.float32(1) - low) + low)


def ulps(values, exact) -> np.ndarray:
    spacing = np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64)
    return np.abs(np.asarray(values, np.float64) - exact) / spacing


def test_normal():
    quantile = jax.jit(_quantile.normal)
    theirs = jax.jit(lambda u: np.sqrt(2).astype(np.float32) * lax.erf_inv(u))
    same, errors = [], []
    for u in draws(np.nextafter(np.float32(-1), np.float32(0))):
        ours = np.asarray(quantile(u))
        distances = ulps(ours, np.asarray(theirs(u), np.float64))
        assert distances.max() <= 3
        same.append((distances == 0).mean())

        wide = u.astype(np.float64)
        far = np.sign(wide) * special.erfcinv(1 - np.abs(wide))
        exact = np.sqrt(2) * np.where(np.abs(wide) < 0.5, special.erfinv(wide), far)
        # far out both take 1 - u^2 from a rounded square
        np.testing.assert_allclose(ours, exact, rtol=6e-6)
        errors.append(ulps(ours, exact).mean())
    assert len(errors) == PARTS
    assert np.mean(same) > 0.96
    assert np.mean(errors) < 1


def test_laplace():
    quantile = jax.jit(_quantile.laplace)
    theirs = jax.jit(lambda u: jnp.sign(u) * jnp.log1p(-jnp.abs(u)))
    for u in draws(np.float32(-1 + jnp.finfo(np.float32).epsneg)):
        ours = np.asarray(quantile(u))
        wide = u.astype(np.float64)
        exact = np.sign(wide) * np.log1p(-np.abs(wide))
        assert ulps(ours, exact).max() < 1.2
        assert ulps(ours, np.asarray(theirs(u), np.float64)).max() <= 2


@pytest.mark.parametrize("quantile", [_quantile.normal, _quantile.laplace])
def test_a_draw_of_zero_and_the_symmetry(quantile):
    u = np.array([0.0, 0.25, 0.5, 0.99, 1 - 2.0**-24], np.float32)
    np.testing.assert_array_equal(quantile(-u), -np.asarray(quantile(u)))
    assert quantile(u)[0] == 0
    assert np.isfinite(quantile(u)).all()


def test_photons_step_where_the_expansion_is_an_integer():
    """To 1e-9 in n: the coefficients in other words than in the code."""
    mean, counts = 20.0, np.arange(5.0, 45)

    def expansion(n):
        second, third = (n**2 + 2) / 6, -(n**3 + 2 * n) / 72
        fourth = (3 * n**4 + 7 * n**2 - 16) / 810
        return mean + mean**0.5 * n + second + third / mean**0.5 + fourth / mean

    steps = [optimize.brentq(lambda n, k=k: expansion(n) - k, -6, 6) for k in counts]
    with jax.enable_x64(True):
        n = jnp.asarray(np.asarray(steps)[:, None] + np.asarray([-1e-9, 1e-9]))
        found = _quantile.poisson(jnp.zeros_like(n), n, jnp.full_like(n, mean))
    np.testing.assert_array_equal(found, counts[:, None] + [-1, 0])


@pytest.mark.parametrize(
    ("draw", "primitive"),
    [(_random.normal, "erf_inv"), (_random.laplace, "log_plus_one")],
)
def test_quantiles_of_float32_are_polynomials(draw, primitive):
    """The functions of XLA would give the same to rounding, and take twice as long."""

    def program(dtype):
        call = jax.jit(lambda key: draw(key, (4,), np.dtype(dtype)))
        return call.lower(jax.random.key(0)).as_text()

    with jax.enable_x64(True):
        assert primitive not in program(np.float32)
        assert primitive in program(np.float64)
