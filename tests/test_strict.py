"""Under strict promotion and the check for leaks: layers, cells, trees, predictions.

The laws do the same for every pure function. Neither switch can be on in the whole
suite: strict promotion breaks optax, and the check for leaks traces everything anew.
"""

import contextlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from catalogue import AMOUNTS
from flax import nnx

import jaxnoise.linen as jnn
import jaxnoise.nnx as jnx
from jaxnoise import mc, tree
from jaxnoise.testing._exact import checking_leaks

# without options, for x of 4 dims
LAYERS = {name: amounts for name, (amounts, _) in AMOUNTS.items()}
CELLS = ("LSTMCell", "GRUCell", "SimpleCell")


@contextlib.contextmanager
def strict():
    with jax.numpy_dtype_promotion("strict"), checking_leaks():
        yield


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", LAYERS)
def test_layers(name, dtype):
    x = jax.ShapeDtypeStruct((2, 4, 4, 3), dtype)
    linen = getattr(jnn, name)(*LAYERS[name])
    module = getattr(jnx, name)(*LAYERS[name], rngs=nnx.Rngs(0))
    key = jax.random.key(0)

    def of_linen(x):
        return linen.apply({}, x, deterministic=False, rngs={"dropout": key}).sum()

    def of_nnx(x):
        return module(x, rngs=key).sum()

    with strict():
        for loss in (of_linen, of_nnx):
            found = jax.eval_shape(jax.grad(loss), x)
            assert (found.shape, found.dtype) == (x.shape, x.dtype)


def test_a_wrapper_in_nnx():
    cell = jnx.SimpleCell(3, 8, recurrent_rate=0.5, rngs=nnx.Rngs(0))
    rnn = jnx.RNN(jnx.ZoneoutWrapper(jnx.DropoutWrapper(cell, 0.5), 0.2))
    graph, state = nnx.split(rnn)

    def loss(state, x):
        return nnx.merge(graph, state)(x, rngs=jax.random.key(1)).sum()

    with strict():
        x = jax.ShapeDtypeStruct((2, 5, 3), "float32")
        found = jax.eval_shape(jax.grad(loss, argnums=1), state, x)
    assert found.shape == x.shape


@pytest.mark.parametrize("name", CELLS)
def test_recurrent_layers(name):
    cell = getattr(jnn, name)(8, recurrent_rate=0.5)
    rnn, x = jnn.RNN(cell), jnp.ones((2, 5, 3))
    params = rnn.init(jax.random.key(0), x, deterministic=True)

    def loss(params, x):
        rngs = {"dropout": jax.random.key(1)}
        return rnn.apply(params, x, deterministic=False, rngs=rngs).sum()

    with strict():
        found = jax.eval_shape(jax.grad(loss), params, x)
    assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, params)


def test_trees_and_predictions():
    dense = nn.Dense(4)
    params = dense.init(jax.random.key(0), jnp.ones((1, 3)))

    def predict(params, key, x):
        def once(key):
            return dense.apply(tree.dropconnect(key, params, 0.5), x)

        samples = jax.nn.softmax(mc.predict(once, key, 6, chunk=4))
        return mc.predictive_entropy(samples), mc.mutual_information(samples)

    with strict():
        x = jax.ShapeDtypeStruct((2, 3), "float32")
        found = jax.eval_shape(predict, params, jax.random.key(1), x)
    assert [entropy.shape for entropy in found] == [(2,), (2,)]


def test_the_switches_are_on():
    """What conftest.py turns on refuses what it should."""
    key = jax.random.key(0)
    jax.random.bits(key)
    with pytest.raises(jax.errors.KeyReuseError):
        jax.random.bits(key)
    with pytest.raises(ValueError, match=r"[Ll]egacy"):
        jax.random.uniform(np.zeros(2, np.uint32))
    with pytest.raises(ValueError, match="rank_promotion"):
        jnp.ones((2, 3)) + jnp.ones(3)
    with strict(), pytest.raises(ValueError, match="implicit dtype promotion"):
        jnp.ones(3, jnp.float32) + jnp.ones(3, jnp.bfloat16)


def test_the_check_for_leaks_sees_one():
    leaked = []
    with strict(), pytest.raises(Exception, match=r"[Ll]eaked"):
        jax.jit(lambda x: leaked.append(x) or x)(jnp.ones(2))
