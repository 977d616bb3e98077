"""Calibration errors beside loops over examples in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnoise import mc


def softmax(x):
    e = np.exp(np.float64(x) - np.float64(x).max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def calibration_64(p, labels, n_bins):
    """Guo et al. 2017, equation 3, one prediction at a time."""
    p, labels = np.float64(p).reshape(-1, p.shape[-1]), np.ravel(labels)
    sums = [[0, 0.0, 0.0] for _ in range(n_bins)]
    for row, label in zip(p, labels, strict=True):
        for m in range(n_bins):
            if m / n_bins < row.max() <= (m + 1) / n_bins:
                sums[m][0] += 1
                sums[m][1] += row.argmax() == label
                sums[m][2] += row.max()
    assert sum(count for count, _, _ in sums) == len(p)
    return sum(c / len(p) * abs(a / c - s / c) for c, a, s in sums if c)


class TestCalibration:
    PREDICTIONS = np.random.default_rng(2).normal(size=(48, 10, 5)).astype("f4") * 1.5
    LABELS = np.random.default_rng(3).integers(0, 5, (48, 10), dtype=np.int32)

    def error(self, p, labels):
        """Of rows that repeat, to fill the shape of this class."""
        times = 480 // len(p)
        p, labels = np.tile(p, (times, 1)), np.tile(labels, times)
        p, labels = p.reshape(48, 10, 5), labels.reshape(48, 10)
        return mc.expected_calibration_error(np.float32(p), np.int32(labels))

    @pytest.mark.parametrize(("n_bins", "dtype"), [(1, jnp.bfloat16), (15, "float32")])
    def test_is_the_loop(self, n_bins, dtype):
        p, labels = softmax(self.PREDICTIONS).astype(dtype), self.LABELS
        expected = calibration_64(p, labels, n_bins)
        found = mc.expected_calibration_error(p, labels, n_bins=n_bins)
        assert found.shape == () and found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-5)

    def test_logits_another_axis_and_gradient(self):
        @jax.jit
        @jax.value_and_grad
        def moved(x, labels):
            return mc.expected_calibration_error(
                x, labels, from_logits=True, class_axis=-2
            )

        x, labels = self.PREDICTIONS, self.LABELS
        found, gradient = moved(np.moveaxis(x, -1, 1), labels.astype(np.uint8))
        np.testing.assert_allclose(found, calibration_64(softmax(x), labels, 15), 1e-5)
        assert np.isfinite(gradient).all() and np.asarray(gradient).any()

    def test_bins_are_closed_on_the_right(self):
        """On each edge, which is rounded as confidences are, and right above it."""
        edges = (np.arange(4, 15) / 15).astype(np.float32)
        for step in (0, 1):
            confidence = np.nextafter(edges, np.float32(step)) if step else edges
            p = np.full((12, 5), 0, np.float32)
            p[:11, 0], p[:11, 1:] = confidence, (1 - confidence)[:, None] / 4
            # at the middle of the bin below the edge, a row of another gap
            for m, label in ((4, 0), (9, 1)):
                p[11] = 0
                p[11, 0], p[11, 1:] = (m - 0.5) / 15, (1 - (m - 0.5) / 15) / 4
                labels = np.append(np.arange(11) % 2, label)
                gap = (labels == 0) - np.float64(p[:, 0])
                bins = np.append(np.arange(4, 15) + step, m)
                expected = np.abs(np.bincount(bins, gap)).sum() / 12
                np.testing.assert_allclose(self.error(p, labels), expected, rtol=1e-6)

    def test_certain_predictions(self):
        p, right = np.eye(5), np.arange(5)
        assert self.error(p, right) == 0
        assert self.error(p, (right + 1) % 5) == 1

    def test_a_large_set_of_a_calibrated_model(self):
        rng = np.random.default_rng(4)
        confidence = rng.uniform(0.5, 1, 200_000).astype(np.float32)
        labels = (rng.uniform(size=confidence.shape) > confidence).astype(np.int32)
        p = np.stack([confidence, 1 - confidence], -1)
        gap = np.float64(labels == 0) - np.float64(confidence)
        bins = np.ceil(np.float64(confidence) * 15).astype(int)
        expected = np.abs(np.bincount(bins, gap)).sum() / len(p)
        assert expected < 0.01
        call = jax.jit(mc.expected_calibration_error)
        np.testing.assert_allclose(call(p, labels), expected, atol=1e-6)
        # logits taken for probabilities, where they cannot be refused
        assert np.isnan(call(p - 100, labels))

    def test_float64_is_computed_in_float64(self):
        with jax.enable_x64(True):
            p = softmax(self.PREDICTIONS)
            kind = jax.eval_shape(mc.expected_calibration_error, p, self.LABELS)
            assert kind.dtype == np.float64

    def test_bad_arguments(self):
        p, labels = softmax(self.PREDICTIONS).astype(np.float32), self.LABELS
        for args, error, match in (
            ((p, p.astype(np.int32)), ValueError, "their argmax"),
            ((p, labels[:5]), ValueError, r"labels must have shape \(48, 10\), .*\(5,"),
            ((p, labels + 1), ValueError, r"labels must be in \[0, 5\), got .*1 to 5"),
            ((p, labels - 1), ValueError, r"labels must be in \[0, 5\)"),
            ((p, p[..., 0]), TypeError, "labels must be integers, got float32"),
            ((p * 4, labels), ValueError, "predictions must be prob.*from_logits=True"),
            ((p[:0], labels[:0]), ValueError, "at least one prediction"),
            ((labels, labels), TypeError, "predictions must have a floating dtype"),
        ):
            with pytest.raises(error, match=f"expected_calibration_error: .*{match}"):
                mc.expected_calibration_error(*args)
        with pytest.raises(ValueError, match="n_bins must be at least 1, got 0"):
            mc.expected_calibration_error(p, labels, n_bins=0)
