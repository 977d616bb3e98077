"""Sparse variational dropout: a noise for each weight, and what it says to prune."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxnoise._core import _check, _dense, _precision, _random

# Where log alpha is clipped. Clipped at 8, weights that the data determine well, with
# log alpha around -10, would have no cost, and their noise would fall without end.
_LIMIT = 20.0


def sparse_variational_dense(
    key: jax.Array,
    x: ArrayLike,
    kernel: ArrayLike,
    log_variance: ArrayLike,
    *,
    bias: ArrayLike | None = None,
    precision: jax.lax.PrecisionLike = None,
) -> jax.Array:
    """A dense layer whose weights are N(W, S^2), sampled at its outputs.

    Law: y = x W + b + n sqrt(x^2 S^2), n ~ N(0, 1) i.i.d. over the outputs.
    E[y] = x W + b, Var[y] = x^2 S^2, a sum over the inputs.

    The additive parametrisation of `variational_dense`, alpha = S^2 / W^2: the noise of
    a weight does not depend on the weight, and its gradient stays small as the weight
    goes to 0. Train with the sum of `variational_kl(sparse_log_alpha(kernel,
    log_variance))`; evaluate with the kernel that `prune` leaves.

    Args:
      key: PRNG key, consumed.
      x: floating array (*batch, in).
      kernel: the means W, floating (in, out).
      log_variance: log S^2, floating, of the shape of kernel or broadcast to it; -10 is
        a usual start.
      bias: floating array (out,), or None; it has no noise.
      precision: that of `jax.lax.dot_general`.

    Returns:
      Array (*batch, out) of the dtype of x. Gradients are pathwise and reach kernel and
      log_variance.

    Raises:
      ValueError: shapes that do not fit, or a batch of keys.
      TypeError: an array that is not floating, or key is not a key.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxnoise import learned
      >>> kernel, log_variance = jnp.eye(3), jnp.full((3, 3), -8.0)
      >>> y = learned.sparse_variational_dense(
      ...     jax.random.key(0), jnp.ones((2, 3)), kernel, log_variance)
      >>> bool((abs(y - 1) < 0.3).all()), bool((y == 1).any())
      (True, False)
      >>> bool((learned.prune(kernel, log_variance) == jnp.eye(3)).all())
      True

    Reference: Molchanov, Ashukha, Vetrov, Variational dropout sparsifies deep neural
    networks, ICML 2017, https://arxiv.org/abs/1701.05369.
    """
    name = "sparse_variational_dense"
    key = _check.key(name, key)
    x, kernel, bias = _dense.operands(name, x, kernel, bias)
    log_variance = _dense.of_kernel(name, "log_variance", log_variance, kernel)
    return _sparse(key, x, kernel, log_variance, bias, precision=precision)


def sparse_log_alpha(kernel: ArrayLike, log_variance: ArrayLike) -> jax.Array:
    """How noisy each weight is against its size: log S^2 - log W^2 in [-20, 20].

    Args:
      kernel: the means W, floating, of any shape.
      log_variance: log S^2, floating, of the shape of kernel or broadcast to it.

    Returns:
      Array of the shape of kernel, float32 at least: log alpha, clipped. Beyond the
      clip it has no gradient, at W = 0 neither.

    Raises:
      ValueError: shapes that do not fit.
      TypeError: an array that is not floating.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxnoise import learned
      >>> learned.sparse_log_alpha(jnp.array([0.0, 1.0, 1e6]), -6.0).tolist()
      [20.0, -6.0, -20.0]

    Reference: Molchanov, Ashukha, Vetrov, Variational dropout sparsifies deep neural
    networks, ICML 2017, https://arxiv.org/abs/1701.05369.
    """
    ratio = _log_ratio("sparse_log_alpha", kernel, log_variance)
    return jnp.clip(ratio, -_LIMIT, _LIMIT)


def prune(
    kernel: ArrayLike, log_variance: ArrayLike, *, threshold: float = 3.0
) -> jax.Array:
    """The kernel with 0 for all weights that are little but noise.

    Args:
      kernel: the means W, floating, of any shape.
      log_variance: log S^2, floating, of the shape of kernel or broadcast to it.
      threshold: the largest log alpha that stays. At 3, Gaussian dropout of the rate
        0.95.

    Returns:
      Array with the shape and dtype of kernel.

    Raises:
      ValueError: threshold not finite, or shapes that do not fit.
      TypeError: an array that is not floating.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxnoise import learned
      >>> learned.prune(jnp.array([0.01, 1.0]), jnp.array([-2.0, -2.0])).tolist()
      [0.0, 1.0]

    Reference: Molchanov, Ashukha, Vetrov, Variational dropout sparsifies deep neural
    networks, ICML 2017, https://arxiv.org/abs/1701.05369.
    """
    kernel = _check.floating("prune", kernel, allow_complex=False, name="kernel")
    noise = _is_noise("prune", kernel, log_variance, threshold)
    return jnp.where(noise, jnp.zeros((), kernel.dtype), kernel)


def sparsity(
    kernel: ArrayLike, log_variance: ArrayLike, *, threshold: float = 3.0
) -> jax.Array:
    """The fraction of the weights that `prune` makes 0.

    Args:
      kernel: the means W, floating, of any shape.
      log_variance: log S^2, floating, of the shape of kernel or broadcast to it.
      threshold: the largest log alpha that stays.

    Returns:
      A float32 scalar in [0, 1].

    Raises:
      ValueError: threshold not finite, or shapes that do not fit.
      TypeError: an array that is not floating.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxnoise import learned
      >>> float(learned.sparsity(jnp.array([0.01, 1.0]), jnp.array([-2.0, -2.0])))
      0.5
    """
    noise = _is_noise("sparsity", kernel, log_variance, threshold)
    return noise.mean(dtype=np.float32)


def _is_noise(function, kernel, log_variance, threshold):
    threshold = _check.finite(function, "threshold", threshold)
    return _log_ratio(function, kernel, log_variance) > threshold


def _log_ratio(function, kernel, log_variance):
    """log S^2 - log W^2, with the smallest normal number in the place of W = 0."""
    kernel = _check.floating(function, kernel, allow_complex=False, name="kernel")
    log_variance = _dense.of_kernel(function, "log_variance", log_variance, kernel)
    wide = _precision.wide_dtype(kernel)
    size = jnp.abs(kernel.astype(wide))
    size = jnp.where(size > jnp.finfo(wide).tiny, size, jnp.finfo(wide).tiny)
    return log_variance.astype(wide) - 2 * jnp.log(size)


@_random.redrawn
def _sparse(key, x, kernel, log_variance, bias, *, precision):
    wide = _precision.wide_dtype(x)
    mean = _dense.dense(x, kernel, bias, precision)
    spread = jnp.exp(log_variance.astype(wide))
    variance = _dense.dense(x.astype(wide) ** 2, spread, None, precision)
    return _dense.normal_around(key, mean, variance, x.dtype)
