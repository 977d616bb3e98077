"""Attention with dropout: its law, what no query sees, and its errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attended import (
    BATCH,
    BIAS,
    DEPTH,
    KEY,
    KEYS,
    LENGTHS,
    MASK,
    QUERIES,
    WEIGHTS,
    K,
    Q,
    V,
    attend,
)

import jaxnoise as jn


def oracle(kept, rate, bias=0.0, seen=True, q=Q, k=K, v=V, scale=DEPTH**-0.5):
    """In float64 NumPy: what PyTorch's scaled_dot_product_attention is said to do."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    k, v = (np.repeat(x, q.shape[-2] // x.shape[-2], axis=-2) for x in (k, v))
    scores = np.einsum("bthd,bshd->bhts", q, k) * scale + np.asarray(bias, np.float64)
    scores = np.where(scores == np.inf, 1e300, scores)
    scores = np.where(seen & np.isfinite(scores), scores, -1e300)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    weights = np.where(kept, weights, 0) / (1 - rate)
    return np.einsum("bhts,bshd->bthd", weights, v)


@pytest.mark.parametrize("bits", [16, 8])
@pytest.mark.parametrize("size", [None, 3])
def test_weights_have_the_mask_of_dropout(bits, size):
    """That of 32 bits is in test_attention_parity."""
    mask = jn.dropout_mask(jax.random.key(KEY), WEIGHTS, 0.5, bits=bits)
    y = attend(bits=bits, block_size=size)
    np.testing.assert_allclose(y, oracle(mask, 0.5), atol=1e-5)


@pytest.mark.parametrize("size", [None, 3])
@pytest.mark.parametrize("rule", [{"bias": BIAS[0]}, {"mask": MASK} | LENGTHS])
def test_without_noise_it_is_that_of_jax(rule, size):
    """That of no rule is in test_attention_flax."""

    @jax.jit
    def outputs(*operands):
        theirs = rule | ({"bias": rule["bias"][None]} if "bias" in rule else {})
        expected = jax.nn.dot_product_attention(*operands, **theirs)
        options = rule | {"block_size": size}
        return expected, [attend(rate, *operands, **options) for rate in (0.0, 1e-9)]

    expected, ours = outputs(Q, K, V)
    for y in ours:
        np.testing.assert_allclose(y, expected, atol=2e-6)


@pytest.mark.parametrize("size", [None, 3])
def test_what_sees_no_key_gets_the_mean(size):
    """By a mask, by a bias, for grouped heads; and no gradient flows to its scores."""

    @jax.jit
    def of_the_first(q, k, v, rule):
        """Its output without noise in both ways, and its gradient with noise."""

        def first(q, rate):
            return attend(rate, q, k, v, block_size=size, **rule)[0, 0, 0]

        gradient = jax.grad(lambda q: first(q, 0.5).sum())(q)
        return [first(q, rate) for rate in (0.0, 1e-9)], gradient

    mean = np.asarray(V[0, :, 0].mean(axis=0))
    for rule in ({"mask": MASK}, {"bias": jnp.where(MASK, 0.0, -jnp.inf)}):
        off, gradient = of_the_first(Q, K, V, rule)
        for y in off:
            np.testing.assert_allclose(y, mean, atol=1e-6)
        assert not gradient.any()


@pytest.mark.parametrize("size", [None, 3])
def test_inf_in_the_bias(size):
    """One key, two keys and all keys of a query: scores do not move what is seen."""
    head = jnp.zeros((QUERIES, KEYS)).at[1, 2].set(-jnp.inf)
    head = head.at[0, 1].set(jnp.inf).at[3, 1:3].set(jnp.inf).at[4].set(jnp.inf)
    bias = BIAS.at[0, 0].set(head)

    @jax.jit
    def both(*operands):
        def f(q, k, v, bias):
            return attend(0.5, q, k, v, bias=bias, block_size=size)

        y, pull = jax.vjp(f, *operands)
        return y, pull(jnp.cos(y))

    y, (dq, dk, dv, dbias) = both(Q, K, V, bias)
    kept = jn.dropout_mask(jax.random.key(KEY), WEIGHTS, 0.5)
    np.testing.assert_allclose(y, oracle(kept, 0.5, bias), atol=1e-5)
    assert all(np.isfinite(x).all() for x in (dk, dv))
    pinned = np.array([True, False, False, True, True])
    np.testing.assert_array_equal((dq[0, :, 0] == 0).all(-1), pinned)
    np.testing.assert_array_equal((dbias[0, 0] == 0).all(-1), pinned)
    y = attend(0.0, bias=bias.astype(jnp.float16), block_size=size)
    np.testing.assert_allclose(y, oracle(True, 0.0, bias), atol=1e-2)


@pytest.mark.parametrize("size", [None, 2])
def test_a_query_whose_keys_are_dropped_sees_none(size):
    """Causal: the first query has one key, and must not see the future instead."""
    v = V.at[:, 1:].set(1e6)
    y = attend(0.5, v=v, drop="keys", is_causal=True, block_size=size)
    first = np.asarray(y[:, 0])
    dropped = (first == 0).all(axis=-1)
    assert 0 < dropped.sum() < dropped.size
    assert np.abs(first).max() < 10
    assert not attend(1.0, drop="keys", block_size=size).any()


@pytest.mark.parametrize("size", [None, 3])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_low_precision_is_finite_and_near(dtype, size):

    @jax.jit
    def near_and_exact(q, k, v):
        y, pull = jax.vjp(lambda q: attend(0.5, q, k, v, mask=MASK, block_size=size), q)
        wide = (x.astype(jnp.float32) for x in (q, k, v))
        return y, *pull(jnp.ones_like(y)), attend(0.5, *wide, mask=MASK)

    y, dq, exact = near_and_exact(*(x.astype(dtype) for x in (Q, K, V)))
    assert y.dtype == dq.dtype == dtype
    np.testing.assert_allclose(y.astype(jnp.float32), exact, atol=0.05)
    assert jnp.isfinite(dq).all()


@pytest.mark.parametrize("size", [None, 3])
def test_all_dropped_is_zero_and_one_key_is_dropout(size):
    assert not attend(1.0, block_size=size).any()
    one = attend(0.5, k=K[:, :1], v=V[:, :1], block_size=size)
    weights = jn.dropout(jax.random.key(KEY), jnp.ones((*WEIGHTS[:3], 1)), 0.5)
    expected = jnp.swapaxes(weights, 1, 2) * jnp.repeat(V[:, :1], 2, axis=2)
    np.testing.assert_allclose(one, expected, rtol=1e-6)


def test_any_number_of_batch_dims():
    """A mask for more dims is another one: the groups of 8 bits are of the heads."""
    y = attend(bits=8, mask=MASK)
    q, k, v = (x.reshape(1, BATCH, *x.shape[1:]) for x in (Q, K, V))
    np.testing.assert_allclose(attend(0.5, q, k, v, bits=8, mask=MASK)[0], y, atol=1e-6)
    y = attend(0.5, Q[0], K[0], V[0], bits=8, block_size=3)
    whole = attend(0.5, Q[0], K[0], V[0], bits=8)
    np.testing.assert_allclose(y, whole, atol=2e-6)


ERRORS = {
    "The keys of attention are k: dot": {"key": K},
    "q, k and v must have shapes (*batch": {"q": Q[0, 0], "k": K[0, 0], "v": V[0, 0]},
    "pass jnp.swapaxes(x, -2, -3)": {"k": K.swapaxes(1, 2), "v": V.swapaxes(1, 2)},
    "single key": {"key": jax.random.split(jax.random.key(0))},
    "is_causal must be True or False when": {"is_causal": MASK},
    "bits=8, got 0.001": {"rate": 0.001, "bits": 8},
    "block_size must be an integer": {"block_size": 2.0},
    "add it: bias[..., None, :, :]": {"bias": BIAS[:, 0]},
    "pass jnp.full((2,), length)": {"key_value_seq_lengths": 3},
    "q must have a floating": {"q": jnp.ones((2, 5, 4, 3), int)},
    "one dtype": {"v": V.astype(jnp.bfloat16)},
    "(*batch, length, heads, depth)": {"q": Q[0]},
    "the same batch dims": {"q": Q[:1]},
    "the same length and heads": {"v": V[:, :3]},
    "the same depth": {"q": Q[..., :2]},
    "must be a multiple": {"q": Q[:, :, :3]},
    "bias must have a floating": {"bias": MASK},
    "bias must broadcast": {"bias": BIAS[..., :3]},
    "mask must have dtype bool": {"mask": jnp.ones(WEIGHTS)},
    "mask must broadcast": {"mask": MASK[:, :3]},
    "query_seq_lengths must have the batch": {"query_seq_lengths": jnp.array([1])},
    "key_value_seq_lengths must have an int": {
        "key_value_seq_lengths": jnp.ones(BATCH)
    },
    "local_window_size must be": {"local_window_size": (1, 2, 3)},
    "drop must be": {"drop": "heads"},
    "broadcast_dims must be in": {"broadcast_dims": (4,)},
    "bits must be": {"bits": 4},
    "block_size must be at least 1": {"block_size": 0},
    "rate must be in": {"rate": 1.5},
}


@pytest.mark.parametrize("words", ERRORS)
def test_errors_name_the_argument(words):
    arguments = {"key": jax.random.key(0), "q": Q, "k": K, "v": V, "rate": 0.5}
    with pytest.raises((TypeError, ValueError)) as caught:
        jn.dot_product_attention(**arguments | ERRORS[words])
    assert str(caught.value).startswith("dot_product_attention: ")
    assert words in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize("name", ["block_size", "is_causal", "local_window_size"])
def test_what_must_be_known_may_not_be_traced(name):
    with pytest.raises(TypeError, match=f"{name} must be .* when the function is trac"):
        jax.jit(lambda value: attend(**{name: value}))(1)


def test_any_integer_will_do_for_lengths_and_windows():
    found = attend(key_value_seq_lengths=np.array([3, 7], np.uint8))
    expected = attend(mask=np.arange(KEYS) < np.array([3, 7])[:, None, None, None])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_array_equal(attend(local_window_size=2**40), attend())
