"""Concrete dropout: a rate that is learned, through a relaxation of the mask."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxnoise._core import _check, _dims, _precision, _random, _sharding


def concrete_dropout(
    key: jax.Array,
    x: ArrayLike,
    logit_rate: ArrayLike,
    temperature: ArrayLike,
    *,
    broadcast_dims: Sequence[int] = (),
) -> jax.Array:
    """Drop units softly, with a probability that gradients reach.

    Law: y = x (1 - z) / (1 - p), z = sigmoid((logit p + logit u) / temperature),
    u ~ U(0, 1) i.i.d. over x. P(z > 1/2) = p at every temperature. As the temperature
    goes to 0, z goes to 0 or 1, and E[y] to x, Var[y] to x^2 p / (1 - p).

    Args:
      key: PRNG key, consumed.
      x: floating array of any shape.
      logit_rate: log(p / (1 - p)) of the rate p that is learned, a finite scalar.
      temperature: above 0; 0.1 is usual. The lower, the closer to dropout, and the
        larger the variance of the gradient. A traced one is not checked.
      broadcast_dims: dims that share one draw: the spatial ones, before a convolution.

    Returns:
      Array with the shape, dtype and sharding of x. Gradients are pathwise, to x, to
      logit_rate and to temperature.

    Raises:
      ValueError: logit_rate not finite, temperature not above 0, a bad dim, or a batch
        of keys.
      TypeError: x is not floating, or key is not a key.

    Sharp bits: the mean is x only as the temperature goes to 0. At temperature 0.1,
    E[y] / x is 0.9987 for p = 0.1, 1 for 0.5 and 1.0078 for 0.8.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxnoise import learned
      >>> y = learned.concrete_dropout(jax.random.key(0), jnp.ones(1000), -2.0, 0.1)
      >>> 0.07 < float((y < 0.5).mean()) < 0.18  # p = 0.12
      True

    Reference: Gal, Hron, Kendall, Concrete dropout, NeurIPS 2017,
    https://arxiv.org/abs/1705.07832.
    """
    name = "concrete_dropout"
    key = _check.key(name, key)
    x = _check.floating(name, x, allow_complex=False)
    logit_rate = _check.finite(name, "logit_rate", logit_rate)
    temperature = _check.positive(name, "temperature", temperature)
    dims = _dims.normalized(name, "broadcast_dims", broadcast_dims, x.ndim)
    wide = _precision.wide_dtype(x)
    amounts = (jnp.asarray(amount, wide) for amount in (logit_rate, temperature))
    return _concrete(key, x, *amounts, shape=_dims.shared(x.shape, dims))


def concrete_dropout_regularizer(
    logit_rate: ArrayLike, kernel: ArrayLike, length_scale: ArrayLike
) -> jax.Array:
    """The cost of the learned rate: the KL divergence to the prior, up to a constant.

    Law: KL = l^2 sum(W^2) / (2 (1 - p)) - K H(p), H(p) = -p log p - (1 - p) log(1 - p),
    with l the length scale and K the number of units that are dropped. The first term
    wants small weights and small rates, the second rates near 1/2.

    Args:
      logit_rate: log(p / (1 - p)), a finite scalar.
      kernel: the weights W that the noisy units meet, floating (..., K, out): that of
        the dense layer or the convolution that follows.
      length_scale: l, above 0: the prior of a weight has standard deviation 1 / l. A
        traced one is not checked.

    Returns:
      A scalar in nats, of the dtype of kernel, float32 at least. It counts once for a
      data set: add KL / N to a mean negative log-likelihood over N examples.

    Raises:
      ValueError: logit_rate not finite, length_scale not above 0, or a kernel of less
        than 2 dims.
      TypeError: kernel is not floating.

    Sharp bits: the weight_regularizer of the authors' code is l^2 / N, its
    dropout_regularizer 2 / N, for a loss that is twice this one: KL 2 / (tau N) beside
    the mean squared error, with tau the precision of the observations.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxnoise import learned
      >>> kernel = jnp.ones((3, 4))  # at p = 1/2: 12 / (2 / 2) - 3 log 2
      >>> round(float(learned.concrete_dropout_regularizer(0.0, kernel, 1.0)), 3)
      9.921

    Reference: Gal, Hron, Kendall, Concrete dropout, NeurIPS 2017,
    https://arxiv.org/abs/1705.07832.
    """
    name = "concrete_dropout_regularizer"
    kernel = _check.floating(name, kernel, allow_complex=False, name="kernel")
    if kernel.ndim < 2:
        raise ValueError(
            f"{name}: kernel must be (..., in, out), got shape {kernel.shape}."
        )
    wide = _precision.wide_dtype(kernel)
    logit = jnp.asarray(_check.finite(name, "logit_rate", logit_rate), wide)
    scale = jnp.asarray(_check.positive(name, "length_scale", length_scale), wide)
    # 1 / (1 - p) = 1 + exp(logit), and log p, log(1 - p) without a difference
    weight = (1 + jnp.exp(logit)) * ((scale * kernel.astype(wide)) ** 2).sum() / 2
    drop, keep = jax.nn.sigmoid(logit), jax.nn.sigmoid(-logit)
    entropy = drop * jax.nn.softplus(-logit) + keep * jax.nn.softplus(logit)
    return weight - kernel.shape[-2] * entropy


@_random.redrawn
def _concrete(key, x, logit_rate, temperature, *, shape):
    wide = _precision.wide_dtype(x)
    low = np.nextafter(wide.type(-1), wide.type(0))
    v = _random.uniform(key, shape, wide, low, _sharding.like(x, shape))
    # u = (1 + v) / 2, which is neither 0 nor 1
    # of u / (1 - u): one logarithm is cheaper than two
    logit_u = jnp.log((1 + v) / (1 - v))
    dropped = (logit_rate + logit_u) / temperature
    # (1 - z) / (1 - p): at rates near 1 both are 0 in float32
    above = jnp.exp(jax.nn.softplus(logit_rate) - jnp.maximum(dropped, 0))
    scale = above / (1 + jnp.exp(-jnp.abs(dropped)))
    return _precision.in_wide(lambda real: real * scale, x)
