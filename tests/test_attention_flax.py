"""Attention with dropout in the layers of linen and nnx."""

import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attended import HEADS, K, Q, V
from data import normal, some_kernel
from flax import nnx

import jaxnoise.linen as jnn
import jaxnoise.nnx as jnx


def flax_attention(api, attention_fn=None, **options):
    """A function of x that is the attention of linen or nnx."""
    options |= {"deterministic": False, "kernel_init": some_kernel}
    own = {} if attention_fn is None else {"attention_fn": attention_fn}
    if api == "linen":
        layer = nn.MultiHeadDotProductAttention(HEADS, **options, **own)
        rngs = {"params": jax.random.key(0), "dropout": jax.random.key(0)}
        variables = layer.init(rngs, X)
        return lambda x: layer.apply(variables, x, rngs={"dropout": jax.random.key(5)})
    options |= {"decode": False, "rngs": nnx.Rngs(0)}
    layer = nnx.MultiHeadAttention(HEADS, 8, **options, **own)
    return lambda x: layer(x, rngs=nnx.Rngs(dropout=5))


X = normal(6, 2, 6, 8)
FNS = {"linen": jnn.dot_product_attention, "nnx": jnx.dot_product_attention}


@pytest.mark.parametrize(
    ("api", "shared", "differentiated"),
    [
        ("linen", True, True),
        ("linen", False, False),
        ("nnx", True, False),
        ("nnx", False, True),
    ],
)
def test_the_outputs_are_those_of_flax(api, shared, differentiated):
    """For the same key, with the whole and with blocks; and the gradients are."""
    options = {"dropout_rate": 0.4, "broadcast_dropout": shared}
    by_blocks = functools.partial(FNS[api], block_size=4)

    @jax.jit
    def values_and_gradients(x):
        found = []
        for attention_fn in (None, FNS[api], by_blocks):
            call = flax_attention(api, attention_fn, **options)
            if differentiated:
                y, pull = jax.vjp(call, x)
                found.append((y, *pull(jnp.cos(y))))
            else:
                found.append(call(x))
        return found

    theirs, whole, blocked = values_and_gradients(X)
    chex.assert_trees_all_close(whole, theirs, rtol=1e-7, atol=3e-6)
    chex.assert_trees_all_close(blocked, theirs, rtol=1e-7, atol=3e-6)


@pytest.mark.parametrize("api", FNS)
def test_without_dropout_no_key_is_needed(api):
    q = Q[:, :, :2]
    expected = jax.nn.dot_product_attention(q, K, V)
    for options in ({}, {"dropout_rate": 0.4, "deterministic": True}):
        for size in (None, 3):
            y = FNS[api](q, K, V, block_size=size, **options)
            np.testing.assert_allclose(y, expected, atol=2e-6)


@pytest.mark.parametrize("api", FNS)
def test_flax_mends(api):
    q = Q[:, :, :2]
    with pytest.raises(ValueError, match="dropout_rng must be a PRNG key"):
        FNS[api](q, K, V, dropout_rate=0.4)
    with pytest.raises(TypeError, match=r"dropout_rng must be a PRNG key.* got 3"):
        FNS[api](q, K, V, dropout_rate=0.4, dropout_rng=3)
    with pytest.raises(TypeError, match="mask must be an array, got 'm'"):
        FNS[api](q, K, V, mask="m", block_size=3)
    with pytest.raises(ValueError, match="dropout_rate must be in"):
        FNS[api](q, K, V, dropout_rng=jax.random.key(0), dropout_rate=1.5)
    with pytest.raises(ValueError, match="precision must not be given with block_si"):
        FNS[api](q, K, V, precision="highest", block_size=3)
