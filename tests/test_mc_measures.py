"""Measures of uncertainty beside their definitions in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnoise import mc

# n is one for which XLA's mean of ones is not one
N, ROWS, CLASSES = 47, 24, 4


def logits(scale=2.0, seed=1, n=N):
    """The same rows for each seed, spread by `scale`."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, ROWS, CLASSES)).astype(np.float32) * np.float32(scale)


def softmax(x):
    e = np.exp(np.float64(x) - np.float64(x).max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def probabilities(scale=2.0):
    return softmax(logits(scale)).astype(np.float32)


def entropy_64(p):
    with np.errstate(divide="ignore", invalid="ignore"):
        return -np.where(p > 0, p * np.log(p), 0).sum(-1)


def information_64(p):
    """From the definition, in long double: float64 would cancel too."""
    p = np.longdouble(p)
    return np.float64(entropy_64(p.mean(0)) - entropy_64(p).mean(0))


MEASURES = (mc.predictive_entropy, mc.mutual_information)


def reference(function, p):
    p = np.float64(p)
    return entropy_64(p.mean(0)) if function is MEASURES[0] else information_64(p)


class TestMeanAndStd:
    def test_of_a_tree_on_any_axis(self):
        x = logits()
        found = mc.std({"a": x, "b": [x[..., 0]]}, ddof=1)
        expected = [np.float64(y).std(0, ddof=1) for y in (x, x[..., 0])]
        np.testing.assert_allclose(found["a"], expected[0], rtol=1e-6)
        np.testing.assert_allclose(found["b"][0], expected[1], rtol=1e-6)
        for function, numpy in ((mc.std, np.std), (mc.mean, np.mean)):
            (found,) = function((x,), axis=-1)
            np.testing.assert_allclose(found, numpy(np.float64(x), -1), 1e-5, 1e-7)

    def test_std_of_equal_samples_is_exactly_zero_with_gradient_zero(self):
        x = np.tile(np.float32([[0.1, 1e8, 3]]), (47, 1))
        value, gradient = jax.jit(jax.value_and_grad(lambda x: mc.std(x).sum()))(x)
        assert value == 0 and not np.asarray(gradient).any()

    def test_std_keeps_its_digits_beside_a_large_mean(self):
        x = np.float32(1e4) + np.arange(141, dtype=np.float32).reshape(47, 3) / 1024
        np.testing.assert_allclose(mc.std(x), np.float64(x).std(0), rtol=1e-6)
        x[0, 0] = np.nan
        np.testing.assert_array_equal(np.isnan(mc.std(x)), [True, False, False])

    @pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float64])
    def test_dtype_comes_back_and_is_computed_wide(self, dtype):
        with jax.enable_x64(True):
            x = (logits() + 8).astype(dtype)
            for function, expected in ((mc.mean, np.mean), (mc.std, np.std)):
                found = function(x)
                assert found.dtype == dtype
                wide = expected(np.asarray(x, np.float64), 0)
                bound = 1e-14 if dtype == jnp.float64 else jnp.finfo(dtype).eps
                np.testing.assert_allclose(np.float64(found), wide, rtol=bound)

    def test_bad_arguments(self):
        x = logits()
        for function in (mc.mean, mc.std):
            name = function.__name__
            with pytest.raises(TypeError, match=f"{name}: samples must have a float"):
                function({"a": np.arange(3)})
            with pytest.raises(ValueError, match=rf"{name}: axis must be in \[-3, 3\)"):
                function(x, axis=3)
            with pytest.raises(ValueError, match=f"{name}: samples must have at least"):
                function(x[:0])
        with pytest.raises(ValueError, match=r"ddof must be in \[0, 47\) for 47 samp"):
            mc.std(x, ddof=47)


def corpus():
    """Rows of probabilities: agreement, disagreement, exact 0 and 1, denormals."""
    p = probabilities()
    p[:, :4] = np.eye(4)  # all samples certain of one class
    p[:, 4:8] = p[0, 4:8]  # all samples alike
    p[:, 8] = np.eye(4)[np.arange(N) % 4]  # all certain, of different classes
    p[:, 9] = [0.5, 0.5, 0, 0]
    p[::2, 10] = [1 - 1e-6, 1e-6, 0, 0]
    p[:, 11] = [1, 0, 0, 0]
    p[:, 11, 1] = np.float32([1e-40, 0, 1.2e-38, 1e-30, 1e-20])[np.arange(N) % 5]
    p[:, 12] = [1, 0, 0, 0]
    p[3, 12] = [0, 0, 1e-30, 1]
    p[3, 9] = [0.2, 0.8, 0, 0]
    p[:, 13] = [1, 1e-40, 1e-39, 0]
    p[:, 14] = [1, 0, 1e-37, 1e-30]
    p[::2, 14, 1:] *= np.float32(1.1)
    return p


def extreme_logits():
    x = logits()
    x[:, 0] = [1e4, -1e4, 0, 1]
    x[::2, 1] = [1e4, -1e4, 0, 1]
    x[:, 2, 0] = -np.inf
    x[::3, 3, 1] = -np.inf
    x[:, 4] = [-np.inf, 5, -np.inf, -np.inf]
    x[::2, 5] = [-np.inf, 5, -np.inf, -np.inf]
    x[:, 6], x[:, 7] = 1e4, -1e4
    return x


class TestEntropies:
    @staticmethod
    @functools.partial(jax.jit, static_argnums=(0, 2))
    def call(function, values, from_logits):
        """A measure and its gradient, compiled once for all that follows."""
        value, back = jax.vjp(lambda v: function(v, from_logits=from_logits), values)
        return value, *back(jnp.ones_like(value))

    @pytest.mark.parametrize("function", MEASURES)
    def test_is_the_definition_and_has_finite_gradients(self, function):
        for values in (probabilities(2), probabilities(20), corpus()):
            found, gradient = self.call(function, values, False)
            expected = reference(function, values)
            assert found.shape == (ROWS,) and found.dtype == np.float32
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=3e-7)
            assert np.isfinite(gradient).all()
        for values in (logits(1), logits(100), extreme_logits()):
            found, gradient = self.call(function, values, True)
            expected = reference(function, softmax(values))
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=5e-7)
            assert np.isfinite(gradient).all()

    def test_small_information_keeps_its_digits(self):
        """The difference of two entropies has an error of 1e-7, more than all of it."""
        base = logits(n=1)
        for spread in (1e-2, 1e-3, 1e-4):
            x = base + logits(spread, seed=2)
            expected = information_64(softmax(x))
            assert expected.max() < 20 * spread**2
            found = mc.mutual_information(x, from_logits=True)
            np.testing.assert_allclose(found, expected, rtol=2e-7 / spread)

    def test_bounds(self):
        for x in (logits(0.1), logits(10), logits(100), extreme_logits()):
            entropy = np.asarray(mc.predictive_entropy(x, from_logits=True))
            information = np.asarray(mc.mutual_information(x, from_logits=True))
            assert (information >= 0).all() and (entropy >= 0).all()
            assert (entropy <= np.log(CLASSES) + 1e-6).all()
            assert (information <= entropy + 1e-6).all()

    def test_information_is_not_negative_where_it_is_all_rounding(self):
        """Unclipped, some of these 720 rows are."""
        for seed in range(30):
            x = logits(n=1, seed=seed) + logits(3e-8, seed=seed + 100)
            information = np.asarray(mc.mutual_information(x, from_logits=True))
            assert (information >= 0).all() and (information < 1e-12).all()

    def test_agreement_and_disagreement(self):
        entropy, information = (np.asarray(f(corpus())) for f in MEASURES)
        assert not entropy[:4].any() and not information[:8].any()
        assert (entropy[4:8] > 0.1).all()
        np.testing.assert_allclose(information[8], entropy[8], rtol=1e-6)

    def test_gradient_to_a_probability_is_that_of_the_law(self):
        p = probabilities()
        p[0, 0] = [0, 1, 0, 0]
        mean = np.float64(p).mean(0)
        with np.errstate(divide="ignore"):
            information = np.where(p > 0, np.log(p / mean), 0) / N
        entropy = np.broadcast_to(-(np.log(mean) + 1) / N, p.shape)
        for function, expected in zip(MEASURES, (entropy, information), strict=True):
            _, gradient = self.call(function, p, False)
            np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-7)

    @pytest.mark.parametrize("function", [*MEASURES, mc.variation_ratio])
    def test_axes_and_vmap(self, function):
        p = probabilities()
        moved = functools.partial(function, axis=-1, class_axis=0)
        found = jax.jit(jax.vmap(moved, in_axes=1))(p.T)
        np.testing.assert_allclose(found, function(p), rtol=1e-6, atol=1e-7)

    @pytest.mark.parametrize(
        ("dtype", "wide", "bound"),
        [(jnp.bfloat16, "float32", 2e-6), (np.float64, "float64", 1e-12)],
    )
    def test_low_precision_is_computed_wide(self, dtype, wide, bound):
        with jax.enable_x64(True):
            p = softmax(logits()).astype(dtype)
            found = mc.mutual_information(p)
            assert found.dtype == wide
            expected = reference(mc.mutual_information, p)
            np.testing.assert_allclose(found, expected, rtol=bound)
            for function in (mc.predictive_entropy, mc.variation_ratio):
                assert jax.eval_shape(function, p).dtype == wide

    @pytest.mark.parametrize("function", MEASURES)
    def test_what_are_not_probabilities(self, function):
        name, x, p = function.__name__, logits(), probabilities()
        for bad in (x, p * np.float32(1.1), p - 1):
            message = f"{name}: samples must be probabilities.*pass from_logits=True"
            with pytest.raises(ValueError, match=message):
                function(bad)
        assert np.isnan(jax.jit(function)(x - 100)).all()
        for values, bad in ((p, np.nan), (x, np.nan), (x, np.inf)):
            marked = values.copy()
            marked[0, 0, 0] = bad
            nan = np.isnan(function(marked, from_logits=values is x))
            np.testing.assert_array_equal(nan, np.arange(ROWS) == 0)

    @pytest.mark.parametrize("function", [*MEASURES, mc.variation_ratio])
    def test_shapes_and_bad_arguments(self, function):
        name, p = function.__name__, probabilities()
        for args, error, match in (
            ((p[0, 0], {}), ValueError, r"samples must be \(n, .*stack \[1 - p, p\]"),
            ((p[:0], {}), ValueError, "at least one sample on axis 0"),
            ((p[..., :0], {}), ValueError, "at least one class on axis -1"),
            ((p, {"class_axis": 0}), ValueError, "class_axis must not be the axis of"),
            ((p, {"axis": 5}), ValueError, r"axis must be in \[-3, 3\)"),
            ((p.astype(int), {}), TypeError, "samples must have a floating dtype"),
            ((p.astype("complex64"), {}), TypeError, "must have a floating dtype"),
        ):
            with pytest.raises(error, match=f"{name}: .*{match}"):
                function(args[0], **args[1])
        for values in (p[:, :0], p[:, 0], p[:, None]):
            kind = jax.eval_shape(function, values)
            assert kind.shape == values.shape[1:-1]


class TestVariationRatio:
    def test_is_the_count(self):
        x = logits()
        x[:, 0] = 1  # ties go to the first class
        x[:, 1] = np.eye(4)[np.arange(N) % 4]
        x[:, 2] = [-np.inf, 1e4, -1e4, -np.inf]
        votes = x.argmax(-1)
        expected = [1 - np.bincount(column).max() / N for column in votes.T]
        assert expected[0] == expected[2] == 0 and expected[1] == 1 - 12 / 47
        found = mc.variation_ratio(x)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
        np.testing.assert_array_equal(
            mc.variation_ratio(softmax(x).astype(np.float32)), found
        )
        x[5, 7, 1] = np.nan
        np.testing.assert_array_equal(
            np.isnan(mc.variation_ratio(x)), np.arange(ROWS) == 7
        )
