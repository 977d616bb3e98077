"""Random slopes, and the layers whose deterministic output is not their input."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from data import normal
from flax import errors, nnx

import jaxnoise as jn
import jaxnoise.linen as jnn
import jaxnoise.nnx as jnx

X = normal(8, 40, 30)
LOWER, UPPER = 1 / 8, 1 / 3


@pytest.fixture
def key():
    return jax.random.key(4)


def again(key):
    return jax.random.clone(key)


def test_rrelu(key):
    slope = LOWER + (UPPER - LOWER) * jax.random.uniform(again(key), X.shape)
    y = jn.rrelu(key, X, LOWER, UPPER)
    np.testing.assert_allclose(y, np.where(X < 0, X * slope, X), rtol=1e-6)
    np.testing.assert_array_equal(y[X >= 0], X[X >= 0])


def test_rrelu_of_a_slope_without_width_is_leaky_relu(key):
    y = jn.rrelu(key, X, 0.25, 0.25)
    np.testing.assert_array_equal(y, jax.nn.leaky_relu(X, 0.25))
    x = jnp.asarray([-0.0, 0.0, jnp.inf, -jnp.inf, jnp.nan])
    y = jn.rrelu(again(key), x, 0.25, 0.5)
    np.testing.assert_array_equal(y, x)
    assert np.signbit(y[0])


def test_rrelu_gradients(key):
    u = jax.random.uniform(again(key), X.shape)
    slope = LOWER + (UPPER - LOWER) * u

    def loss(x, lower, upper):
        return jn.rrelu(again(key), x, lower, upper).sum()

    by_x, *by_slopes = jax.grad(loss, argnums=(0, 1, 2))(X, LOWER, UPPER)
    np.testing.assert_allclose(by_x, np.where(X < 0, slope, 1), rtol=1e-6)
    negative = np.where(X < 0, X, 0)
    expected = (negative * (1 - u)).sum(), (negative * u).sum()
    np.testing.assert_allclose(by_slopes, expected, rtol=1e-4)


def test_rrelu_errors(key):
    with pytest.raises(ValueError, match="rrelu: lower must be at most upper, got"):
        jn.rrelu(key, X, 0.5, 0.25)
    with pytest.raises(ValueError, match="rrelu: upper must be finite, got inf"):
        jn.rrelu(key, X, 0.5, float("inf"))
    for layer in (jnn.RReLU, jnx.RReLU):
        with pytest.raises(ValueError, match="RReLU: lower must be at most upper"):
            layer(0.5, 0.25)
        with pytest.raises(TypeError, match="RReLU: lower must be a real number"):
            layer("a", 0.25)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_layers(key, dtype):
    x = X.astype(dtype)
    linen = jnn.RReLU(LOWER, UPPER)
    layer = jnx.RReLU(LOWER, UPPER, rngs=nnx.Rngs(0))
    expected = jn.rrelu(again(key), x, LOWER, UPPER)
    y = linen.apply({}, x, deterministic=False, rng=again(key))
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(layer(x, rngs=again(key)), expected)
    # the mean slope, without a key
    mean = np.where(X < 0, np.float32((LOWER + UPPER) / 2) * x.astype(np.float32), x)
    for y in (
        linen.apply({}, x, deterministic=True),
        nnx.view(layer, deterministic=True)(x),
        jnx.RReLU(LOWER, UPPER)(x, deterministic=True),
    ):
        assert y.dtype == dtype
        np.testing.assert_allclose(
            y.astype(np.float32), jnp.asarray(mean, dtype).astype(np.float32), rtol=1e-6
        )
    with pytest.raises(errors.InvalidRngError, match="dropout"):
        linen.apply({}, x, deterministic=False)


@pytest.mark.parametrize("bits", [32, 8])
def test_one_mask_for_several_calls(key, bits):
    """Dropout with a mask takes no key, and is apply_mask of the layer's rate."""
    mask = jn.dropout_mask(key, X.shape, 0.3, bits=bits)
    expected = jn.apply_mask(X, mask, 0.3, bits=bits)

    class Twice(nn.Module):
        @nn.compact
        def __call__(self, x, mask, train):
            dropout = jnn.Dropout(0.3, bits=bits, deterministic=not train)
            return dropout(x, mask=mask), dropout(2 * x, mask=mask)

    for y, scale in zip(Twice().apply({}, X, mask, True), (1, 2), strict=True):
        np.testing.assert_array_equal(y, scale * expected)
    np.testing.assert_array_equal(Twice().apply({}, X, mask, False)[0], X)
    layer = jnx.Dropout(0.3, bits=bits)
    np.testing.assert_array_equal(layer(X, mask=mask), expected)
    assert layer(X, mask=mask, deterministic=True) is X
    for call in (
        lambda mask: layer(X, mask=mask),
        lambda mask: Twice().apply({}, X, mask, True),
    ):
        with pytest.raises(ValueError, match="mask must broadcast to x"):
            call(mask[:3])
        with pytest.raises(TypeError, match="mask must have dtype bool"):
            call(mask.astype(jnp.float32))
    with pytest.raises(ValueError, match="no `rngs` argument"):
        layer(X)


def test_a_mask_at_the_call_takes_no_key_from_the_stream(key):
    mask = jn.dropout_mask(key, X.shape, 0.25)
    one, other = (jnx.Dropout(0.25, rngs=nnx.Rngs(0)) for _ in range(2))
    one(X, mask=mask)
    np.testing.assert_array_equal(one(X), other(X))
