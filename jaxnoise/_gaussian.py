"""Noise with a density: Gaussian, uniform and Laplace, added or multiplied.

Draws are those of `jax.random` for the same key, in float32 (float64 for float64
input), and the result is rounded once to the dtype of x. Gradients reach `stddev` and
`scale` through the noise (the pathwise derivative), so both may be learned.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxnoise._core import _check, _mask, _precision, _random, _sharding


def gaussian_noise(key: jax.Array, x: ArrayLike, stddev: ArrayLike) -> jax.Array:
    """Add Gaussian noise of standard deviation `stddev`.

    Law: y = x + stddev n, n ~ N(0, 1) i.i.d. E[y] = x, Var[y] = stddev^2.
    For complex x, n is circular with total variance 1, one half in each part.

    Args:
      key: PRNG key, consumed.
      x: floating or complex array of any shape.
      stddev: standard deviation of the noise, finite and at least 0, in the unit of x;
        0 returns x. A traced one is not checked.

    Returns:
      Array with the shape, dtype and sharding of x.

    Raises:
      ValueError: a known stddev that is negative or not finite, or a batch of keys.
      TypeError: x is not floating or complex, or key is not a key.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise as jn
      >>> x = jnp.arange(4.0)
      >>> y = jn.gaussian_noise(jax.random.key(0), x, 0.1)
      >>> n = jax.random.normal(jax.random.key(0), x.shape)
      >>> bool(jnp.allclose(y, x + 0.1 * n, atol=1e-6))
      True

    Reference: Bishop, Training with noise is equivalent to Tikhonov regularization,
    Neural Computation 7, 1995.
    """
    name = "gaussian_noise"
    key = _check.key(name, key)
    x = _check.floating(name, x)
    stddev = _check.magnitude(name, "stddev", stddev, x)
    return _additive(key, x, stddev, law="normal")


def uniform_noise(key: jax.Array, x: ArrayLike, scale: ArrayLike) -> jax.Array:
    """Add noise that is uniform on [-scale, scale).

    Law: y = x + scale u, u ~ U(-1, 1) i.i.d. E[y] = x, Var[y] = scale^2 / 3.

    Args:
      key: PRNG key, consumed.
      x: floating array of any shape.
      scale: half the width of the interval, finite and at least 0, in the unit of x; 0
        returns x. A traced one is not checked.

    Returns:
      Array with the shape, dtype and sharding of x.

    Raises:
      ValueError: a known scale that is negative or not finite, or a batch of keys.
      TypeError: x is not floating, or key is not a key.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise as jn
      >>> y = jn.uniform_noise(jax.random.key(0), jnp.zeros(100), 0.5)
      >>> bool((abs(y) <= 0.5).all())
      True

    Reference: Schuchman, Dither signals and their effect on quantization noise, IEEE
    Transactions on Communication Technology 12, 1964.
    """
    name = "uniform_noise"
    key = _check.key(name, key)
    x = _check.floating(name, x, allow_complex=False)
    scale = _check.magnitude(name, "scale", scale, x)
    return _additive(key, x, scale, law="uniform")


def laplace_noise(key: jax.Array, x: ArrayLike, scale: ArrayLike) -> jax.Array:
    """Add Laplace noise, whose tails are heavier than Gaussian ones.

    Law: y = x + scale l, l ~ Laplace(0, 1) i.i.d. E[y] = x, Var[y] = 2 scale^2.

    Args:
      key: PRNG key, consumed.
      x: floating array of any shape.
      scale: mean absolute size of the noise, finite and at least 0, in the unit of x; 0
        returns x. A traced one is not checked.

    Returns:
      Array with the shape, dtype and sharding of x.

    Raises:
      ValueError: a known scale that is negative or not finite, or a batch of keys.
      TypeError: x is not floating, or key is not a key.

    Sharp bits: a draw on the grid of 2^-23 is at most 16.7 scales away from 0. Finite
    precision leaks information: not a mechanism for differential privacy (Mironov,
    2012).

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise as jn
      >>> jn.laplace_noise(jax.random.key(0), jnp.zeros((2, 3)), 0.5).shape
      (2, 3)

    Reference: Kotz, Kozubowski, Podgorski, The Laplace distribution and
    generalizations, Birkhauser, 2001.
    """
    name = "laplace_noise"
    key = _check.key(name, key)
    x = _check.floating(name, x, allow_complex=False)
    scale = _check.magnitude(name, "scale", scale, x)
    return _additive(key, x, scale, law="laplace")


def gaussian_dropout(key: jax.Array, x: ArrayLike, rate: ArrayLike) -> jax.Array:
    """Multiply by Gaussian noise with the mean and the variance of dropout.

    Law: y = x (1 + n sqrt(rate / (1 - rate))), n ~ N(0, 1) i.i.d.
    E[y] = x, Var[y] = x^2 rate / (1 - rate).

    Args:
      key: PRNG key, consumed.
      x: floating or complex array of any shape; a complex number is multiplied by one
        real factor.
      rate: the drop rate of the dropout with the same variance, in [0, 1): 0 returns x.
        A traced rate is clipped to [0, 1 - 2^-24], and nan gives nan; no gradient
        reaches it.

    Returns:
      Array with the shape, dtype and sharding of x.

    Raises:
      ValueError: a known rate outside [0, 1), or a batch of keys.
      TypeError: x is not floating or complex, or key is not a key.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise as jn
      >>> x = jnp.arange(4.0)
      >>> y = jn.gaussian_dropout(jax.random.key(0), x, 0.5)
      >>> n = jax.random.normal(jax.random.key(0), x.shape)
      >>> bool(jnp.allclose(y, x * (1 + n), atol=1e-6))
      True

    Reference: Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov, Dropout: a
    simple way to prevent neural networks from overfitting, section 10, JMLR 15, 2014.
    """
    name = "gaussian_dropout"
    key = _check.key(name, key)
    x = _check.floating(name, x)
    rate = _check.rate(name, rate, below_one=True)
    wide = _precision.wide_dtype(x)
    if _check.known(rate, 0):
        return x
    if isinstance(rate, jax.Array):
        drop = _check.unit_interval(rate, below_one=True)
        stddev = jnp.sqrt(drop / (np.float32(1) - drop)).astype(wide)
    else:
        stddev = wide.type(np.sqrt(rate / (1 - rate)))
    return multiplicative(key, x, stddev)


def real_gaussian_dropout(
    key: jax.Array,
    x: ArrayLike,
    rate: ArrayLike,
    stddev: ArrayLike,
    *,
    bits: int = 32,
) -> jax.Array:
    """Add Gaussian noise to a random fraction `rate` of the units, leave the rest.

    Law: y = x + b stddev n, b ~ Bernoulli(rate), n ~ N(0, 1), all independent.
    E[y] = x, Var[y] = rate stddev^2. Units with b = 0 are x to the bit.

    Args:
      key: PRNG key, consumed; it is split into one key for b and one for n.
      x: floating or complex array of any shape (for complex n, see `gaussian_noise`).
      rate: fraction of the units that get noise, in [0, 1]: 0 returns x, 1 is
        `gaussian_noise`. A traced rate is clipped to [0, 1], nan to 1; no gradient
        reaches it.
      stddev: standard deviation of the noise, finite and at least 0, in the unit of x;
        0 returns x. A traced one is not checked.
      bits: those of a coin b, as in `dropout`; the noise takes as many as ever.

    Returns:
      Array with the shape, dtype and sharding of x.

    Raises:
      ValueError: a known rate outside [0, 1], a known stddev that is negative or not
        finite, or a batch of keys.
      TypeError: x is not floating or complex, or key is not a key.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise as jn
      >>> x = jnp.arange(1000.0)
      >>> y = jn.real_gaussian_dropout(jax.random.key(0), x, 0.25, 0.1)
      >>> bool(200 < (y != x).sum() < 300)
      True
    """
    name = "real_gaussian_dropout"
    key = _check.key(name, key)
    x = _check.floating(name, x)
    rate = _check.rate(name, rate)
    stddev = _check.magnitude(name, "stddev", stddev, x)
    if _check.known(rate, 0) or _check.known(stddev, 0):
        return x
    bits = _check.bits(name, bits, rate)
    threshold, _ = _mask.keep_threshold(rate, _precision.wide_dtype(x), bits)
    stddev = _precision.wide_amount(stddev, x)
    return _on_a_fraction(key, x, threshold, stddev, bits=bits)


def _additive(key, x, amount, *, law):
    if _check.known(amount, 0):
        return x
    return _added(key, x, _precision.wide_amount(amount, x), law=law)


@_random.redrawn
def _added(key, x, amount, *, law):
    return _plus(x, amount, _unit_noise(key, x, law))


@_random.redrawn
def multiplicative(key, x, stddev):
    """x (1 + stddev n), n standard normal; stddev has the dtype of the noise."""
    wide, placed = _precision.wide_dtype(x), _sharding.like(x, x.shape)
    n = _random.normal(key, x.shape, wide, placed)
    return _precision.in_wide(lambda real: real * (1 + stddev * n), x)


@_random.redrawn
def _on_a_fraction(key, x, threshold, stddev, *, bits):
    key_mask, key_noise = jax.random.split(key)
    untouched = _mask.keep_mask(key_mask, threshold, _mask.coins_for(x, bits=bits))
    noise = _unit_noise(key_noise, x, "normal")
    # minus zero is what leaves every number as it is, zeros of both signs included;
    # so the gradient of x needs no mask
    nothing = jnp.full((), -0.0, noise.dtype)
    noise = jnp.where(untouched, nothing, stddev.astype(noise.dtype) * noise)
    return (x.astype(noise.dtype) + noise).astype(x.dtype)


def _plus(x, amount, noise):
    """x + amount * noise, in the precision of the noise and rounded once."""
    return (x.astype(noise.dtype) + amount.astype(noise.dtype) * noise).astype(x.dtype)


def _unit_noise(key, x, law):
    """Standard noise of the given law, in the shape, precision and sharding for x."""
    wide, sharding = _precision.wide_dtype(x), _sharding.like(x, x.shape)
    if law == "uniform":
        return _random.uniform(key, x.shape, wide, -1, sharding)
    if law == "laplace":
        return _random.laplace(key, x.shape, wide, sharding)
    complex_input = jnp.issubdtype(x.dtype, jnp.complexfloating)
    return _random.normal(key, x.shape, x.dtype if complex_input else wide, sharding)
