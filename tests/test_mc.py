"""Monte-Carlo prediction and its measures against NumPy in float64 and Python loops.

Inputs share one shape as far as they can: what these tests cost is compilation.
"""

import functools

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxnoise as jn
import jaxnoise.linen as jnn
import jaxnoise.nnx as jnx
from jaxnoise import mc

X = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def key():
    return jax.random.key(7)


def noisy(key):
    """Noise alone, and noise that went through a matmul."""
    y = jn.dropout(key, jnp.asarray(X), 0.5)
    return {"noise": y, "sums": (y @ jnp.ones((3, 5)),)}


def compilations():
    """A list that grows by one with every compilation from now on."""
    seen = []

    def listen(name, duration, **_):
        seen.extend([name] if name.endswith("backend_compile_duration") else [])

    jax.monitoring.register_event_duration_secs_listener(listen)
    return seen


class Net(nnx.Module):
    """Two places of noise, with streams of their own or those of the call."""

    def __init__(self, rngs):
        self.first = jnx.Dropout(0.5, rngs=rngs)
        self.second = jnx.GaussianNoise(0.5, rngs=rngs)

    def __call__(self, x, rngs=None):
        return self.second(self.first(x, rngs=rngs), rngs=rngs)


class PerExample(eqx.Module):
    def __call__(self, x, key):
        return jn.drop_path(key, x, 0.5, batch_dims=0)


def models():
    """One noisy pass of a model of each framework, as the README has them."""
    linen = nn.Sequential([jnn.Dropout(0.5, deterministic=False)])
    net, rnn = Net(nnx.Rngs(0, dropout=1)), nnx.Rngs(0, dropout=1)
    rnn = jnx.RNN(jnx.GRUCell(3, 2, input_rate=0.5, rngs=rnn), rngs=rnn)

    def copied(model, x):
        def once(key):
            copy = nnx.clone(model)
            nnx.reseed(copy, dropout=key)
            return copy(x)

        return once

    return {
        "linen": lambda key: linen.apply({}, X, rngs={"dropout": key}),
        "nnx, rngs at the call": lambda key: net(X, rngs=nnx.Rngs(dropout=key)),
        "nnx, an RNN with rngs at the call": lambda key: rnn(
            X[None], rngs=nnx.Rngs(dropout=key)
        ),
        "nnx, a copy": copied(net, X),
        "nnx, a copy of an RNN": copied(rnn, X[None]),
        "equinox": lambda key: jax.vmap(PerExample())(X, jax.random.split(key, 4)),
    }


@pytest.mark.parametrize("name", models())
def test_models_of_all_frameworks(name):
    once = models()[name]
    samples = np.asarray(mc.predict(once, key(), 5, chunk=2))
    loop = np.stack([once(k) for k in jax.random.split(key(), 5)])
    np.testing.assert_allclose(samples, loop, rtol=1e-6, atol=1e-6)
    assert len(np.unique(samples.reshape(5, -1), axis=0)) > 1


class TestPredict:
    def test_is_a_loop_over_the_split_keys(self):
        fn = jax.jit(noisy)
        one_by_one = [fn(k) for k in jax.random.split(key(), 7)]
        expected = jax.tree.map(lambda *ys: np.stack(ys), *one_by_one)
        found = [mc.predict(fn, key(), 7, chunk=chunk) for chunk in (None, 3, 100)]
        found.append(jax.jit(lambda k: mc.predict(noisy, k, 7, chunk=3))(key()))
        for y in found:
            assert jax.tree.structure(y) == jax.tree.structure(expected)
            np.testing.assert_array_equal(y["noise"], expected["noise"])
            (sums,), (e,) = y["sums"], expected["sums"]
            np.testing.assert_allclose(sums, e, rtol=1e-6, atol=1e-6)

    def test_one_sample_and_chunks_of_one(self):
        @jax.jit
        def found(k):
            cases = ((7, None), (7, 1), (1, None), (1, 5))
            bits, again = jax.random.bits, jax.random.clone
            return [mc.predict(bits, again(k), n, chunk=c) for n, c in cases]

        whole, ones, single, same = (np.asarray(y) for y in found(key()))
        assert len(set(whole.tolist())) == 7 and (ones == whole).all()
        assert single.shape == (1,) and same == single
        keys = jax.random.split(key(), 1)
        np.testing.assert_array_equal(single, jax.vmap(jax.random.bits)(keys))

    def test_chunks_are_of_one_size_and_no_larger_than_asked(self):
        seen = []

        def fn(k):
            seen.append(1)
            return jax.random.normal(k, (3,))

        # 10 keys by 4 are chunks of 4: traced once, and the last filled up
        jaxpr = str(jax.make_jaxpr(lambda k: mc.predict(fn, k, 10, chunk=4))(key()))
        assert len(seen) == 1 and "length=3" in jaxpr and "f32[4,3]" in jaxpr
        # 9 keys by 4 need 3 chunks as well: of 3, with nothing to throw away
        jaxpr = str(jax.make_jaxpr(lambda k: mc.predict(fn, k, 9, chunk=4))(key()))
        assert "length=3" in jaxpr and "f32[3,3]" in jaxpr

    def test_a_jitted_fn_compiles_once_and_jit_around_it_too(self):
        traces = []

        @jax.jit
        def fn(k):
            traces.append("fn")
            return jax.random.bits(k)

        @jax.jit
        def around(w, k):
            traces.append("around")
            return mc.predict(lambda k: w + jax.random.bits(k), k, 7, chunk=3)

        compiled = compilations()
        for step in range(3):
            mc.predict(fn, jax.random.key(step), 7, chunk=3)
            around(np.uint32(step), jax.random.key(step))
            if step == 0:
                assert compiled
                compiled.clear()
        assert not compiled
        assert sorted(traces) == ["around", "fn"]

    def test_a_function_that_is_not_jitted_sees_new_parameters(self):
        """A cache of compiled functions would go on with the old ones."""
        offset = np.uint32(0)

        def fn(k):
            return offset + jax.random.bits(k)

        before = mc.predict(fn, key(), 7, chunk=3)
        offset = np.uint32(1)
        after = mc.predict(fn, key(), 7, chunk=3)
        np.testing.assert_array_equal(after, np.asarray(before) + offset)

    def test_gradients_and_vmap_go_through(self):
        """Backward draws again from the keys, which is no reuse by mistake."""

        @jax.jit
        def fn(w, k):
            return (jn.dropout(k, jnp.asarray(X), 0.5) * w) ** 2

        def loss(w):
            return mc.predict(lambda k: fn(w, k), key(), 7, chunk=3).sum()

        for call in (jax.value_and_grad(loss), jax.jit(jax.value_and_grad(loss))):
            value, gradient = call(np.float32(4))
            # a square: w times its gradient is twice its value
            np.testing.assert_allclose(4 * gradient, 2 * value, rtol=1e-5)
        # over keys of two dims: with one, the checker of key reuse has no complaint
        keys = jax.random.split(key(), (2, 3))
        same = jax.random.clone(keys).reshape(6)
        many = jax.vmap(jax.vmap(lambda k: mc.predict(jax.random.bits, k, 5, chunk=2)))
        alone = np.stack([mc.predict(jax.random.bits, k, 5) for k in same])
        np.testing.assert_array_equal(many(keys), alone.reshape(2, 3, 5))

    def test_legacy_keys_and_other_implementations(self):
        with jax.legacy_prng_key("allow"):
            old = mc.predict(jax.random.bits, jax.random.PRNGKey(7), 7, chunk=3)
        new = mc.predict(jax.random.bits, key(), 7, chunk=3)
        np.testing.assert_array_equal(old, new)
        rbg = jax.random.key(0, impl="rbg")
        drawn = jax.eval_shape(lambda k: mc.predict(noisy, k, 7, chunk=3), rbg)
        assert drawn["noise"].shape == (7, 4, 3)

    @pytest.mark.parametrize(
        ("args", "error", "match"),
        [
            ((noisy, 0, 3), TypeError, r"predict: key must be .*jax.random.key\(0\)"),
            ((X, None, 3), TypeError, "predict: fn must be a function of a key"),
            ((noisy, None, 0), ValueError, "predict: n must be at least 1, got 0"),
            ((noisy, None, 2.0), TypeError, "predict: n must be an integer, got 2.0"),
            ((noisy, None, 2, -1), ValueError, "chunk must be at least 1, got -1"),
            ((noisy, None, 2, 1.5), TypeError, "chunk must be an integer, got 1.5"),
        ],
    )
    def test_bad_arguments(self, args, error, match):
        fn, k, n, *rest = args
        k = key() if k is None else k
        with pytest.raises(error, match=match):
            mc.predict(fn, k, n, chunk=rest[0] if rest else None)

    def test_a_batch_of_keys_is_refused(self):
        with pytest.raises(ValueError, match=r"predict: .*batch of keys.*vmap"):
            mc.predict(noisy, jax.random.split(key(), 7), 3)


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
