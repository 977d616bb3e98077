"""Other noises in the place of the dropouts of linen models."""

import functools
import threading
import warnings

import chex
import flax.linen as nn
import jax
import numpy as np
import pytest
from flax import errors
from variants import VARIANTS, X, given, key

import jaxnoise as jn
import jaxnoise.linen as jnn


class FinalDropout(nn.Dropout):
    """With another call, as models have it."""

    @nn.compact
    def __call__(self, x, train):
        return super().__call__(x, deterministic=not train)


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        x = nn.Dense(8)(x)
        return nn.Dropout(0.4, deterministic=False)(x), None


class Model(nn.Module):
    """Dropout in every place and called in every way."""

    @nn.compact
    def __call__(self, x, train=True):
        x = nn.Dropout(0.3)(nn.Dense(8)(x), deterministic=not train)
        x = nn.Dropout(0.5, (1,), not train, rng_collection="other")(x)
        x = nn.Dropout(0.0)(x, False) + nn.Dropout(1.0)(x, False)
        x = jnn.Dropout(0.25, bits=8)(x, not train)
        x = nn.Dropout(0.5)(x, not train, rng=key(7))
        if train:  # its noise is always on
            scanned = nn.scan(
                nn.remat(Block),
                variable_axes={"params": 0},
                split_rngs={"params": True, "dropout": True},
                length=2,
            )
            x, _ = scanned(name="blocks")(x, None)
        x = nn.MultiHeadDotProductAttention(2, dropout_rate=0.3)(
            x, deterministic=not train
        )
        x = nn.MultiHeadAttention(2, dropout_rate=0.3, broadcast_dropout=False)(
            x, deterministic=not train
        )
        return FinalDropout(0.2)(x, train)


PLACES = [
    *(f"Dropout_{n}" for n in range(6)),
    "blocks/Dropout_0",
    "FinalDropout_0",
]


@functools.cache
def variables():
    shapes = jax.eval_shape(Model().init, key(), X)
    return jax.tree.map(
        lambda leaf: np.linspace(-1, 1, leaf.size, dtype=np.float32).reshape(
            leaf.shape
        ),
        shapes,
    )


@functools.partial(jax.jit, static_argnums=1)
def run(variables, train=True):
    rngs = {"dropout": key(3), "other": key(4)}
    return Model().apply(variables, X, train, rngs=rngs)


def test_linen_dropout_for_dropout_changes_no_bit():
    expected = run(variables())
    assert not (expected == run(variables(), False)).all()
    with jnn.replace_dropout(jn.dropout, attention=False) as replaced:
        np.testing.assert_array_equal(run(variables()), expected)
    assert replaced == PLACES


def test_linen_leaves_nothing_behind_and_jit_knows_the_context():
    plain = run(variables())
    compiled = run._cache_size()

    def add(key, x, rate, broadcast_dims=()):
        return x + rate

    def scale(key, x, rate, broadcast_dims=()):
        return x * rate

    results = []
    for variant in (add, scale, add, scale):
        with jnn.replace_dropout(variant) as replaced:
            results.append(np.asarray(run(variables())))
        # what was compiled for the variant before is not traced again
        assert len(replaced) == (10 if len(results) <= 2 else 0), replaced
    assert run._cache_size() == compiled + 2
    np.testing.assert_array_equal(results[0], results[2])
    np.testing.assert_array_equal(results[1], results[3])
    assert not (results[0] == results[1]).all() and not (results[0] == plain).all()
    np.testing.assert_array_equal(run(variables()), plain)


class Drawn(nn.Module):
    """The key that a Dropout of that name would draw."""

    @nn.compact
    def __call__(self):
        return self.make_rng("dropout")


class Named(nn.Module):
    kind: str

    @nn.compact
    def __call__(self, x=None):
        if self.kind == "key":
            return Drawn(name="noise")()
        return nn.Dropout(0.25, deterministic=False, name="noise")(x)


@pytest.mark.parametrize("name", VARIANTS)
def test_linen_variant_is_its_function_with_the_key_of_flax(name):
    rngs = {"dropout": key(5)}
    drawn = Named("key").apply({}, rngs=rngs)
    expected = VARIANTS[name][2](drawn, X, 0.25)
    with jnn.replace_dropout(*given(jnn, name)) as replaced:
        found = Named("dropout").apply({}, X, rngs=rngs)
    np.testing.assert_array_equal(found, expected)
    assert not (found == X).all() and replaced == ["noise"]


def test_linen_rates_by_path():
    class Two(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dropout(0.25, deterministic=False, name="encoder")(x)
            return x, nn.Dropout(0.25, deterministic=False, name="decoder")(x)

    paths = []

    def rate(path):
        paths.append(path)
        return {"encoder": 0, "decoder": None}[path]

    with jnn.replace_dropout(lambda k, x, r: x + r, rate):
        first, second = Two().apply({}, X, rngs={"dropout": key()})
    assert first is X and paths == ["encoder", "decoder"]
    np.testing.assert_array_equal(second, X + 0.25)


def test_linen_inner_context_wins():
    layer = nn.Dropout(0.5, deterministic=False)
    with jnn.replace_dropout(lambda k, x, r: x + 1) as outer:
        with jnn.replace_dropout(lambda k, x, r: x + 2) as inner:
            y = layer.apply({}, X, rng=key())
            np.testing.assert_array_equal(y, X + 2)
        assert (outer, inner) == ([], [""])
        np.testing.assert_array_equal(layer.apply({}, X, rng=key()), X + 1)
    with pytest.raises(RuntimeError), jnn.replace_dropout(lambda k, x, r: x + 1):
        raise RuntimeError
    y = layer.apply({}, X, rng=key())
    np.testing.assert_array_equal(y, jn.dropout(key(), X, 0.5))


def test_linen_context_is_for_its_thread():
    layer, seen = nn.Dropout(0.5, deterministic=False), []

    def run():
        seen.append(layer.apply({}, X, rng=key()))

    with jnn.replace_dropout(lambda k, x, r: x + 1):
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        run()
    np.testing.assert_array_equal(seen[0], jn.dropout(key(), X, 0.5))
    np.testing.assert_array_equal(seen[1], X + 1)


def test_linen_traced_rate_compiles_once():
    layer = nn.Dropout(0.5, deterministic=False)

    @jax.jit
    @chex.assert_max_traces(n=1)
    def call(rate):
        with jnn.replace_dropout(jn.gaussian_dropout, rate):
            return layer.apply({}, X, rng=key())

    for rate in (0.25, 0.5):
        expected = jax.jit(jn.gaussian_dropout)(key(), X, rate)
        np.testing.assert_allclose(call(rate), expected, rtol=1e-6)


def test_linen_needs_a_key_only_for_noise():
    def apply(layer, **more):
        with jnn.replace_dropout(jn.dropout):
            return layer.apply({}, X, **more)

    assert apply(nn.Dropout(0.5), deterministic=True) is X
    assert apply(nn.Dropout(0.0), deterministic=False) is X
    assert (apply(nn.Dropout(1.0), deterministic=False) == 0).all()
    with pytest.raises(errors.InvalidRngError):
        apply(nn.Dropout(0.5), deterministic=False)
    with pytest.raises(ValueError, match="deterministic"):
        apply(nn.Dropout(0.5))
    mask = jn.dropout_mask(key(), X.shape, 0.5)
    found = apply(jnn.Dropout(0.5), deterministic=False, mask=mask)
    np.testing.assert_array_equal(found, jn.apply_mask(X, mask, 0.5))


def test_linen_says_that_nothing_was_there():
    dense = nn.Dense(3)
    with pytest.warns(UserWarning, match="replace_dropout: there was nothing"):
        with jnn.replace_dropout(jn.dropout):
            variables = dense.init(key(), X)
    call = jax.jit(dense.apply)
    call(variables, X)
    with warnings.catch_warnings(), jnn.replace_dropout(jn.dropout):
        warnings.simplefilter("error")  # no module ran: nothing is known
