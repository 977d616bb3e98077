"""The nnx Embed against flax's, the linen one and the pure function."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxnoise as jn
import jaxnoise.linen as jnn
import jaxnoise.nnx as jnx

WORDS = jnp.array([[7, 3, 7], [0, 9, 3]])


def key(number=0):
    return jax.random.key(number)


@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
def test_without_noise_it_is_that_of_flax(dtype):
    flax = nnx.Embed(10, 4, dtype=dtype, rngs=nnx.Rngs(0))
    ours = jnx.Embed(10, 4, rate=0.5, dtype=dtype, rngs=nnx.Rngs(0, dropout=1))
    np.testing.assert_array_equal(ours.embedding[...], flax.embedding[...])
    assert nnx.state(ours, nnx.Param).keys() == nnx.state(flax, nnx.Param).keys()
    for still in (
        ours(WORDS, deterministic=True),
        nnx.view(ours, deterministic=True)(WORDS),
    ):
        np.testing.assert_array_equal(still, flax(WORDS))
        assert still.dtype == flax(WORDS).dtype
    # a stream, or none, and rate 0: noise needs no key
    silent = jnx.Embed(10, 4, dtype=dtype, rngs=nnx.Rngs(params=0))
    assert silent(WORDS).shape == (2, 3, 4)


def test_noise_is_that_of_the_function_and_of_linen():
    layer = jnx.Embed(10, 4, rate=0.5, rngs=nnx.Rngs(0, dropout=1))
    table = layer.embedding[...]
    y = layer(WORDS, rngs=key(2))
    dropped = jn.embedding_dropout(key(2), table, 0.5)
    assert 0 < int((dropped == 0).all(1).sum()) < 10
    np.testing.assert_array_equal(y, dropped[WORDS])
    linen = jnn.Embed(10, 4, rate=0.5)
    variables = {"params": {"embedding": table}}
    expected = linen.apply(variables, WORDS, deterministic=False, rng=key(2))
    np.testing.assert_array_equal(y, expected)
    query = jnp.ones((2, 4))
    np.testing.assert_allclose(layer.attend(query), query @ table.T, rtol=1e-6)
    one = jnx.Embed(1, 4, rate=0.5, rngs=nnx.Rngs(0))
    y = one(WORDS * 0, rngs=key(1))
    row = jn.embedding_dropout(key(1), one.embedding[...], 0.5)
    np.testing.assert_array_equal(y, jnp.broadcast_to(row, (2, 3, 4)))


def test_streams_and_splits():
    layer = jnx.Embed(64, 2, rate=0.5, rngs=nnx.Rngs(0, dropout=1))
    words = jnp.arange(64)
    assert not (layer(words) == layer(words)).all()
    copy = nnx.merge(*nnx.split(nnx.clone(layer)))
    np.testing.assert_array_equal(layer(words), copy(words))
    layer.eval()
    np.testing.assert_array_equal(layer(words), layer.embedding[...])


def test_errors():
    with pytest.raises(ValueError, match=r"Embed: rate must be in \[0, 1\], got 1.5"):
        jnx.Embed(10, 4, rate=1.5, rngs=nnx.Rngs(0))
    layer = jnx.Embed(10, 4, rate=0.5, rngs=nnx.Rngs(params=0))
    with pytest.raises(ValueError, match=r"Embed: .* no `rngs` argument"):
        layer(WORDS)
    with pytest.raises(ValueError, match="Embed: inputs must be integers, got float32"):
        layer(WORDS * 1.0, rngs=key())
    unset = jnx.Embed(10, 4, rate=0.5, deterministic=None, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="Embed: deterministic is missing"):
        unset(WORDS)
