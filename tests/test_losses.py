"""The losses against NumPy and SciPy in float64, at ordinary and at extreme values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, rel_entr

from jaxnoise import losses

RNG = np.random.default_rng(0)
INF = np.inf


def kl_both_ways(logits1, logits2):
    """Jeffreys' divergence / 2, of float64 probabilities."""
    p, q = (np.exp(log_softmax(np.float64(z), -1)) for z in (logits1, logits2))
    return (rel_entr(p, q) + rel_entr(q, p)).sum(-1) / 2


# --- two passes ---------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-3, 1.0, 10.0])
@pytest.mark.parametrize("away", [0.01, 1.0])
def test_r_drop_is_that_of_scipy(scale, away):
    a = RNG.normal(size=(7, 3, 11)).astype(np.float32) * scale
    b = a + RNG.normal(size=a.shape).astype(np.float32) * scale * away
    # where all differs by little, the rounding of log p, of size 1, is what is left
    rtol = 3e-6 / min(1, scale * away)
    np.testing.assert_allclose(losses.r_drop(a, b), kl_both_ways(a, b), rtol=rtol)
    moved = losses.r_drop(np.moveaxis(a, -1, 0), np.moveaxis(b, -1, 0), axis=0)
    np.testing.assert_allclose(moved, kl_both_ways(a, b), rtol=rtol)


def test_r_drop_knows_no_order_and_no_shift():
    a, b = RNG.normal(size=(2, 5, 4)).astype(np.float32)
    np.testing.assert_array_equal(losses.r_drop(a, b), losses.r_drop(b, a))
    np.testing.assert_allclose(losses.r_drop(a + 8, b), losses.r_drop(a, b), rtol=1e-4)
    assert (losses.r_drop(a, a) == 0).all()
    zero = jax.grad(lambda a, b: losses.r_drop(a, b).sum(), (0, 1))(a, a)
    assert all((np.asarray(g) == 0).all() for g in zero)


EXTREME = {
    "far apart": ([1e4, -1e4, 0.0], [-1e4, 1e4, 0.0], 2e4),
    "both far": ([1e4, -1e4, 0.0], [1e4, -1e4, 0.0], 0.0),
    "a class that is not there": ([-INF, 1.0, 2.0], [-INF, 2.0, 2.0], None),
    "a class of one pass": ([-INF, 1.0, 2.0], [0.0, 1.0, 2.0], INF),
    "one class": ([-INF, 3.0, -INF], [-INF, 5.0, -INF], 0.0),
    "log p of -1e4": ([0.0, -1e4, 0.0], [0.0, 0.0, 0.0], None),
}


@pytest.mark.parametrize("name", EXTREME)
def test_r_drop_at_extreme_logits(name):
    a, b, expected = EXTREME[name]
    a, b = np.float32(a), np.float32(b)
    if expected is None:
        c = np.isfinite(a) & np.isfinite(b)
        p, q = (np.exp(log_softmax(np.float64(z[c]))) for z in (a, b))
        logs = [log_softmax(np.float64(z[c])) for z in (a, b)]
        expected = np.sum((p - q) * (logs[0] - logs[1])) / 2
    value, grads = jax.value_and_grad(losses.r_drop, (0, 1))(a, b)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert all(np.isfinite(g).all() for g in grads)


def test_r_drop_says_nan_where_there_is_no_prediction():
    bad = [[1.0, np.nan], [1.0, INF], [-INF, -INF]]
    assert np.isnan(losses.r_drop(np.float32(bad), np.ones((3, 2), np.float32))).all()


def test_gradients_are_those_of_float64_differences():
    a, b = RNG.normal(size=(2, 6))
    step = 1e-5 * np.eye(6)
    pairs = (
        (losses.r_drop, lambda a: kl_both_ways(a, b)),
        (losses.fraternal, lambda a: ((a - b) ** 2).mean(-1)),
    )
    for loss, reference in pairs:
        slope = (reference(a + step) - reference(a - step)) / 2e-5
        gradient = jax.grad(loss)(np.float32(a), np.float32(b))
        np.testing.assert_allclose(gradient, slope, rtol=1e-4, atol=1e-6)


def test_fraternal_is_that_of_numpy():
    a, b = RNG.normal(size=(2, 4, 5, 6)).astype(np.float32)
    expected = ((np.float64(a) - np.float64(b)) ** 2).mean(-1)
    np.testing.assert_allclose(losses.fraternal(a, b), expected, rtol=1e-5)
    last = losses.fraternal(a, b, axis=1)
    expected = ((np.float64(a) - np.float64(b)) ** 2).mean(1)
    np.testing.assert_allclose(last, expected, rtol=1e-5)


def test_fraternal_with_infinities():
    a = np.float32([[-INF, 1.0], [-INF, 1.0], [INF, 1.0], [1e4, -1e4]])
    b = np.float32([[-INF, 3.0], [0.0, 1.0], [-INF, 1.0], [-1e4, 1e4]])
    value = losses.fraternal(a, b)
    np.testing.assert_allclose(value, [2.0, INF, INF, 4e8], rtol=1e-6)
    total = lambda a, b: losses.fraternal(a, b).sum()  # noqa: E731
    assert all(np.isfinite(g).all() for g in jax.grad(total, (0, 1))(a, b))


# --- activations --------------------------------------------------------------------


def test_ar_is_that_of_numpy():
    h = RNG.normal(size=(3, 5, 4)).astype(np.float32)
    expected = 2 * np.mean(np.float64(h) ** 2)
    value = losses.ar(h, 2.0)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert losses.ar(h * INF, 0) == 0
    assert losses.ar(h[:0], 2.0) == 0


@pytest.mark.parametrize("axis", [0, 1, -2])
def test_tar_is_that_of_numpy(axis):
    h = RNG.normal(size=(3, 5, 4)).astype(np.float32)
    expected = 0.5 * np.mean(np.diff(np.float64(h), axis=axis) ** 2)
    value = losses.tar(h, 0.5, time_axis=axis)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    one = np.take(h, [0], axis=axis)
    value, gradient = jax.value_and_grad(losses.tar)(one, 1.0, time_axis=axis)
    assert value == 0 and (gradient == 0).all()


def test_weights_may_be_traced():
    h = np.ones((1, 2, 1), np.float32) * np.float32([[[1], [3]]])
    call = jax.jit(losses.tar)
    assert [float(call(h, beta)) for beta in (0.5, 2.0)] == [2.0, 8.0]
    assert call._cache_size() == 1


# --- dtypes and errors --------------------------------------------------------------


def test_results_are_wide():
    h = jnp.full((2, 3, 300), 0.1, jnp.bfloat16)
    pair = (h, h * 2)
    results = [
        losses.r_drop(*pair),
        losses.fraternal(*pair),
        losses.ar(h, 1.0),
        losses.tar(h, 1.0),
    ]
    assert all(y.dtype == np.float32 for y in results)
    np.testing.assert_allclose(results[2], float(h[0, 0, 0]) ** 2, rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: losses.r_drop(np.ones((2, 3)), np.ones((3,))),
            ValueError,
            r"r_drop: logits2 must have the shape of logits1, \(2, 3\), got \(3,\)",
        ),
        (
            lambda: losses.r_drop(np.ones((2, 0)), np.ones((2, 0))),
            ValueError,
            "r_drop: logits1 must not be empty on axis -1",
        ),
        (
            lambda: losses.r_drop(np.ones(3, int), np.ones(3)),
            TypeError,
            "r_drop: logits1 must have a floating dtype, got int",
        ),
        (
            lambda: losses.fraternal(np.ones(3), np.ones(3), axis=1),
            ValueError,
            r"fraternal: axis must be in \[-1, 1\)",
        ),
        (
            lambda: losses.ar(np.ones(3), -1.0),
            ValueError,
            "ar: alpha must be finite and at least 0, got -1.0",
        ),
        (
            lambda: losses.tar(np.ones(3), 1.0),
            ValueError,
            r"tar: time_axis must be in \[-1, 1\)",
        ),
        (
            lambda: losses.tar(np.ones((2, 3)), INF),
            ValueError,
            "beta must be finite and at least 0, got inf",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
