"""Activations with random slopes."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxnoise._core import _check, _precision, _random, _sharding


def rrelu(
    key: jax.Array, x: ArrayLike, lower: ArrayLike, upper: ArrayLike
) -> jax.Array:
    """Leaky ReLU with a random slope for each negative unit.

    Law: y = a x where x is negative, else x, a ~ U(lower, upper) i.i.d.
    For negative x, E[y] = x (lower + upper) / 2, Var[y] = x^2 (upper - lower)^2 / 12.

    Where no noise is wanted, `jax.nn.leaky_relu(x, (lower + upper) / 2)` is its mean.

    Args:
      key: PRNG key, consumed.
      x: floating array of any shape.
      lower: smallest slope, finite; PyTorch's layer has 1/8.
      upper: largest slope, finite and at least lower; PyTorch's layer has 1/3. If the
        two are equal, y is that of `jax.nn.leaky_relu`.

    Returns:
      Array with the shape, dtype and sharding of x; what is not negative comes back to
      the bit.

    Raises:
      ValueError: a slope that is not finite, lower above upper, or a batch of keys.
      TypeError: x is not floating, or key is not a key.

    Sharp bits: the paper divides by a slope from U(3, 8) instead. Gradients reach
    lower and upper through the draw, so both may be learned.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise as jn
      >>> y = jn.rrelu(jax.random.key(0), jnp.array([-8.0, 2.0]), 1 / 8, 1 / 3)
      >>> bool(-8 / 3 <= y[0] <= -1), float(y[1])
      (True, 2.0)

    Reference: Xu, Wang, Chen, Li, Empirical evaluation of rectified activations in
    convolutional network, 2015, https://arxiv.org/abs/1505.00853.
    """
    name = "rrelu"
    key = _check.key(name, key)
    x = _check.floating(name, x, allow_complex=False)
    slopes = _check.slopes(name, lower, upper, x)
    return _random_slopes(key, x, *(_precision.wide_amount(a, x) for a in slopes))


def mean_of_rrelu(x: ArrayLike, lower: ArrayLike, upper: ArrayLike) -> jax.Array:
    """The output of a deterministic layer: the leaky ReLU of the mean slope."""
    name = "rrelu"
    x = _check.floating(name, x, allow_complex=False)
    slopes = _check.slopes(name, lower, upper, x)
    ends = (_precision.wide_amount(a, x) for a in slopes)
    slope = sum(ends) / 2
    return _precision.in_wide(lambda real: jnp.where(real < 0, slope * real, real), x)


@_random.redrawn
def _random_slopes(key, x, lower, upper):
    sharding = _sharding.like(x, x.shape)
    u = _random.uniform(key, x.shape, _precision.wide_dtype(x), 0, sharding)
    slope = lower + (upper - lower) * u
    return _precision.in_wide(lambda real: jnp.where(real < 0, slope * real, real), x)
