"""The real Keras layers on the JAX backend, with the key that they draw with.

In its n-th call, from 0, a layer with seed s draws with the legacy key [s, n]. What
that makes of the layers, in float32 and with the same key:

- Dropout, SpatialDropout1D/2D/3D: every bit agrees.
- GaussianNoise, GaussianDropout: the normals agree within 3 ulps, most of them to the
  bit (tests/test_quantile.py, over all of them), the arithmetic to rounding. Keras runs
  op by op and rounds each product; jaxnoise is one kernel, in which the compiler may
  merge the constant factors of the noise and fuse a multiply with an add. The noise, a
  normal times a standard deviation, then differs by at most 3 roundings more, each
  later step by 1 ulp. In ulps of the output that has no bound, for x + s n may cancel
  to almost nothing.
- AlphaDropout: another mask. Both compare the same uniform numbers u with the rate, but
  Keras keeps where u >= rate and jaxnoise, as `jax.random.bernoulli`, where
  u < 1 - rate. Where both keep or both drop, the values agree to rounding.
"""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from data import normal

import jaxnoise as jn

SEED, CALLS = 7, 3
RATES = [0.1, 0.3, 0.5, 0.9]
FEW = [0.3, 0.9]  # where it is the shape of the mask that differs
SELU_FLOOR = -1.7580993408473766
ROUNDING = 2.0**-24  # relative error of one rounding
NOISE = (3 * 2 + 3) * ROUNDING  # of a normal times a standard deviation
SHAPES = {1: (6, 11, 5), 2: (6, 8, 7, 5), 3: (4, 5, 3, 6, 5)}


def test_backend_is_jax():
    assert keras.backend.backend() == "jax"


def legacy_key(call):
    return jax.random.wrap_key_data(jnp.array([SEED, call], jnp.uint32))


def data(shape=(200, 300)):
    return normal(0, *shape)


def outputs(layer, function, x):
    """(ours, Keras') for each of the first calls of the layer."""
    for call in range(CALLS):
        with jax.legacy_prng_key("allow"):  # Keras passes raw uint32 keys
            theirs = layer(x, training=True)
        yield np.asarray(function(legacy_key(call), x)), np.asarray(theirs)


@pytest.mark.parametrize("rate", [*RATES, 0, 1])
def test_dropout_to_the_bit(rate):
    layer = keras.layers.Dropout(rate, seed=SEED)
    for ours, theirs in outputs(layer, lambda k, x: jn.dropout(k, x, rate), data()):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("rate", FEW)
def test_dropout_noise_shape_to_the_bit(rate):
    """Size 1 in `noise_shape` is a dim in `broadcast_dims`."""
    layer = keras.layers.Dropout(rate, noise_shape=(None, 1, None), seed=SEED)
    function = lambda k, x: jn.dropout(k, x, rate, broadcast_dims=(1,))  # noqa: E731
    for ours, theirs in outputs(layer, function, data((6, 11, 5))):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("rate", FEW)
@pytest.mark.parametrize("spatial", [1, 2, 3])
def test_spatial_dropout_to_the_bit(spatial, rate):
    layer = getattr(keras.layers, f"SpatialDropout{spatial}D")(rate, seed=SEED)
    function = lambda k, x: jn.spatial_dropout(k, x, rate)  # noqa: E731
    for ours, theirs in outputs(layer, function, data(SHAPES[spatial])):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("rate", FEW)
@pytest.mark.parametrize("spatial", [2, 3])
def test_spatial_dropout_channels_first_to_the_bit(spatial, rate):
    kind = getattr(keras.layers, f"SpatialDropout{spatial}D")
    layer = kind(rate, data_format="channels_first", seed=SEED)
    function = lambda k, x: jn.spatial_dropout(k, x, rate, channel_axis=1)  # noqa: E731
    for ours, theirs in outputs(layer, function, data(SHAPES[spatial])):
        np.testing.assert_array_equal(ours, theirs)


def test_normals():
    """With nothing to round: x = 0 and standard deviation 1."""
    layer = keras.layers.GaussianNoise(1.0, seed=SEED)
    function = lambda k, x: jn.gaussian_noise(k, x, 1.0)  # noqa: E731
    for ours, theirs in outputs(layer, function, jnp.zeros((200, 300))):
        np.testing.assert_array_max_ulp(ours, theirs, 3)
        assert (ours == theirs).mean() > 0.9


@pytest.mark.parametrize("stddev", [0.1, 0.3, 1.0])
def test_gaussian_noise_to_rounding(stddev):
    layer = keras.layers.GaussianNoise(stddev, seed=SEED)
    x = data()
    for ours, theirs in outputs(layer, lambda k, x: jn.gaussian_noise(k, x, stddev), x):
        noise = np.abs(theirs.astype(np.float64) - x)
        bound = NOISE * noise + ulp(theirs)
        assert_within(ours, theirs, bound)


@pytest.mark.parametrize("rate", RATES)
def test_gaussian_dropout_to_rounding(rate):
    layer = keras.layers.GaussianDropout(rate, seed=SEED)
    x = data()
    wide = np.asarray(x, np.float64)
    for ours, theirs in outputs(layer, lambda k, x: jn.gaussian_dropout(k, x, rate), x):
        factor = theirs / wide
        noise = np.abs(factor - 1)
        error = NOISE * noise + ulp(factor)
        assert_within(ours, theirs, np.abs(wide) * error + ulp(theirs))


@pytest.mark.parametrize("rate", RATES)
def test_alpha_dropout_where_the_masks_agree(rate):
    layer = keras.layers.AlphaDropout(rate, seed=SEED)
    x = data()
    pairs = outputs(layer, lambda k, x: jn.alpha_dropout(k, x, rate), x)
    for call, (ours, theirs) in enumerate(pairs):
        u = np.asarray(jax.random.uniform(legacy_key(call), x.shape))
        kept_here, kept_there = u < np.float32(1 - rate), u >= np.float32(rate)
        # what is dropped has one value, up to the rounding of Keras' a A + c
        for output, kept in ((ours, kept_here), (theirs, kept_there)):
            floor = output[~kept].mean(dtype=np.float64)
            np.testing.assert_array_equal(kept, np.abs(output - floor) > 1e-5)
        alike = kept_here == kept_there
        assert alike.any() == (rate != 0.5)  # at one half they are complements
        # y = a v + c, v the input or the floor: a, v and their product are rounded,
        # c is rounded, and so is the sum, by both
        slope = ((1 - rate) * (1 + rate * SELU_FLOOR**2)) ** -0.5
        product = slope * np.where(kept_here, x, SELU_FLOOR)
        shift = slope * rate * SELU_FLOOR
        bound = ROUNDING * (3 * np.abs(product) + np.abs(shift)) + ulp(theirs)
        assert_within(ours[alike], theirs[alike], bound[alike])


def ulp(values):
    """The distance from each number to the next float32."""
    return np.spacing(np.abs(values).astype(np.float32)).astype(np.float64)


def assert_within(ours, theirs, bound):
    difference = np.abs(ours.astype(np.float64) - theirs)
    assert (difference <= bound).all(), (difference / bound).max()
