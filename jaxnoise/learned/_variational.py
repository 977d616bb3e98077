"""Variational dropout: Gaussian noise on weights, its strength learned by a bound."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxnoise._core import _check, _dense, _precision, _random

# of Molchanov et al., fitted to the integral
_K1, _K2, _K3 = 0.63576, 1.87320, 1.48695


def variational_dense(
    key: jax.Array,
    x: ArrayLike,
    kernel: ArrayLike,
    log_alpha: ArrayLike,
    *,
    bias: ArrayLike | None = None,
    precision: jax.lax.PrecisionLike = None,
) -> jax.Array:
    """A dense layer whose weights are N(W, alpha W^2), sampled at its outputs.

    Law: y = x W + b + n sqrt(x^2 (alpha W^2)), n ~ N(0, 1) i.i.d. over the outputs.
    E[y] = x W + b, Var[y] = x^2 alpha W^2, a sum over the inputs.

    The local reparametrisation: noise of its own for each example and output, instead
    of one noisy kernel for all of them, and gradients of lower variance. Gaussian
    dropout with rate alpha / (1 + alpha) has the same mean and variance.

    Args:
      key: PRNG key, consumed.
      x: floating array (*batch, in).
      kernel: the means W, floating (in, out).
      log_alpha: the logarithm of alpha, floating: a scalar for the layer, (in, 1) for
        its inputs, (in, out) for its weights, or what else broadcasts to the kernel.
      bias: floating array (out,), or None; it has no noise.
      precision: that of `jax.lax.dot_general`.

    Returns:
      Array (*batch, out) of the dtype of x. Gradients are pathwise and reach kernel and
      log_alpha; where the variance is 0 it has none.

    Raises:
      ValueError: shapes that do not fit, or a batch of keys.
      TypeError: an array that is not floating, or key is not a key.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxnoise import learned
      >>> x, kernel = jnp.ones((2, 3)), jnp.ones((3, 4))
      >>> y = learned.variational_dense(jax.random.key(0), x, kernel, jnp.log(0.25))
      >>> y.shape, bool((y[0] == y[1]).any())
      ((2, 4), False)

    Reference: Kingma, Salimans, Welling, Variational dropout and the local
    reparameterization trick, NeurIPS 2015, https://arxiv.org/abs/1506.02557.
    """
    name = "variational_dense"
    key = _check.key(name, key)
    x, kernel, bias = _dense.operands(name, x, kernel, bias)
    log_alpha = _dense.of_kernel(name, "log_alpha", log_alpha, kernel)
    return _variational(key, x, kernel, log_alpha, bias, precision=precision)


def variational_kl(log_alpha: ArrayLike) -> jax.Array:
    """KL divergence of N(w, alpha w^2) from the log-uniform prior, for one weight each.

    Law: KL = k1 (1 - sigmoid(k2 + k3 log alpha)) + log(1 + 1 / alpha) / 2, with k1, k2,
    k3 = 0.63576, 1.87320, 1.48695: within 0.01 of the integral for every alpha. It is 0
    as alpha goes to infinity, where its constant is fixed, and does not depend on w.

    The polynomial of Kingma et al. approximates the same integral for alpha below 1,
    up to a constant; with this form alpha needs no bound.

    Args:
      log_alpha: floating array of any shape.

    Returns:
      Array of the shape of log_alpha, in nats, float32 at least, to be summed over all
      weights: times the number of weights that share an alpha. It counts once for a
      data set: add KL / N to a mean negative log-likelihood over N examples.

    Raises:
      TypeError: log_alpha is not floating.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxnoise import learned
      >>> kl = learned.variational_kl(jnp.array([-8.0, 0.0, 8.0]))
      >>> bool(kl[0] > kl[1] > kl[2] > 0)  # the more noise, the less it costs
      True

    Reference: Molchanov, Ashukha, Vetrov, Variational dropout sparsifies deep neural
    networks, ICML 2017, https://arxiv.org/abs/1701.05369; Kingma, Salimans, Welling,
    NeurIPS 2015, https://arxiv.org/abs/1506.02557.
    """
    log_alpha = _check.floating(
        "variational_kl", log_alpha, allow_complex=False, name="log_alpha"
    )
    wide = log_alpha.astype(_precision.wide_dtype(log_alpha))
    # 1 - sigmoid(a) = sigmoid(-a), log(1 + 1 / alpha) = softplus(-log alpha)
    return _K1 * jax.nn.sigmoid(-_K2 - _K3 * wide) + jax.nn.softplus(-wide) / 2


@_random.redrawn
def _variational(key, x, kernel, log_alpha, bias, *, precision):
    wide = _precision.wide_dtype(x)
    mean = _dense.dense(x, kernel, bias, precision)
    spread = jnp.exp(log_alpha.astype(wide)) * kernel.astype(wide) ** 2
    variance = _dense.dense(x.astype(wide) ** 2, spread, None, precision)
    return _dense.normal_around(key, mean, variance, x.dtype)
