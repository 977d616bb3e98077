"""Monte-Carlo prediction: many noisy passes, and what their spread says.

`predict` evaluates a noisy function for n keys; the measures take what it returns,
samples on a leading axis: (n, ..., classes) where classes are predicted. A measure is
computed in float32 (float64 for float64 samples) and comes back so, also for bfloat16
samples: it is for averaging and ranking. Entropies are in nats.

`from_logits` says whether samples are logits or probabilities, the default. Outside
jit, where values are known, probabilities are checked, which waits for them; under jit
what is negative gives nan. The mean over logits is not the mean prediction: take
`jax.nn.softmax` first.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.typing import ArrayLike

from jaxnoise import _arrays, _check, _dims, _integers, _random, _shown, _uncertainty
from jaxnoise._uncertainty import (
    mutual_information,
    predictive_entropy,
    variation_ratio,
)

__all__ = [
    "expected_calibration_error",
    "mean",
    "mutual_information",
    "predict",
    "predictive_entropy",
    "std",
    "variation_ratio",
]


def predict(
    fn: Callable[[jax.Array], Any], key: jax.Array, n: int, *, chunk: int | None = None
) -> Any:
    """Evaluate `fn(key)` for n keys: Monte-Carlo dropout, or any other noise.

    Law: y[i] = fn(jax.random.split(key, n)[i]), by `jax.vmap`; with `chunk`, as a loop
    over chunks of at most that many keys. The chunks have one size, ceil(n / number of
    chunks), so fn is traced once; what the last has too much is thrown away.

    Args:
      fn: function of one PRNG key, with noise on: a closure over parameters and inputs.
      key: PRNG key, consumed.
      n: number of samples, at least 1.
      chunk: how many samples to evaluate at a time, at least 1. It bounds the memory
        that fn needs; the outputs are kept for all n. None is all at a time.

    Returns:
      What fn returns, any pytree, every leaf with a leading axis n.

    Raises:
      ValueError: n or chunk below 1, or a batch of keys.
      TypeError: fn is not callable, n or chunk is not an integer, or key is not a key.

    Sharp bits: fn is not jitted here, for a jit remembered by fn would go on with the
    parameters that it first saw. Call `predict` under jit, with parameters and inputs
    as arguments of the jitted function, as in the example: there the chunks are a
    `jax.lax.map`, and nothing compiles again while shapes and n stay. Outside jit fn
    runs as it is: op by op, or, if it is itself jitted, compiled once for all calls.

    A model of `flax.nnx` counts its draws; made outside fn, it cannot count inside
    `jax.vmap` (flax raises TraceContextError). In fn, call its layers with
    `rngs=nnx.Rngs(dropout=key)`, or make a copy and start its streams from the key:
    `copy = nnx.clone(model)`, then `nnx.reseed(copy, dropout=key)`.

    Noise is that of a Python loop over the keys to the bit. What is computed from it
    is so to the rounding of the batched operations, a matmul for one. Keys of the rbg
    implementation draw otherwise under `jax.vmap`. What else train mode turns on, batch
    statistics for one, is for fn to turn off.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise as jn
      >>> from jaxnoise import mc
      >>> @jax.jit
      ... def samples(w, key, x):
      ...     model = lambda key: jax.nn.softmax(jn.dropout(key, x, 0.5) @ w)
      ...     return mc.predict(model, key, 20, chunk=8)
      >>> samples(jnp.ones((3, 5)), jax.random.key(0), jnp.ones((4, 3))).shape
      (20, 4, 5)

    Reference: Gal, Ghahramani, Dropout as a Bayesian approximation: representing model
    uncertainty in deep learning, ICML 2016, https://arxiv.org/abs/1506.02142.
    """
    if not callable(fn):
        raise TypeError(
            f"predict: fn must be a function of a key, got {_shown.shown(fn)} of type "
            f"{type(fn).__name__}."
        )
    n = _integers.count("predict", "n", n)
    steps = 1
    if chunk is not None:
        steps = -(-n // _integers.count("predict", "chunk", chunk))
    chunks = _split(_check.key("predict", key), n=n, steps=steps)
    if steps == 1:
        return jax.vmap(fn)(chunks[0])
    if isinstance(chunks, Tracer):
        # the checker of key reuse takes a vmapped loop over keys for a second use, and
        # a backward pass may draw from the same keys again: indices, and clones
        def evaluated(index):
            return jax.vmap(fn)(jax.random.clone(chunks[index]))

        stacked = lax.map(evaluated, np.arange(steps, dtype=np.int32))
        return jax.tree.map(lambda y: y.reshape(-1, *y.shape[2:])[:n], stacked)
    # waiting keeps the memory of one chunk in use, not that of all that were dispatched
    parts = [jax.block_until_ready(jax.vmap(fn)(some)) for some in chunks]
    return jax.tree.map(lambda *ys: jnp.concatenate(ys)[:n], *parts)


@functools.partial(jax.jit, static_argnames=("n", "steps"))
def _split(key, *, n, steps):
    """n keys as (steps, size), the last one repeated where they do not fill it."""
    size = -(-n // steps)
    filled = jax.random.split(key, n)[np.minimum(np.arange(steps * size), n - 1)]
    return filled.reshape(steps, size)


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
    wide = jnp.moveaxis(samples, axis, 0).astype(_random.wide_dtype(samples))
    # deviations from one sample first: those of equal samples are 0, not a rounding
    shifted = wide - wide[:1]
    deviation = shifted - shifted.mean(0, keepdims=True)
    variance = (deviation**2).sum(0) / (wide.shape[0] - ddof)
    spread = variance > 0
    root = jnp.sqrt(jnp.where(spread, variance, 1))
    # nan stays nan: no comparison of it is true
    return jnp.where(spread, root, variance).astype(samples.dtype)


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


def __dir__() -> list[str]:
    return __all__
