"""The nnx layers: in the place of flax's, and each over its pure function."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from catalogue import AMOUNTS as LAYERS
from catalogue import FUNCTIONS
from data import normal, some_kernel
from flax import nnx

import jaxnoise.nnx as jnx

X = normal(1, 8, 6, 5, 4)


def key(number=0):
    return jax.random.key(number)


def build(name, **more):
    amounts, options = LAYERS[name]
    return getattr(jnx, name)(*amounts, **options, **more)


@pytest.mark.parametrize("name", LAYERS)
def test_layer_is_its_function(name):
    amounts, options = LAYERS[name]
    expected = FUNCTIONS[name](key(), X, *amounts, **options)
    np.testing.assert_array_equal(build(name)(X, rngs=key()), expected)
    assert build(name)(X, deterministic=True) is X


@pytest.mark.parametrize("name", LAYERS)
def test_streams_views_and_splits(name):
    layer = build(name, rngs=nnx.Rngs(0))
    assert not (layer(X) == layer(X)).all()
    assert nnx.view(layer, deterministic=True)(X) is X
    assert not (nnx.view(layer, deterministic=False)(X) == X).all()
    layer.eval()
    assert layer(X) is X
    layer.train()
    copy = nnx.clone(layer)
    np.testing.assert_array_equal(layer(X), copy(X))
    merged = nnx.merge(*nnx.split(nnx.clone(layer)))
    np.testing.assert_array_equal(layer(X), merged(X))
    assert "deterministic" in nnx.view_info(layer)


@pytest.mark.parametrize("name", LAYERS)
def test_errors(name):
    amounts, options = LAYERS[name]
    with pytest.raises(ValueError, match=f"{name}: deterministic is missing.*nnx.view"):
        build(name, deterministic=None)(X)
    with pytest.raises(ValueError, match=rf"{name}: .* provided to {name}.*rngs=nnx"):
        build(name)(X)
    with pytest.raises(TypeError, match=f"{name}: rngs must be nnx.Rngs.*got 0"):
        build(name, rngs=0)
    with pytest.raises(TypeError, match=f"{name}: rngs must be nnx.Rngs.*got 0"):
        build(name)(X, rngs=0)
    with pytest.raises(ValueError, match=rf"{name}: \w+ must be .*got -1"):
        getattr(jnx, name)(-1, *amounts[1:], **options)


@pytest.mark.parametrize("dropout", [nnx.Dropout, jnx.Dropout])
def test_errors_say_what_those_of_flax_say(dropout):
    """Whoever looks for the words of flax finds ours, beside the mend."""
    layer = dropout(0.5, deterministic=False)
    words = "`deterministic` is False, but no `rngs` argument was provided to Dropout"
    for view in (layer, nnx.view(layer, deterministic=False)):
        with pytest.raises(ValueError, match=words):
            view(X)
    words = "No `deterministic` argument was provided to Dropout"
    with pytest.raises(ValueError, match=words):
        dropout(0.5, deterministic=None)(X)


@pytest.mark.parametrize("dropout", [nnx.Dropout, jnx.Dropout])
def test_streams_count_as_those_of_flax(dropout):
    """What draws advances its stream by one, in a jit that is traced once for each."""
    own = dropout(0.5, rngs=nnx.Rngs(dropout=0))
    given, rngs = dropout(0.5), nnx.Rngs(dropout=0).fork()
    traces = []

    @nnx.jit
    def call(layer, x, rngs=None):
        traces.append(layer)
        return layer(x, rngs=rngs)

    for count in (1, 2):
        np.testing.assert_array_equal(call(own, X), call(given, X, rngs))
        assert own.rngs.count[...] == rngs.dropout.count[...] == count
    assert len(traces) == 2
    assert given(X, deterministic=True) is X
    given.set_attributes(deterministic=True)
    assert given(X) is X
    drawn = given(X, deterministic=False, rngs=nnx.Rngs(dropout=0))
    assert not (drawn == X).all()


class Model(nnx.Module):
    """Every way to construct and call flax's Dropout that does not fail."""

    def __init__(self, dropout, rngs):
        self.first = nnx.Linear(4, 16, kernel_init=some_kernel, rngs=rngs)
        self.second = nnx.Linear(16, 3, kernel_init=some_kernel, rngs=rngs)
        self.a = dropout(0.3, rngs=rngs)
        self.b = dropout(rate=0.5, broadcast_dims=[1, 2], deterministic=False)
        self.c = dropout(0.25, rng_collection="other", rngs=rngs)
        self.d = dropout(1.0)
        self.e = dropout(0.0)
        self.f = dropout(0.4, rngs=rngs["noise"])

    def __call__(self, x, rngs):
        x = self.a(jax.nn.relu(self.first(x)))
        x = self.b(x, rngs=rngs)
        x = self.c(self.e(self.f(x)), deterministic=False)
        return self.second(x) + self.d(x, rngs=rngs)[..., :3]


def models():
    return [
        Model(dropout, nnx.Rngs(0, dropout=1, other=2, noise=3))
        for dropout in (nnx.Dropout, jnx.Dropout)
    ]


def test_in_a_model_outputs_are_those_of_flax_to_the_bit():
    theirs, ours = models()
    for call in (lambda m, r: m(X, r), nnx.jit(lambda m, r: m(X, r))):
        rngs = [nnx.Rngs(dropout=5) for _ in range(2)]
        for _ in range(3):
            np.testing.assert_array_equal(call(ours, rngs[0]), call(theirs, rngs[1]))
            ours, theirs = (nnx.merge(*nnx.split(m)) for m in (ours, theirs))
        # the same number of keys was taken from the caller's streams
        assert rngs[0].dropout.count[...] == rngs[1].dropout.count[...]


def test_in_a_model_gradients_are_those_of_flax_to_the_bit():
    def gradients(m):
        @nnx.jit
        def run(m, x):
            return nnx.grad(lambda m: (m(x, nnx.Rngs(dropout=5)) ** 2).mean())(m)

        return jax.tree.leaves(nnx.state(run(m, X), nnx.Param))

    theirs, ours = map(gradients, models())
    assert len(theirs) == 4
    chex.assert_trees_all_equal(ours, theirs)


def test_vmapped_streams_give_each_example_its_own_noise():
    @nnx.vmap(in_axes=(0, None))
    def call(rngs, x):
        return jnx.Dropout(0.5)(x, rngs=rngs)

    y = call(nnx.Rngs(0).split(4), jnp.ones(64))
    assert len({np.asarray(row).tobytes() for row in y}) == 4


def test_a_call_with_rngs_wins_over_the_constructor():
    layer = jnx.Dropout(0.5, rngs=nnx.Rngs(0))
    y = layer(X, rngs=nnx.Rngs(dropout=7))
    expected = nnx.Dropout(0.5)(X, rngs=nnx.Rngs(dropout=7))
    np.testing.assert_array_equal(y, expected)
    stream = nnx.Rngs(dropout=7).dropout
    np.testing.assert_array_equal(layer(X, rngs=stream), expected)


@pytest.mark.parametrize("bad", ["a", None, -1.0, 1.5, [0.5]])
def test_an_amount_that_is_set_later_is_refused_by_name(bad):
    layer = jnx.Dropout(0.5, rngs=nnx.Rngs(0))
    layer.rate = bad
    with pytest.raises((TypeError, ValueError), match="dropout: rate must be"):
        layer(X)
