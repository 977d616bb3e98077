"""What the spread of predictions says: entropy, information, votes.

Measures of samples (n, ..., classes); `jaxnoise.mc` is where they are public, and says
what they share.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from jaxnoise._core import _check, _dims, _precision


def predictive_entropy(
    samples: ArrayLike,
    *,
    from_logits: bool = False,
    axis: int = 0,
    class_axis: int = -1,
) -> jax.Array:
    """Entropy of the mean prediction, in nats: how uncertain, for whatever reason.

    Law: H = -sum_c P_c log P_c, P = mean_i p_i, 0 log 0 = 0; in [0, log classes].
    What is left of it after `mutual_information` is the mean entropy of a sample.

    Args:
      samples: floating array (n, ..., classes) of probabilities or logits.
      from_logits: whether samples are logits. Those of -inf are probability 0; a sample
        needs one that is finite and none that is +inf, or its result is nan.
      axis: the axis of the samples.
      class_axis: the axis of the classes.

    Returns:
      Array without these two axes, float32 or float64. Gradients are finite: 0 to a
      probability of 0.

    Raises:
      ValueError: a bad axis, no samples, no classes, or, where the values are known,
        probabilities that are negative or do not sum to 1 within 0.01.
      TypeError: samples are not floating.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxnoise import mc
      >>> agree = jnp.array([[0.5, 0.5], [0.5, 0.5]])
      >>> disagree = jnp.array([[1.0, 0.0], [0.0, 1.0]])
      >>> [round(float(mc.predictive_entropy(p)), 3) for p in (agree, disagree)]
      [0.693, 0.693]

    Reference: Shannon, A mathematical theory of communication, Bell System Technical
    Journal 27, 1948; Gal, Ghahramani, Dropout as a Bayesian approximation, ICML 2016,
    https://arxiv.org/abs/1506.02142.
    """
    name = "predictive_entropy"
    samples, axes = _samples(name, samples, axis, class_axis)
    if not from_logits:
        check_probabilities(name, "samples", samples, axes[1])
    return _entropy(samples, from_logits=bool(from_logits), axes=axes)


@functools.partial(jax.jit, static_argnames=("from_logits", "axes"))
def _entropy(samples, *, from_logits, axes):
    p = _mean_of_first(_ordered(samples, from_logits, axes))
    none = jnp.abs(p) < _tiny(p)
    safe = jnp.where(none, 1, p)
    return _not_below_zero(-jnp.where(none, 0, safe * jnp.log(safe)).sum(-1))


def mutual_information(
    samples: ArrayLike,
    *,
    from_logits: bool = False,
    axis: int = 0,
    class_axis: int = -1,
) -> jax.Array:
    """Mutual information of prediction and noise (BALD), in nats: disagreement.

    Law: I = H(mean_i p_i) - mean_i H(p_i) = mean_i KL(p_i || P), P = mean_i p_i; in
    [0, min(log classes, log n)]. It is the part of `predictive_entropy` that more data
    would lower; it is 0 where all samples agree, however uncertain they are.

    It is summed as mean_i sum_c (p log(p / P) - p + P), whose terms are not negative
    and are small where p is near P: no difference of two entropies, so it keeps its
    digits when it is small. Terms below 0 are rounding, and are set to 0.

    Args:
      samples: floating array (n, ..., classes) of probabilities or logits.
      from_logits: whether samples are logits. Those of -inf are probability 0; a sample
        needs one that is finite and none that is +inf, or its result is nan.
      axis: the axis of the samples.
      class_axis: the axis of the classes.

    Returns:
      Array without these two axes, float32 or float64, never negative. Gradients are
      finite, with log(p / P) = 0 where p is 0.

    Raises:
      ValueError: a bad axis, no samples, no classes, or, where the values are known,
        probabilities that are negative or do not sum to 1 within 0.01.
      TypeError: samples are not floating.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxnoise import mc
      >>> agree = jnp.array([[0.5, 0.5], [0.5, 0.5]])
      >>> disagree = jnp.array([[1.0, 0.0], [0.0, 1.0]])
      >>> [round(float(mc.mutual_information(p)), 3) for p in (agree, disagree)]
      [0.0, 0.693]

    Reference: Houlsby, Huszar, Ghahramani, Lengyel, Bayesian active learning for
    classification and preference learning, 2011, https://arxiv.org/abs/1112.5745.
    """
    name = "mutual_information"
    samples, axes = _samples(name, samples, axis, class_axis)
    if not from_logits:
        check_probabilities(name, "samples", samples, axes[1])
    return _information(samples, from_logits=bool(from_logits), axes=axes)


@functools.partial(jax.jit, static_argnames=("from_logits", "axes"))
def _information(samples, *, from_logits, axes):
    p = _ordered(samples, from_logits, axes)
    center = _mean_of_first(p)[None]
    away = p - center
    none = jnp.abs(p) < _tiny(p)
    base = jnp.where(jnp.abs(center) < _tiny(p), 1, center)
    # log(p / P), from the difference where that is the more exact of the two; not where
    # the square of P, which is in its gradient, is denormal
    near = (jnp.abs(away) < base / 2) & (base > jnp.sqrt(_tiny(p)))
    close = jnp.log1p(jnp.where(near, away, 0) / jnp.where(near, base, 1))
    far = jnp.log(jnp.where(near | none, 1, p)) - jnp.log(jnp.where(near, 1, base))
    terms = jnp.where(none, center, p * jnp.where(near, close, far) - away)
    return _not_below_zero(terms).sum(-1).mean(0)


def variation_ratio(
    samples: ArrayLike, *, axis: int = 0, class_axis: int = -1
) -> jax.Array:
    """Fraction of the samples that do not vote for the class most voted for.

    Law: v = 1 - max_c f_c / n, f_c the number of samples whose largest entry is class
    c, the first of equal ones; in [0, 1 - 1 / min(n, classes)].

    Args:
      samples: floating array (n, ..., classes), logits or probabilities alike.
      axis: the axis of the samples.
      class_axis: the axis of the classes.

    Returns:
      Array without these two axes, float32 or float64; nan where a sample has one. Its
      gradient is 0: it counts.

    Raises:
      ValueError: a bad axis, no samples or no classes.
      TypeError: samples are not floating.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxnoise import mc
      >>> votes = jnp.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.4, 0.6]])
      >>> float(mc.variation_ratio(votes))
      0.25

    Reference: Freeman, Elementary applied statistics, Wiley, 1965.
    """
    samples, axes = _samples("variation_ratio", samples, axis, class_axis)
    return _variation(samples, axes=axes)


@functools.partial(jax.jit, static_argnames=("axes",))
def _variation(samples, *, axes):
    ordered = jnp.moveaxis(samples, axes, (0, -1))
    votes = jax.nn.one_hot(ordered.argmax(-1), ordered.shape[-1], dtype=np.int32)
    # not len, which a symbolic size has not
    count = ordered.shape[0]
    others = count - votes.sum(0).max(-1)
    ratio = others.astype(_precision.wide_dtype(samples)) / count
    return jnp.where(jnp.isnan(ordered).any((0, -1)), jnp.nan, ratio)


def sample_axis(function: str, samples: jax.Array, axis: int) -> int:
    """The axis of the samples, of which there is one at least."""
    (dim,) = _dims.normalized(function, "axis", axis, samples.ndim)
    if samples.shape[dim] == 0:
        raise ValueError(
            f"{function}: samples must have at least one sample on axis {axis}, got "
            f"shape {samples.shape}."
        )
    return dim


def _samples(
    function: str, samples: ArrayLike, axis: int, class_axis: int
) -> tuple[jax.Array, tuple[int, int]]:
    """Samples as an array, and its axes of samples and of classes."""
    array = _check.floating(function, samples, allow_complex=False, name="samples")
    if array.ndim < 2:
        raise ValueError(
            f"{function}: samples must be (n, ..., classes), got shape {array.shape}. "
            f"For the probability p of one of two classes stack [1 - p, p]."
        )
    dim = sample_axis(function, array, axis)
    (classes,) = _dims.normalized(function, "class_axis", class_axis, array.ndim)
    if classes == dim:
        raise ValueError(
            f"{function}: class_axis must not be the axis of the samples, got axis "
            f"{axis} and class_axis {class_axis} for shape {array.shape}."
        )
    if array.shape[classes] == 0:
        raise ValueError(
            f"{function}: samples must have at least one class on axis {class_axis}, "
            f"got shape {array.shape}."
        )
    return array, (dim, classes)


def check_probabilities(function: str, name: str, values: jax.Array, dim: int):
    """Refuse what is known not to be probabilities; nan passes, and gives nan."""
    if isinstance(values, Tracer):
        return
    # known inside of a jitted function, too
    with jax.ensure_compile_time_eval():
        lowest, off = (float(number) for number in _improbable(values, dim=dim))
    if lowest < 0 or off > 0.01:
        raise ValueError(
            f"{function}: {name} must be probabilities that sum to 1 over the classes, "
            f"got values down to {lowest:.4g} and sums up to {off:.4g} away from 1. "
            f"For logits pass from_logits=True."
        )


@functools.partial(jax.jit, static_argnames=("dim",))
def _improbable(values, *, dim):
    wide = values.astype(_precision.wide_dtype(values))
    off = jnp.abs(wide.sum(dim) - 1)
    return wide.min(initial=0), off.max(initial=0)


def _ordered(samples, from_logits, axes):
    """Wide probabilities (n, ..., classes)."""
    return jnp.moveaxis(probabilities(samples, from_logits, axes[1]), axes, (0, -1))


def probabilities(values, from_logits, dim):
    """Wide probabilities; nan for what is negative, which logits taken for them are."""
    wide = values.astype(_precision.wide_dtype(values))
    if from_logits:
        return jax.nn.softmax(wide, dim)
    return jnp.where(wide < 0, jnp.nan, wide)


def _mean_of_first(values):
    """Mean over the first axis; exactly the value where all are equal.

    XLA divides by n as a product with 1 / n: 47 ones have the mean 1 - 2^-24.
    """
    return values[0] + (values - values[:1]).mean(0)


def _tiny(values):
    """Below it numbers are denormal, which some backends take for 0 and some do not."""
    return jnp.finfo(values.dtype).tiny


def _not_below_zero(values):
    """0 for what rounding took below it; nan stays, and so does a gradient at 0."""
    return jnp.where(values < 0, 0, values)
