"""Noise of cameras and of channels: salt and pepper, shot noise, speckle.

Images are floating arrays of any shape, in any range of values: nothing is clipped.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.typing import ArrayLike

from jaxnoise import _gaussian
from jaxnoise._core import _check, _dims, _mask, _precision, _random, _sharding, _wall

_KEPT = 2  # beside 0 for pepper and 1 for salt


def salt_and_pepper(
    key: jax.Array,
    x: ArrayLike,
    rate: ArrayLike,
    *,
    low: ArrayLike = 0.0,
    high: ArrayLike = 1.0,
    salt_vs_pepper: ArrayLike = 0.5,
    broadcast_dims: Sequence[int] = (),
) -> jax.Array:
    """Replace a random fraction `rate` of the values by white or by black.

    Law: y = v with probability rate, else x, v = high with probability
    salt_vs_pepper, else low, i.i.d., m and w the mean and the variance of v.
    E[y] = q x + rate m, Var[y] = rate w + rate q (x - m)^2.

    Written out, m = low + salt_vs_pepper (high - low),
    w = salt_vs_pepper (1 - salt_vs_pepper) (high - low)^2, q = 1 - rate. What is left
    alone is what `dropout_mask` keeps for the same key.

    Args:
      key: PRNG key, consumed.
      x: floating array of any shape.
      rate: probability of replacing, in [0, 1]: 0 returns x. A traced rate is clipped
        to [0, 1], nan to 1; no gradient reaches it.
      low: the value of pepper, finite.
      high: the value of salt, finite.
      salt_vs_pepper: the share of salt, in [0, 1]. 0 with low = 0 is masking noise: the
        corruption of denoising autoencoders, dropout without a scale.
      broadcast_dims: dims that share one draw: `(-1,)` on (..., channels) replaces
        whole pixels.

    Returns:
      Array with the shape, dtype and sharding of x. What is left alone is x to the
      bit; what is replaced has no gradient, nan and inf included.

    Raises:
      ValueError: a known rate or salt_vs_pepper outside [0, 1], low or high not finite,
        a bad dim, or a batch of keys.
      TypeError: x is not floating, or key is not a key.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise as jn
      >>> y = jn.salt_and_pepper(jax.random.key(0), jnp.full((8, 8), 0.5), 0.5)
      >>> sorted(set(y.ravel().tolist()))
      [0.0, 0.5, 1.0]

    Reference: Gonzalez, Woods, Digital image processing, 4th edition, 2018; for masking
    noise Vincent, Larochelle, Bengio, Manzagol, Extracting and composing robust
    features with denoising autoencoders, ICML 2008.
    """
    name = "salt_and_pepper"
    key = _check.key(name, key)
    x = _check.floating(name, x, allow_complex=False)
    rate = _check.rate(name, rate)
    values = (
        _check.finite(name, "low", low, x),
        _check.finite(name, "high", high, x),
    )
    salt = _check.share(name, "salt_vs_pepper", salt_vs_pepper)
    dims = _dims.normalized(name, "broadcast_dims", broadcast_dims, x.ndim)
    if _check.known(rate, 0):
        return x
    threshold, _ = _mask.keep_threshold(rate, _precision.wide_dtype(x))
    pepper = (
        1 - _check.unit_interval(salt)
        if isinstance(salt, jax.Array)
        else np.float32(1 - salt)
    )
    values = (_precision.wide_amount(value, x) for value in values)
    shape = _dims.shared(x.shape, dims)
    return _salted(key, x, threshold, pepper, *values, shape=shape)


@functools.partial(jax.jit, static_argnames="shape")
def _salted(key, x, threshold, pepper, low, high, *, shape):
    """Bits below the threshold keep x; those above divide the rest of the range."""
    # on a grid of 2^31 the end of the range is still a uint32
    rest = (np.uint32(2**23) - threshold).astype(np.float32) * np.float32(2**8)
    first_salt = threshold * np.uint32(2**8) + jnp.rint(pepper * rest).astype(np.uint32)

    def draw(key, threshold, first_salt):
        bits = _random.random_bits(key, shape, _sharding.like(x, shape))
        kept = (bits >> np.uint32(9)) < threshold
        salty = (bits >> np.uint32(1)) >= first_salt
        return jnp.where(kept, np.uint8(_KEPT), salty.astype(np.uint8))

    if shape == x.shape:
        kind = draw(key, threshold, first_salt)
    else:
        kind = _wall.materialised(draw, key, threshold, first_salt)
    return _mask.applied(_grains, checkpoint_name(kind, _mask.NAME), x, low, high)


def _grains(kind, x, low, high):
    salty, kept = kind == np.uint8(1), kind == np.uint8(_KEPT)
    noise = jnp.where(salty, high.astype(x.dtype), low.astype(x.dtype))
    return jnp.where(kept, x, noise)


def poisson_noise(key: jax.Array, x: ArrayLike, scale: ArrayLike) -> jax.Array:
    """Shot noise: what a detector sees of an intensity x, one photon being `scale`.

    Law: y = scale c, c ~ Poisson(x / scale) i.i.d. E[y] = x, Var[y] = scale x.

    The gradient of y is that of its mean: the identity for x, 0 for scale.

    Args:
      key: PRNG key, consumed.
      x: floating array of any shape, in which nothing is negative.
      scale: the intensity of one photon, finite and at least 0, in the unit of x: 1 /
        peak for images in [0, 1] whose white is `peak` photons. 0 returns x. A traced
        one is not checked.

    Returns:
      Array with the shape, dtype and sharding of x: multiples of scale, rounded to the
      dtype. nan where x is negative, since there is no such intensity; give
      `jnp.maximum(x, 0)` where that may happen.

    Raises:
      ValueError: a known scale that is negative or not finite, or a batch of keys.
      TypeError: x is not floating, or key is not a key.

    Sharp bits: counts come from one uniform draw each, not from the rejection sampler
    of `jax.random.poisson`, and are other ones for the same key. Up to 10 photons their
    distribution function is exact to rounding; above, it is off by 5e-5 at most, which
    far in the lower tail is much of little: at 15 photons, 21 % of P(c <= 1) = 5e-6.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise as jn
      >>> y = jn.poisson_noise(jax.random.key(0), jnp.full((64,), 0.5), 0.25)
      >>> bool((y % 0.25 == 0).all()), bool((y >= 0).all())
      (True, True)

    Reference: Hasinoff, Photon, Poisson noise, Computer Vision: A Reference Guide,
    Springer, 2014.
    """
    name = "poisson_noise"
    key = _check.key(name, key)
    x = _check.floating(name, x, allow_complex=False)
    scale = _check.magnitude(name, "scale", scale, x)
    if _check.known(scale, 0):
        return x
    return _counted(key, x, _precision.wide_amount(scale, x))


@_random.redrawn
def _counted(key, x, scale):
    sharding = _sharding.like(x, x.shape)

    def photons(real):
        one = jnp.where(scale > 0, scale, jnp.ones_like(scale))
        mean = real / one
        y = _random.poisson(key, mean, sharding) * one
        # of so many photons the noise is nothing, and the mean may have overflowed
        visible = (scale > 0) & (mean < mean.dtype.type(2.0**100))
        # nan compares as false, and is x as well
        return jnp.where(visible | (mean < 0), y, real)

    return _with_gradient_of_mean(x, _precision.in_wide(photons, lax.stop_gradient(x)))


@jax.custom_jvp
def _with_gradient_of_mean(x, y):
    return y


@_with_gradient_of_mean.defjvp
def _identity(primals, tangents):
    return primals[1], tangents[0]


def speckle_noise(key: jax.Array, x: ArrayLike, stddev: ArrayLike) -> jax.Array:
    """Multiply by Gaussian noise around 1, as coherent light does.

    Law: y = x (1 + stddev n), n ~ N(0, 1) i.i.d. E[y] = x, Var[y] = x^2 stddev^2.

    Args:
      key: PRNG key, consumed.
      x: floating or complex array of any shape; a complex number is multiplied by one
        real factor.
      stddev: standard deviation of the factor, finite and at least 0; 0 returns x. A
        traced one is not checked.

    Returns:
      Array with the shape, dtype and sharding of x.

    Raises:
      ValueError: a known stddev that is negative or not finite, or a batch of keys.
      TypeError: x is not floating or complex, or key is not a key.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise as jn
      >>> x = jnp.arange(4.0)
      >>> y = jn.speckle_noise(jax.random.key(0), x, 0.1)
      >>> n = jax.random.normal(jax.random.key(0), x.shape)
      >>> bool(jnp.allclose(y, x * (1 + 0.1 * n), atol=1e-6))
      True

    Reference: Goodman, Some fundamental properties of speckle, Journal of the Optical
    Society of America 66, 1976.
    """
    name = "speckle_noise"
    key = _check.key(name, key)
    x = _check.floating(name, x)
    stddev = _check.magnitude(name, "stddev", stddev, x)
    if _check.known(stddev, 0):
        return x
    return _gaussian.multiplicative(key, x, _precision.wide_amount(stddev, x))
