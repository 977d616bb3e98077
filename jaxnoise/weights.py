"""Noise on the weights of a dense layer: one draw for a call, shared by its batch.

The layers over these functions are `DropConnectDense` and `NoisyDense`. Noise on the
weights of any other layer, or of a whole model, is in `jaxnoise.tree`; noise with a
learned law and a regulariser for it, flipout among it, in `jaxnoise.learned`.
"""

import functools

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from jax.typing import ArrayLike

from jaxnoise._core import _check, _dense, _mask, _precision, _random, _sharding, _wall

__all__ = [
    "dropconnect_dense",
    "noisy_dense",
]


def dropconnect_dense(
    key: jax.Array,
    x: ArrayLike,
    kernel: ArrayLike,
    rate: ArrayLike,
    *,
    bias: ArrayLike | None = None,
    precision: jax.lax.PrecisionLike = None,
    bits: int = 32,
) -> jax.Array:
    """A dense layer that drops single weights and scales the others by 1 / (1 - rate).

    Law: y = x (W m / q) + b, m ~ Bernoulli(q) i.i.d. over the weights, q = 1 - rate.
    E[y] = x W + b, Var[y] = x^2 W^2 rate / (1 - rate), a sum over the inputs.

    One mask serves the whole call, so outputs of one batch are correlated; `jax.vmap`
    over keys and rows draws one for each row, at the memory of a kernel for each. The
    bias is never dropped: without noise the layer is a dense layer of the same
    parameters, and its mean is that layer.

    Args:
      key: PRNG key, consumed.
      x: floating array (*batch, in).
      kernel: floating array (in, out).
      rate: probability of dropping a weight, in [0, 1]: 0 is a dense layer, 1 leaves
        the bias. A traced rate is clipped to [0, 1], nan to 1; no gradient reaches it.
      bias: floating array (out,), or None.
      precision: that of `jax.lax.dot_general`.
      bits: as in `jaxnoise.dropout`.

    Returns:
      Array (*batch, out) of the dtype of x.

    Raises:
      ValueError: a known rate outside [0, 1], shapes that do not fit, or a batch of
        keys.
      TypeError: an array that is not floating, or key is not a key.

    Sharp bits: the paper drops biases too, draws a mask for each example, and evaluates
    by a Gaussian of matched moments before the nonlinearity. "DropConnect" in the code
    of EfficientNet is `jaxnoise.drop_path`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxnoise import weights
      >>> y = weights.dropconnect_dense(
      ...     jax.random.key(0), jnp.ones((2, 3)), jnp.ones((3, 4)), 0.5)
      >>> set(y.ravel().tolist()) <= {0.0, 2.0, 4.0, 6.0}, bool((y[0] == y[1]).all())
      (True, True)

    Reference: Wan, Zeiler, Zhang, LeCun, Fergus, Regularization of neural networks
    using DropConnect, ICML 2013.
    """
    name = "dropconnect_dense"
    key = _check.key(name, key)
    rate = _check.rate(name, rate)
    x, kernel, bias = _dense.operands(name, x, kernel, bias)
    if _check.known(rate, 0):
        return _dense.dense(x, kernel, bias, precision)
    bits = _check.bits(name, bits, rate)
    amounts = _mask.keep_threshold(rate, _precision.wide_dtype(kernel), bits)
    options = {"precision": precision, "bits": bits}
    return _dropconnect(key, x, kernel, bias, *amounts, **options)


def noisy_dense(
    key: jax.Array,
    x: ArrayLike,
    kernel: ArrayLike,
    kernel_sigma: ArrayLike,
    *,
    bias: ArrayLike | None = None,
    bias_sigma: ArrayLike | None = None,
    precision: jax.lax.PrecisionLike = None,
) -> jax.Array:
    """A NoisyNet layer: weights with factorised Gaussian noise of learned strength.

    Law: y = x (W + S f(e) f(d)^T) + b + s f(d), e ~ N(0, 1) i.i.d. over the inputs,
    d ~ N(0, 1) i.i.d. over the outputs, f(a) = sign(a) sqrt(abs(a)).
    E[y] = x W + b, Var[y] = x^2 S^2 2 / pi + s^2 sqrt(2 / pi), a sum over the inputs.

    One draw serves the whole call, as an agent explores with one network at a time.

    Args:
      key: PRNG key, consumed; it is split into one key for e and one for d.
      x: floating array (*batch, in).
      kernel: the means W, floating (in, out).
      kernel_sigma: the strengths S, floating, of the shape of kernel or broadcast to
        it; their sign does not matter.
      bias: the means b, floating (out,), or None.
      bias_sigma: the strengths s, floating (out,) or broadcast to it, or None for a
        bias without noise.
      precision: that of `jax.lax.dot_general`.

    Returns:
      Array (*batch, out) of the dtype of x. Gradients are pathwise and reach means and
      strengths.

    Raises:
      ValueError: shapes that do not fit, or a batch of keys.
      TypeError: an array that is not floating, or key is not a key.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxnoise import weights
      >>> x, kernel = jnp.ones((2, 3)), jnp.ones((3, 4))
      >>> y = weights.noisy_dense(jax.random.key(0), x, kernel, 0.5 * kernel)
      >>> y.shape, bool((y[0] == y[1]).all()), bool((y[0] == 3).any())
      ((2, 4), True, False)

    Reference: Fortunato et al., Noisy networks for exploration, ICLR 2018,
    https://arxiv.org/abs/1706.10295.
    """
    name = "noisy_dense"
    key = _check.key(name, key)
    x, kernel, bias = _dense.operands(name, x, kernel, bias)
    sigma = _dense.of_kernel(name, "kernel_sigma", kernel_sigma, kernel)
    if bias_sigma is not None:
        outputs = kernel.shape[1:]
        bias_sigma = _dense.of_shape(name, "bias_sigma", bias_sigma, outputs)
    return _noisy(key, x, kernel, sigma, bias, bias_sigma, precision=precision)


@functools.partial(jax.jit, static_argnames=["precision", "bits"])
def _dropconnect(key, x, kernel, bias, threshold, keep, *, precision, bits):
    coins = _mask.coins_for(kernel, bits=bits)
    drawn = coins.draw(key, threshold)

    def dense(drawn, x, kernel, bias, keep):
        weights = _mask.scale_kept(coins.mask(drawn), kernel, keep)
        return _dense.dense(x, weights, bias, precision)

    return _mask.applied(dense, drawn, x, kernel, bias, keep)


@_random.redrawn
def _noisy(key, x, kernel, sigma, bias, bias_sigma, *, precision):
    key_in, key_out = jax.random.split(key)
    wide, (inputs, outputs) = _precision.wide_dtype(kernel), kernel.shape
    f_in = _factor(key_in, inputs, wide, _along(kernel, 0))
    f_out = _factor(key_out, outputs, wide, _along(kernel, 1))
    noise = f_in.reshape(inputs, 1) * f_out.reshape(1, outputs)
    noisy = kernel.astype(wide) + sigma.astype(wide) * noise
    if bias_sigma is not None:
        shift = bias_sigma.astype(wide) * f_out
        bias = shift if bias is None else bias.astype(wide) + shift
    return _dense.dense(x, noisy, bias, precision)


def _along(x, dim):
    """The sharding of a vector along one dim of `x`."""
    whole = _sharding.like(x, x.shape)
    if whole is None:
        return None
    return NamedSharding(whole.mesh, PartitionSpec(whole.spec[dim]))


def _factor(key, size, dtype, sharding):
    """f(n) for `size` normals n, in memory: else each weight would draw two of them."""

    def drawn(key):
        n = _random.normal(key, (size,), dtype, sharding)
        return jnp.sign(n) * jnp.sqrt(jnp.abs(n))

    return _wall.materialised(drawn, key)


def __dir__() -> list[str]:
    return __all__
