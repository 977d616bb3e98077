"""Flipout: noisy weights whose noise is not shared by the examples of a batch."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxnoise._core import _check, _dense, _mask, _precision, _random, _sharding


def flipout_dense(
    key: jax.Array,
    x: ArrayLike,
    kernel: ArrayLike,
    stddev: ArrayLike,
    *,
    bias: ArrayLike | None = None,
    precision: jax.lax.PrecisionLike = None,
) -> jax.Array:
    """A dense layer whose weights are N(W, stddev^2), one draw with signs for each row.

    Law: y = x W + b + t ((s x) (stddev n)), n ~ N(0, 1) i.i.d. over the weights, drawn
    once, signs s = +-1 over the inputs and t = +-1 over the outputs of each example.
    E[y] = x W + b, Var[y] = x^2 stddev^2, a sum over the inputs.

    Each example has the law of a noisy kernel of its own, and noise of different
    examples is uncorrelated, at the price of one more product: the variance of a
    gradient falls with the size of the batch.

    Args:
      key: PRNG key, consumed; it is split into three.
      x: floating array (*batch, in).
      kernel: the means W, floating (in, out).
      stddev: standard deviation of a weight, floating or a Python number, a scalar or
        broadcast to the kernel; 0 is a dense layer.
      bias: floating array (out,), or None; it has no noise.
      precision: that of `jax.lax.dot_general`.

    Returns:
      Array (*batch, out) of the dtype of x. Gradients are pathwise and reach kernel and
      stddev.

    Raises:
      ValueError: a number stddev that is negative or not finite, shapes that do not
        fit, or a batch of keys.
      TypeError: an array that is not floating, or key is not a key.

    Sharp bits: uncorrelated is not independent: the squares of the noise of two
    examples are correlated, for they share n. For bfloat16 x both products are in
    bfloat16, and so is their sum.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxnoise import learned
      >>> x, kernel = jnp.ones((2, 3)), jnp.ones((3, 4))
      >>> y = learned.flipout_dense(jax.random.key(0), x, kernel, 0.1)
      >>> bool((abs(y - 3) < 2).all()), bool((y[0] == y[1]).all())
      (True, False)

    Reference: Wen, Vicol, Ba, Tran, Grosse, Flipout: efficient pseudo-independent
    weight perturbations on mini-batches, ICLR 2018, https://arxiv.org/abs/1803.04386.
    """
    name = "flipout_dense"
    key = _check.key(name, key)
    x, kernel, bias = _dense.operands(name, x, kernel, bias)
    if isinstance(stddev, int | float | np.number):
        stddev = _check.magnitude(name, "stddev", stddev)
        if _check.known(stddev, 0):
            return _dense.dense(x, kernel, bias, precision)
    stddev = _dense.of_kernel(name, "stddev", stddev, kernel)
    return _flipout(key, x, kernel, stddev, bias, precision=precision)


def gaussian_kl(
    kernel: ArrayLike, log_variance: ArrayLike, prior_stddev: ArrayLike
) -> jax.Array:
    """KL divergence of N(w, v) from the prior N(0, s^2), for one weight each.

    Law: KL = ((v + w^2) / s^2 - 1 - log(v / s^2)) / 2, s = prior_stddev.

    Args:
      kernel: the means w, floating, of any shape.
      log_variance: log v, floating, of the shape of kernel or broadcast to it.
      prior_stddev: s, above 0.

    Returns:
      Array of the shape of kernel, in nats, float32 at least, to be summed over all
      weights. It counts once for a data set: add KL / N to a mean negative
      log-likelihood over N examples.

    Raises:
      ValueError: prior_stddev not above 0, or shapes that do not fit.
      TypeError: an array that is not floating.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxnoise import learned
      >>> learned.gaussian_kl(jnp.array([0.0, 1.0]), 0.0, 1.0).tolist()
      [0.0, 0.5]
    """
    name = "gaussian_kl"
    kernel = _check.floating(name, kernel, allow_complex=False, name="kernel")
    log_variance = _dense.of_kernel(name, "log_variance", log_variance, kernel)
    wide = _precision.wide_dtype(kernel)
    prior = _check.positive(name, "prior_stddev", prior_stddev)
    log_prior = 2 * jnp.log(jnp.asarray(prior, wide))
    log_ratio = log_variance.astype(wide) - log_prior
    means = kernel.astype(wide) ** 2 * jnp.exp(-log_prior)
    # exp(r) - 1 - r, without the difference of two numbers near 1
    return (means + jnp.expm1(log_ratio) - log_ratio) / 2


@_random.redrawn
def _flipout(key, x, kernel, stddev, bias, *, precision):
    key_weights, key_in, key_out = jax.random.split(key, 3)
    mean = _dense.dense(x, kernel, bias, precision)
    wide = _precision.wide_dtype(kernel)
    sharding = _sharding.like(kernel, kernel.shape)
    n = _random.normal(key_weights, kernel.shape, wide, sharding)
    flipped = _with_random_signs(key_in, x)
    noise = _dense.dense(flipped, stddev.astype(wide) * n, None, precision)
    return mean + _with_random_signs(key_out, noise)


def _with_random_signs(key, x):
    half = np.uint32(2**7)  # of 8 bits, which is exactly 1/2
    positive = _mask.keep_mask(key, half, _mask.coins_for(x, bits=8))
    return jnp.where(positive, x, -x)
