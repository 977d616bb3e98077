"""Whether confidence is how often a prediction is right."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from jaxnoise._core import _arrays, _check, _dims, _integers
from jaxnoise.mc import _uncertainty


def expected_calibration_error(
    predictions: ArrayLike,
    labels: ArrayLike,
    *,
    n_bins: int = 15,
    from_logits: bool = False,
    class_axis: int = -1,
) -> jax.Array:
    """How far confidence is from accuracy, on average over bins of confidence.

    Law: ECE = sum_m |B_m| / N |acc(B_m) - conf(B_m)|, with conf the largest
    probability of a prediction and acc the fraction whose class, the first of equal
    ones, is the label. Bin m of M holds confidences in ((m - 1) / M, m / M], with the
    edges rounded to the dtype of the computation; empty bins count nothing.

    Args:
      predictions: floating array (..., classes) of probabilities or logits, without an
        axis of samples: `mean` of the probabilities is what Monte Carlo predicts.
      labels: integer array (...) of classes, in [0, classes). Under jit, where they
        are not checked, others count as wrong.
      n_bins: number of bins of equal width, at least 1.
      from_logits: whether predictions are logits.
      class_axis: the axis of the classes.

    Returns:
      Scalar in [0, 1], float32 or float64, over all predictions at once.

    Raises:
      ValueError: labels of another shape, no predictions, no classes, a bad axis or
        n_bins, or, where the values are known, labels outside [0, classes) or
        probabilities that are negative or do not sum to 1 within 0.01.
      TypeError: predictions are not floating, or labels or n_bins are not integers.

    Sharp bits: it is biased upwards, the more so the fewer predictions a bin has, and
    the mean over batches is not that of the whole. The gradient is that of the
    confidences within their bins.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxnoise import mc
      >>> predictions = jnp.array([[0.75, 0.25], [0.75, 0.25]])
      >>> float(mc.expected_calibration_error(predictions, jnp.array([0, 1])))
      0.25

    Reference: Guo, Pleiss, Sun, Weinberger, On calibration of modern neural networks,
    ICML 2017, https://arxiv.org/abs/1706.04599.
    """
    name = "expected_calibration_error"
    predictions = _check.floating(
        name, predictions, allow_complex=False, name="predictions"
    )
    (dim,) = _dims.normalized(name, "class_axis", class_axis, predictions.ndim)
    n_bins = _integers.count(name, "n_bins", n_bins)
    if predictions.size == 0:
        raise ValueError(
            f"{name}: predictions must have at least one prediction and one class, got "
            f"shape {predictions.shape}."
        )
    labels = _arrays.array(name, "labels", labels)
    if not jnp.issubdtype(labels.dtype, np.integer):
        raise TypeError(f"{name}: labels must be integers, got {labels.dtype}.")
    wanted = predictions.shape[:dim] + predictions.shape[dim + 1 :]
    if labels.shape != wanted:
        raise ValueError(
            f"{name}: labels must have shape {wanted}, that of predictions without the "
            f"classes, got {labels.shape}. For one-hot labels pass their argmax."
        )
    classes = predictions.shape[dim]
    if not isinstance(labels, Tracer):
        # known inside of a jitted function, too
        with jax.ensure_compile_time_eval():
            low, high = (int(number) for number in _extent(labels))
        if low < 0 or high >= classes:
            raise ValueError(
                f"{name}: labels must be in [0, {classes}), got values from {low} to "
                f"{high}. Leave out predictions that have no label."
            )
    if not from_logits:
        _uncertainty.check_probabilities(name, "predictions", predictions, dim)
    return _calibration(
        predictions, labels, n_bins=n_bins, from_logits=bool(from_logits), dim=dim
    )


@functools.partial(jax.jit, static_argnames=("n_bins", "from_logits", "dim"))
def _calibration(predictions, labels, *, n_bins, from_logits, dim):
    p = _uncertainty.probabilities(predictions, from_logits, dim)
    # said outright, for XLA on CPU has made -inf of the maximum of nothing but nan
    confidence = jnp.where(jnp.isnan(p).any(dim), jnp.nan, p.max(dim)).reshape(-1)
    # the class of the logits themselves: softmax makes some of them equal
    right = (predictions.argmax(dim) == labels.astype(np.int32)).reshape(-1)
    edges = (np.arange(1, n_bins) / n_bins).astype(confidence.dtype)
    bins = jnp.searchsorted(edges, confidence)
    # sums over all rows for each bin, not a scatter, whose order is free on a GPU
    inside = bins[:, None] == np.arange(n_bins)[None]
    gap = (right.astype(confidence.dtype) - confidence)[:, None]
    return jnp.abs(jnp.where(inside, gap, 0).sum(0)).sum() / confidence.shape[0]


@jax.jit
def _extent(labels):
    return labels.min(), labels.max()
