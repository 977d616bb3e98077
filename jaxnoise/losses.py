"""Losses that go with noise: two noisy passes that agree, activations that stay small.

Two passes of one model, with two keys, and a penalty on their difference (`r_drop`,
`fraternal`); and the penalties of AWD-LSTM on what recurrent layers emit (`ar`, `tar`).
Terms to add to a loss, and nothing that draws: the noise is in the passes.

All compute in float32 (float64 for float64) and come back so, also for bfloat16.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import max_dim
from jax.typing import ArrayLike

from jaxnoise._core import _check, _dims, _precision

__all__ = [
    "ar",
    "fraternal",
    "r_drop",
    "tar",
]


def r_drop(logits1: ArrayLike, logits2: ArrayLike, *, axis: int = -1) -> jax.Array:
    """Symmetric Kullback-Leibler divergence of two predictions: the R-Drop loss.

    Law: L = (KL(p || q) + KL(q || p)) / 2 = sum_c (p - q) (log p - log q) / 2, p and q
    the softmax of the two logits, 0 log 0 = 0. It is at least 0, and 0 for equal ones.

    Like the losses of optax it sums over the classes and leaves the rest: take the mean
    over predictions, without padding. The loss of the paper is CE_1 + CE_2 + alpha L,
    with a cross-entropy for each pass and alpha from 0.1 to 5.

    Args:
      logits1: floating array (..., classes), from one pass.
      logits2: the same shape, from another pass with another key.
      axis: the axis of the classes.

    Returns:
      Array (...), one value for each prediction. Gradients reach both passes, and are
      finite for logits of any size. Logits of -inf in both passes are classes that
      are not there; in one of them alone, the loss is inf, with gradient 0.
      nan, +inf, or no finite logit at all give nan.

    Raises:
      ValueError: the shapes differ, there are no classes, or a bad axis.
      TypeError: logits are not floating.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise as jn
      >>> from jaxnoise import losses
      >>> w, x = jnp.ones((5, 3)), jnp.ones((8, 5))
      >>> first, second = jax.random.split(jax.random.key(0))
      >>> logits1 = jn.dropout(first, x, 0.5) @ w
      >>> logits2 = jn.dropout(second, x, 0.5) @ w
      >>> losses.r_drop(logits1, logits2).shape
      (8,)

    Reference: Liang, Wu, Li, Wang, Meng, Qin, Chen, Zhang, Liu, R-Drop: regularized
    dropout for neural networks, NeurIPS 2021, https://arxiv.org/abs/2106.14448.
    """
    a, b, dim = _two("r_drop", ("logits1", "logits2"), logits1, logits2, axis)
    return _symmetric_kl(a, b, dim=dim)


@functools.partial(jax.jit, static_argnames=("dim",))
def _symmetric_kl(logits1, logits2, *, dim):
    a, b = (jax.nn.log_softmax(logits, dim) for logits in (logits1, logits2))
    change, apart = _difference(a, b)
    # p - q = (p + q) tanh(change / 2): no digits are lost where the two are close, and
    # no term is negative
    terms = (jnp.exp(a) + jnp.exp(b)) * jnp.tanh(change / 2) * change
    return jnp.where(apart.any(dim), jnp.inf, terms.sum(dim) / 2)


def fraternal(h1: ArrayLike, h2: ArrayLike, *, axis: int = -1) -> jax.Array:
    """Mean squared difference of two passes: the fraternal dropout loss.

    Law: L = mean_c (h1 - h2)^2.

    It is the mean over the features alone: take the mean over rows and steps, without
    padding. The loss of the paper is (CE_1 + CE_2) / 2 + kappa mean(L), for two passes
    from the same state, with h the logits before the softmax. With one cross-entropy it
    is the Pi-model; with the second pass deterministic as well, expectation-linear
    dropout.

    Args:
      h1: floating array (..., features): logits, or any output, of one pass.
      h2: the same shape, from another pass with another key.
      axis: the axis of the features.

    Returns:
      Array (...). Gradients reach both passes. Infinities that are equal in both, such
      as masked logits, differ by 0; others give inf, with gradient 0.

    Raises:
      ValueError: the shapes differ, there are no features, or a bad axis.
      TypeError: h1 or h2 is not floating.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxnoise import losses
      >>> h1, h2 = jnp.array([[1.0, 2.0]]), jnp.array([[1.0, 4.0]])
      >>> losses.fraternal(h1, h2).tolist()
      [2.0]

    Reference: Zolna, Arpit, Suhubdy, Bengio, Fraternal dropout, ICLR 2018,
    https://arxiv.org/abs/1711.00066.
    """
    a, b, dim = _two("fraternal", ("h1", "h2"), h1, h2, axis)
    return _mean_square(a, b, dim=dim)


@functools.partial(jax.jit, static_argnames=("dim",))
def _mean_square(h1, h2, *, dim):
    change, apart = _difference(h1, h2)
    return jnp.where(apart.any(dim), jnp.inf, (change**2).mean(dim))


def ar(outputs: ArrayLike, alpha: ArrayLike) -> jax.Array:
    """Activation regularization of AWD-LSTM: a penalty on large activations.

    Law: L = alpha mean(h^2), the mean over all elements.

    AWD-LSTM takes the output of the last recurrent layer with its dropout on it, as the
    decoder gets it, and alpha = 2.

    Args:
      outputs: floating array of any shape, after the dropout.
      alpha: weight of the penalty, finite and at least 0; 0 is off. A traced one is not
        checked.

    Returns:
      Scalar; 0 for no elements.

    Raises:
      ValueError: a known alpha that is negative or not finite.
      TypeError: outputs are not floating.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxnoise import losses
      >>> float(losses.ar(jnp.array([1.0, 3.0]), 2.0))
      10.0

    Reference: Merity, McCann, Socher, Revisiting activation regularization for language
    RNNs, 2017, https://arxiv.org/abs/1708.01009.
    """
    name = "ar"
    outputs = _check.floating(name, outputs, allow_complex=False, name="outputs")
    return _weighted(_check.magnitude(name, "alpha", alpha), outputs)


def tar(outputs: ArrayLike, beta: ArrayLike, *, time_axis: int = 1) -> jax.Array:
    """Temporal activation regularization of AWD-LSTM: a penalty on changes over time.

    Law: L = beta mean((h_{t+1} - h_t)^2), the mean over all differences.

    AWD-LSTM takes the raw output of the last recurrent layer, before the dropout, which
    would count as a change where masks differ over time, and beta = 1.

    Args:
      outputs: floating array, (batch, time, features) or any other with a time axis,
        before the dropout.
      beta: weight of the penalty, finite and at least 0; 0 is off. A traced one is not
        checked.
      time_axis: the axis of the steps.

    Returns:
      Scalar; 0 for a single step.

    Raises:
      ValueError: a known beta that is negative or not finite, or a bad axis.
      TypeError: outputs are not floating.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxnoise import losses
      >>> h = jnp.array([[[1.0], [3.0], [3.0]]])
      >>> float(losses.tar(h, 1.0))
      2.0

    Reference: Merity, McCann, Socher, 2017, as `ar`.
    """
    name = "tar"
    outputs = _check.floating(name, outputs, allow_complex=False, name="outputs")
    (dim,) = _dims.normalized(name, "time_axis", time_axis, outputs.ndim)
    weight = _check.magnitude(name, "beta", beta)
    return _weighted(weight, jnp.diff(_wide(outputs), axis=dim))


def _weighted(weight, values):
    """weight mean(values^2); 0 where there are no values, and for weight 0."""
    wide = _wide(values)
    if _check.known(weight, 0):
        return jnp.zeros((), wide.dtype)
    mean = jnp.sum(wide**2) / max_dim(1, wide.size)
    return jnp.asarray(weight, wide.dtype) * mean


def _wide(values):
    return values.astype(_precision.wide_dtype(values))


def _two(function, names, first, second, axis):
    """Two wide arrays of one shape, and the axis to reduce."""
    arrays = [
        _check.floating(function, value, allow_complex=False, name=name)
        for name, value in zip(names, (first, second), strict=True)
    ]
    a, b = arrays
    if a.shape != b.shape:
        raise ValueError(
            f"{function}: {names[1]} must have the shape of {names[0]}, {a.shape}, got "
            f"{b.shape}. They are two passes over the same inputs."
        )
    (dim,) = _dims.normalized(function, "axis", axis, a.ndim)
    if a.shape[dim] == 0:
        raise ValueError(
            f"{function}: {names[0]} must not be empty on axis {axis}, got shape "
            f"{a.shape}."
        )
    wide = np.promote_types(*(_precision.wide_dtype(array) for array in arrays))
    return a.astype(wide), b.astype(wide), dim


def _difference(a, b):
    """a - b, with 0 in the place of infinities, and where these are not the same."""
    infinite = jnp.isinf(a) | jnp.isinf(b)
    change = jnp.where(infinite, 0, a) - jnp.where(infinite, 0, b)
    return change, infinite & (a != b)


def __dir__() -> list[str]:
    return __all__
