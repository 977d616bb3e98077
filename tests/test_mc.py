"""Monte-Carlo predictions: a loop over keys, for models of all frameworks."""

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


@functools.cache
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
    loop = np.stack([*map(jax.jit(once), jax.random.split(key(), 5))])
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
