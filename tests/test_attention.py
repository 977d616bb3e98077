"""Attention with dropout: its law, by blocks and as a whole, in flax, its errors."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxnoise as jn
import jaxnoise.linen as jnn
import jaxnoise.nnx as jnx
from jaxnoise._core import _mask, _threefry

BATCH, QUERIES, KEYS, HEADS, GROUPS, DEPTH = 2, 5, 7, 4, 2, 3
WEIGHTS = (BATCH, HEADS, QUERIES, KEYS)
KEY = 11


def normal(seed, *shape, dtype=jnp.float32):
    return jax.random.normal(jax.random.key(seed), shape, dtype)


Q = normal(0, BATCH, QUERIES, HEADS, DEPTH)
K, V = (normal(seed, BATCH, KEYS, GROUPS, DEPTH) for seed in (1, 2))
BIAS = normal(3, *WEIGHTS).at[0, 1, 2, 3].set(-jnp.inf)
# the first query of the first head sees nothing
MASK = jax.random.bernoulli(jax.random.key(4), 0.6, WEIGHTS).at[0, 0, 0].set(False)
LENGTHS = {
    "query_seq_lengths": jnp.array([3, 5]),
    "key_value_seq_lengths": jnp.array([0, 5]),
}


def attend(rate=0.5, q=Q, k=K, v=V, **options):
    return jn.dot_product_attention(jax.random.key(KEY), q, k, v, rate, **options)


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


@pytest.mark.parametrize("bits", [32, 16, 8])
@pytest.mark.parametrize("size", [None, 3])
def test_weights_have_the_mask_of_dropout(bits, size):
    mask = jn.dropout_mask(jax.random.key(KEY), WEIGHTS, 0.5, bits=bits)
    y = attend(bits=bits, block_size=size)
    np.testing.assert_allclose(y, oracle(mask, 0.5), atol=1e-5)


RULES = {
    "nothing": {},
    "bias": {"bias": BIAS},
    "shared bias, scale": {"bias": BIAS[:, :1, :, :1], "scale": 0.3},
    "mask, causal": {"mask": MASK, "is_causal": True, "bits": 8},
    "lengths, window": LENGTHS | {"local_window_size": (1, 2)},
    "keys": {"mask": MASK, "drop": "keys"},
    "heads": {"bias": BIAS[0], "broadcast_dims": (-2, -1), "bits": 8},
    "as flax": {"is_causal": True, "broadcast_dims": (0, 1)},
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
    for expected, found in zip(
        jax.tree.leaves(whole), jax.tree.leaves(blocked), strict=True
    ):
        assert np.isfinite(expected).all()
        np.testing.assert_allclose(found, expected, atol=3e-6)


@pytest.mark.parametrize("size", [1, 7, 20])
def test_any_size_of_a_block_will_do(size):
    y = attend(mask=MASK, bits=8, block_size=size)
    np.testing.assert_allclose(y, attend(mask=MASK, bits=8), atol=3e-6)


@pytest.mark.parametrize("size", [None, 3])
@pytest.mark.parametrize("rule", [{}, {"bias": BIAS[0]}, {"mask": MASK} | LENGTHS])
def test_without_noise_it_is_that_of_jax(rule, size):
    expected = jax.nn.dot_product_attention(
        Q, K, V, **{k: v if k != "bias" else v[None] for k, v in rule.items()}
    )
    for rate in (0.0, 1e-9):
        y = attend(rate, block_size=size, **rule)
        np.testing.assert_allclose(y, expected, atol=2e-6)


@pytest.mark.parametrize("size", [None, 3])
def test_what_sees_no_key_gets_the_mean(size):
    """By a mask, by a bias, for grouped heads; and no gradient flows to its scores."""
    mean = np.asarray(V[0, :, 0].mean(axis=0))
    for rule in ({"mask": MASK}, {"bias": jnp.where(MASK, 0.0, -jnp.inf)}):
        for rate in (0.0, 1e-9):
            y = attend(rate, block_size=size, **rule)
            np.testing.assert_allclose(y[0, 0, 0], mean, atol=1e-6)
        grad = jax.grad(lambda q, rule=rule: attend(0.5, q, **rule)[0, 0, 0].sum())(Q)
        assert not grad.any()


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
    q, k, v = (x.astype(dtype) for x in (Q, K, V))
    y, pull = jax.vjp(lambda q: attend(0.5, q, k, v, mask=MASK, block_size=size), q)
    (dq,) = pull(jnp.ones_like(y))
    assert y.dtype == dq.dtype == dtype
    exact = attend(0.5, *(x.astype(jnp.float32) for x in (q, k, v)), mask=MASK)
    np.testing.assert_allclose(y.astype(jnp.float32), exact, atol=0.05)
    assert jnp.isfinite(dq).all()


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


def flax_attention(api, attention_fn=None, **options):
    """A function of (x, key) that is the attention of linen or nnx."""
    own = {} if attention_fn is None else {"attention_fn": attention_fn}
    if api == "linen":
        layer = nn.MultiHeadDotProductAttention(
            HEADS, deterministic=False, **options, **own
        )
        variables = layer.init(
            {"params": jax.random.key(0), "dropout": jax.random.key(0)}, X
        )
        return lambda x: layer.apply(variables, x, rngs={"dropout": jax.random.key(5)})
    layer = nnx.MultiHeadAttention(
        HEADS,
        8,
        deterministic=False,
        decode=False,
        rngs=nnx.Rngs(0),
        **options,
        **own,
    )
    return lambda x: layer(x, rngs=nnx.Rngs(dropout=5))


X = normal(6, 2, 6, 8)
FNS = {"linen": jnn.dot_product_attention, "nnx": jnx.dot_product_attention}


@pytest.mark.parametrize("api", FNS)
@pytest.mark.parametrize("shared", [True, False])
def test_the_outputs_are_those_of_flax(api, shared):
    """For the same key, with the whole and with blocks; and the gradients are."""
    options = {"dropout_rate": 0.4, "broadcast_dropout": shared}
    by_blocks = functools.partial(FNS[api], block_size=4)

    def value_and_gradient(attention_fn):
        call = flax_attention(api, attention_fn, **options)
        y, pull = jax.vjp(call, X)
        return y, pull(jnp.cos(y))[0]

    theirs = value_and_gradient(None)
    for ours in (FNS[api], by_blocks):
        for found, expected in zip(value_and_gradient(ours), theirs, strict=True):
            np.testing.assert_allclose(found, expected, atol=3e-6)


@pytest.mark.parametrize("api", FNS)
def test_without_dropout_no_key_is_needed(api):
    for options in ({}, {"dropout_rate": 0.4, "deterministic": True}):
        for size in (None, 3):
            y = FNS[api](Q[:, :, :2], K, V, block_size=size, **options)
            expected = jax.nn.dot_product_attention(Q[:, :, :2], K, V)
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
