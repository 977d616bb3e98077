"""What mutation testing found to be seen by no other test of the core."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnoise as jn
from jaxnoise import _random

X = jnp.ones((64, 8))


@pytest.mark.parametrize("sign", [1, -1])
def test_an_integer_beyond_the_floats_is_an_infinity_of_its_sign(sign):
    with pytest.raises(ValueError, match=f"got {sign * float('inf')}"):
        jn.gaussian_noise(jax.random.key(0), X, sign * 10**400)


def test_normals_of_float32_are_the_polynomial():
    """XLA's erf_inv would give the same to rounding, and take twice as long."""

    def program(dtype):
        def draw(key):
            return _random.normal(key, (4,), np.dtype(dtype))

        return str(jax.make_jaxpr(draw)(jax.random.key(0)))

    with jax.enable_x64(True):
        assert "erf_inv" not in program(np.float32)
        assert "erf_inv" in program(np.float64)


def test_laplace_variables_of_float64_are_those_of_jax_random():
    with jax.enable_x64(True):
        x = jnp.zeros((64, 8), jnp.float64)
        y = jn.laplace_noise(jax.random.key(1), x, 1.0)
        expected = jax.random.laplace(jax.random.key(1), x.shape, jnp.float64)
        np.testing.assert_allclose(y, expected, rtol=1e-13)


@pytest.mark.parametrize("rate", [0.25, 0.5, 0.75])
def test_gaussian_dropout_has_its_formula_at_a_traced_rate(rate):
    y = jax.jit(jn.gaussian_dropout)(jax.random.key(2), X, np.float32(rate))
    n = jax.random.normal(jax.random.key(2), X.shape)
    expected = 1 + n * np.float32(np.sqrt(rate / (1 - rate)))
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1])
def test_a_seed_given_as_a_key_is_told_the_key(seed):
    with pytest.raises(TypeError, match=rf"with jax\.random\.key\({seed}\)\."):
        jn.dropout(seed, X, 0.5)
