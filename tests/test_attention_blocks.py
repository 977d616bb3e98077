"""Attention by blocks of keys is attention as a whole, and draws part by part."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attended import BATCH, BIAS, LENGTHS, MASK, K, Q, V, attend

import jaxnoise as jn
from jaxnoise._core import _mask, _threefry

# no rule, a whole bias and coins that batch and heads share: in test_attention_parity
# and in test_attention_flax
RULES = {
    "shared bias, scale": {"bias": BIAS[:, :1, :, :1], "scale": 0.3},
    "mask, causal": {"mask": MASK, "is_causal": True, "bits": 8},
    "lengths, window": LENGTHS | {"local_window_size": (1, 2)},
    "keys": {"mask": MASK, "drop": "keys"},
    "heads": {"bias": BIAS[0], "broadcast_dims": (-2, -1), "bits": 8},
    "keys alone": {"broadcast_dims": (0, 1, 2)},
}


@pytest.mark.parametrize("name", RULES)
def test_blocks_give_what_the_whole_gives(name):
    """Values and gradients, with blocks that do not divide the number of keys."""
    options = dict(RULES[name])
    bias = options.pop("bias", None)
    cotangent = jnp.cos(jnp.arange(Q.size, dtype=np.float32)).reshape(Q.shape)

    @functools.partial(jax.jit, static_argnums=0)
    def both(size, operands):
        def f(operands):
            q, k, v, *rest = operands
            own = options | ({"bias": rest[0]} if rest else {})
            return attend(0.5, q, k, v, block_size=size, **own)

        y, pull = jax.vjp(f, operands)
        return y, pull(cotangent)

    operands = (Q, K, V) if bias is None else (Q, K, V, bias)
    whole, blocked = both(None, operands), both(3, operands)
    chex.assert_tree_all_finite(whole)
    chex.assert_trees_all_close(blocked, whole, rtol=1e-7, atol=3e-6)


def test_any_size_of_a_block_will_do():
    sizes = (1, 7, 20)

    @jax.jit
    def outputs(*operands):
        options = {"mask": MASK, "bits": 8}
        return [
            attend(0.5, *operands, block_size=size, **options)
            for size in (None, *sizes)
        ]

    whole, *blocked = outputs(Q, K, V)
    for size, y in zip(sizes, blocked, strict=True):
        np.testing.assert_allclose(y, whole, atol=3e-6, err_msg=str(size))


@pytest.mark.parametrize("size", [None, 3])
@pytest.mark.parametrize("rate", [0.0, 0.5])
@pytest.mark.parametrize("lacking", ["batch", "queries", "keys", "heads", "depth"])
def test_sizes_of_0(lacking, rate, size):
    shape = {"batch": 2, "queries": 5, "keys": 7, "heads": 4, "depth": 3, lacking: 0}
    q, k = (
        jnp.ones([shape[name] for name in ("batch", length, "heads", "depth")])
        for length in ("queries", "keys")
    )

    def both(q, k, v):
        y, pull = jax.vjp(lambda *qkv: attend(rate, *qkv, block_size=size), q, k, v)
        return y, pull(jnp.ones_like(y))

    y, gradients = jax.eval_shape(both, q, k, k)
    assert [x.shape for x in (y, *gradients)] == [q.shape, *(q.shape, k.shape, k.shape)]
    if lacking == "keys":
        y, (dq, *_) = both(q, k, k)
        assert not y.any() and not dq.any()


@pytest.mark.parametrize("size", [None, 3])
def test_lengths_of_0_and_a_rate_of_1_have_no_gradient(size):
    none = jnp.zeros(BATCH, int)

    @jax.jit
    def both(q, k, v):
        def f(q, k, v):
            whole = attend(1.0, q, k, v, block_size=size)
            return whole, attend(0.5, q, k, v, block_size=size, query_seq_lengths=none)

        y, pull = jax.vjp(f, q, k, v)
        return y, pull(jax.tree.map(jnp.ones_like, y))

    assert not any(x.any() for x in jax.tree.leaves(both(Q, K, V)))


@pytest.mark.parametrize("impl", ["rbg", "unsafe_rbg"])
def test_keys_that_count_no_blocks_have_the_same_mask_in_blocks(impl):
    key = jax.random.key(3, impl=impl)
    y = jn.dot_product_attention(key, Q, K, V, 0.5, block_size=3)
    whole = jn.dot_product_attention(jax.random.clone(key), Q, K, V, 0.5)
    np.testing.assert_allclose(y, whole, atol=2e-6)


def test_a_traced_rate_compiles_once_and_has_no_gradient():
    @jax.jit
    def both(rate):
        whole, blocked = attend(rate), attend(rate, block_size=3)
        grad = jax.grad(lambda rate: attend(rate, block_size=3).sum())(rate)
        return whole, blocked, grad

    whole, blocked, grad = both(0.25)
    np.testing.assert_allclose(whole, attend(0.25), atol=2e-6)
    np.testing.assert_allclose(blocked, whole, atol=2e-6)
    assert grad == 0
    assert not both(1.0)[1].any()


@pytest.mark.parametrize("start", [0, 2**31 - 4])
def test_counters_of_two_words(start):
    """Beyond 2^32 elements, where a counter does not fit into one."""
    shape, part = (3, 5, 2**31 - 2), _threefry.Part(start, 2)
    high, low = _threefry._wide_counters(shape, 2, 1, part, None)
    row, column = np.arange(15, dtype=np.uint64), np.arange(2, dtype=np.uint64)
    counter = (row[:, None] * np.uint64(shape[-1]) + column + np.uint64(start)) * 2 + 1
    counter = counter.reshape(3, 5, 2)
    np.testing.assert_array_equal(high, counter >> np.uint64(32))
    np.testing.assert_array_equal(low, counter & np.uint64(2**32 - 1))


def test_products_of_words():
    words = np.array([0, 1, 2**16, 2**31 + 12345, 2**32 - 1], np.uint32)
    for b in words:
        high, low = _threefry._product(jnp.asarray(words), b)
        exact = words.astype(np.uint64) * np.uint64(b)
        np.testing.assert_array_equal(high, exact >> np.uint64(32))
        np.testing.assert_array_equal(low, exact & np.uint64(2**32 - 1))


@pytest.mark.parametrize("bits", [8, 32])
def test_a_part_of_a_mask_is_drawn_alone(bits):
    """No equation of the program has an array of the size of the whole."""
    coins = _mask.Coins((2, 8, 16, 1024), bits=bits)
    threshold, _ = _mask.keep_threshold(0.5, np.dtype(np.float32), bits)
    whole = _mask.keep_mask(jax.random.key(1), threshold, coins)

    def draw(key, start):
        return coins.mask_of_part(key, threshold, _threefry.Part(start, 32))

    found = jax.jit(draw)(jax.random.key(1), 96)
    np.testing.assert_array_equal(found, whole[..., 96:128])
    text = jax.jit(draw).lower(jax.random.key(1), 96).as_text()
    assert "x1024x" not in text
