"""Mean and standard deviation over samples."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from jaxnoise._core import _check, _integers, _precision, _shown
from jaxnoise.mc import _uncertainty


def mean(samples: Any, *, axis: int = 0) -> Any:
    """Mean over the samples: of probabilities, the prediction.

    Args:
      samples: floating or complex array, or a pytree of them, with samples on one axis.
      axis: the axis of the samples.

    Returns:
      Array, or pytree of arrays, without that axis, of the dtype of the samples.

    Raises:
      ValueError: axis outside the array, or no samples.
      TypeError: samples are not floating or complex.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxnoise import mc
      >>> mc.mean(jnp.array([[0.25, 0.75], [0.75, 0.25]])).tolist()
      [0.5, 0.5]

    Reference: Gal, Ghahramani, Dropout as a Bayesian approximation: representing model
    uncertainty in deep learning, ICML 2016, https://arxiv.org/abs/1506.02142.
    """

    def leaf(value):
        value = _check.floating("mean", value, name="samples")
        return jnp.mean(value, _uncertainty.sample_axis("mean", value, axis))

    return jax.tree.map(leaf, samples)


def std(samples: Any, *, axis: int = 0, ddof: int = 0) -> Any:
    """Standard deviation over the samples, element by element.

    Law: s = sqrt(sum (y - mean(y))^2 / (n - ddof)).

    Args:
      samples: floating array, or a pytree of them, with samples on one axis.
      axis: the axis of the samples.
      ddof: 0 for the spread of these n samples, 1 for an unbiased estimate of s^2.

    Returns:
      Array, or pytree of arrays, without that axis, of the dtype of the samples;
      computed in float32 or float64. Equal samples give exactly 0, with gradient 0.

    Raises:
      ValueError: axis outside the array, no samples, or ddof outside [0, n).
      TypeError: samples are not floating, or ddof is not an integer.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxnoise import mc
      >>> mc.std(jnp.array([[1.0, 5.0], [3.0, 5.0]])).tolist()
      [1.0, 0.0]

    Reference: Gal, Ghahramani, 2016, as `mean`.
    """

    def leaf(value):
        value = _check.floating("std", value, allow_complex=False, name="samples")
        dim = _uncertainty.sample_axis("std", value, axis)
        less = _integers.integer("std", "ddof", ddof)
        if not _integers.known(value.shape[dim]):
            _integers.at_least("std", value.shape[dim], less + 1)
        if less < 0 or value.shape[dim] <= less:
            raise ValueError(
                f"std: ddof must be in [0, {value.shape[dim]}) for "
                f"{value.shape[dim]} samples, got {_shown.shown(ddof)}."
            )
        return _std(value, axis=dim, ddof=less)

    return jax.tree.map(leaf, samples)


@functools.partial(jax.jit, static_argnames=("axis", "ddof"))
def _std(samples, *, axis, ddof):
    wide = jnp.moveaxis(samples, axis, 0).astype(_precision.wide_dtype(samples))
    # deviations from one sample first: those of equal samples are 0, not a rounding
    shifted = wide - wide[:1]
    deviation = shifted - shifted.mean(0, keepdims=True)
    variance = (deviation**2).sum(0) / (wide.shape[0] - ddof)
    spread = variance > 0
    root = jnp.sqrt(jnp.where(spread, variance, 1))
    # nan stays nan: no comparison of it is true
    return jnp.where(spread, root, variance).astype(samples.dtype)
