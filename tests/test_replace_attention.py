"""Other noises in the place of the dropouts of attention layers."""

import functools
import inspect

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from data import normal, some_kernel
from flax import nnx
from variants import VARIANTS, X, given, key

import jaxnoise as jn
import jaxnoise.linen as jnn
import jaxnoise.nnx as jnx


def ones_of_attention(apply):
    """The weights of attention under noise: values that are the unit vectors."""
    unit = jnp.broadcast_to(jnp.eye(6)[None, :, None], (4, 6, 2, 6))
    return np.moveaxis(np.asarray(apply(unit)), -2, 1)


class Weights(nn.MultiHeadDotProductAttention):
    """Attention from outside: its function, called with values of the test's."""

    @nn.compact
    def __call__(self, query, value, rng):
        return self.attention_fn(
            query,
            query,
            value,
            dropout_rng=rng,
            dropout_rate=self.dropout_rate,
            broadcast_dropout=self.broadcast_dropout,
            deterministic=False,
        )


QUERY = normal(2, 4, 6, 2, 3)


@pytest.mark.parametrize("broadcast", [False, True])
@pytest.mark.parametrize("name", ["dropout", "gaussian_dropout", "instance"])
def test_attention_is_the_function_on_the_weights(name, broadcast):
    """In linen and in nnx; shared over batch and heads if the function can."""
    plain = nn.dot_product_attention_weights(QUERY, QUERY)
    function = VARIANTS[name][2]
    shared = {"broadcast_dims": (0, 1)} if broadcast and name == "dropout" else {}
    expected = function(key(), plain, 0.3, **shared)
    layer = Weights(2, dropout_rate=0.3, broadcast_dropout=broadcast)
    with jnn.replace_dropout(*given(jnn, name)) as replaced:
        found = ones_of_attention(lambda v: layer.apply({}, QUERY, v, key()))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert replaced == [""]

    attention = nnx.MultiHeadAttention(
        2,
        4,
        dropout_rate=0.3,
        broadcast_dropout=broadcast,
        kernel_init=some_kernel,
        rngs=nnx.Rngs(0),
    )
    other = jnx.replace_dropout(attention, *given(jnx, name))
    found = ones_of_attention(
        lambda v: other.attention_fn(
            QUERY,
            QUERY,
            v,
            dropout_rng=key(),
            dropout_rate=other.dropout_rate,
            broadcast_dropout=other.broadcast_dropout,
        )
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert attention.attention_fn is nnx.dot_product_attention


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_attention_in_bfloat16_rounds_values_where_flax_rounds_weights(rate):
    """Of values of 1 the outputs are those of flax to the bit.

    Of others each is rounded once, where flax rounds the factor and then the weight.
    """
    query = QUERY.astype(jnp.bfloat16)
    plain = nn.dot_product_attention_weights(query, query)
    assert plain.dtype == jnp.bfloat16
    attention = nnx.MultiHeadAttention(
        2, 4, dropout_rate=rate, kernel_init=some_kernel, rngs=nnx.Rngs(0)
    )
    ours = jnx.replace_dropout(attention, jn.dropout).attention_fn

    def attend(function, v):
        options = {"dropout_rng": key(), "dropout_rate": rate}
        return function(query, query, v.astype(query.dtype), **options)

    def weights(function):
        found = ones_of_attention(lambda v: attend(function, v))
        return found.astype(np.float32)

    kept = weights(ours) != 0
    assert 0 < kept.mean() < 1
    np.testing.assert_array_equal(weights(ours), weights(nnx.dot_product_attention))

    values = normal(5, *query.shape, dtype=query.dtype)
    mask = jax.random.bernoulli(key(), 1 - rate, (1, 1, *plain.shape[-2:]))
    dropped = jnp.where(mask, plain, jnp.zeros((), plain.dtype))
    factor = np.float32(1) / np.float32(1 - rate)
    scaled = (np.asarray(values, np.float32) * factor).astype(values.dtype)
    expected = jnp.einsum("...hqk,...khd->...qhd", dropped, scaled)
    np.testing.assert_array_equal(attend(ours, values), expected)


def test_attention_with_a_function_of_its_own_is_out_of_reach():
    def attend(query, key, value, **_):
        return value

    layer = nn.MultiHeadDotProductAttention(2, dropout_rate=0.3, attention_fn=attend)
    rngs = {"params": key(), "dropout": key(1)}
    with pytest.warns(UserWarning, match="nothing to replace"):
        with jnn.replace_dropout(jn.dropout):
            layer.init(rngs, X, deterministic=False)
    attention = nnx.MultiHeadAttention(
        2, 4, dropout_rate=0.3, attention_fn=attend, rngs=nnx.Rngs(0)
    )
    with pytest.raises(ValueError, match=r"must have an nnx\.Dropout"):
        jnx.replace_dropout(attention, jn.dropout)


OURS = {"linen": jnn.dot_product_attention, "nnx": jnx.dot_product_attention}


def attended(x, api, attention_fn=None, *variant, **replaced):
    """The output of an attention layer of flax, with its dropouts replaced or not."""
    own: dict = {"dropout_rate": 0.25, "broadcast_dropout": False}
    own |= {"deterministic": False, "kernel_init": some_kernel}
    own |= {} if attention_fn is None else {"attention_fn": attention_fn}

    def in_nnx():
        layer = nnx.MultiHeadAttention(2, 8, **own, decode=False, rngs=nnx.Rngs(0))
        if variant:
            layer = jnx.replace_dropout(layer, *variant, **replaced)
        return layer(x, rngs=nnx.Rngs(dropout=3))

    def in_linen():
        layer = nn.MultiHeadDotProductAttention(2, **own)
        if not variant:
            return layer.init_with_output({"params": key(), "dropout": key()}, x)[0]
        with jnn.replace_dropout(*variant, **replaced) as found:
            y, _ = layer.init_with_output({"params": key(), "dropout": key()}, x)
        assert found == [""]
        return y

    return {"linen": in_linen, "nnx": in_nnx}[api]()


@pytest.mark.parametrize("api", OURS)
def test_attention_by_blocks_in_a_model_that_exists(api):
    """In one line, with the outputs of flax; and with few bits, those of ours."""
    lean = functools.partial(OURS[api], block_size=4)
    few = functools.partial(lean, bits=8)
    of_8_bits = functools.partial(jn.dropout, bits=8)

    @jax.jit
    def outputs(x):
        return {
            "flax": attended(x, api),
            "lean": attended(x, api, None, jn.dropout, attention=lean),
            "few": attended(x, api, few),
            "not dropout": attended(
                x, api, None, jn.gaussian_noise, 0.1, attention=few
            ),
            "few, half": attended(x, api, None, jn.dropout, 0.5, attention=few),
            "8 bits, half": attended(x, api, lean, of_8_bits, 0.5),
        }

    found = outputs(X)
    np.testing.assert_allclose(found["lean"], found["flax"], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found["not dropout"], found["few"])
    np.testing.assert_array_equal(found["few, half"], found["8 bits, half"])
    assert not (found["few, half"] == found["few"]).all()


@pytest.mark.parametrize("api", OURS)
def test_attention_that_is_ours_already(api):
    """It keeps its blocks, and has weights for other noise only without them."""
    few = functools.partial(OURS[api], bits=8)
    of_8_bits = functools.partial(jn.dropout, bits=8)

    @jax.jit
    def pairs(x):
        dropped = attended(x, api, OURS[api], of_8_bits), attended(x, api, few)
        return dropped, [
            attended(x, api, fn, jn.gaussian_dropout) for fn in (OURS[api], None)
        ]

    for found, expected in pairs(X):
        np.testing.assert_array_equal(found, expected)
    for options in ({"block_size": 4}, {"drop": "keys"}):
        with pytest.raises(
            ValueError, match=r"must be jaxnoise\.dropout where.*gaussi"
        ):
            fn = functools.partial(OURS[api], **options)
            attended(X, api, fn, jn.gaussian_dropout)
    with pytest.raises(TypeError, match="attention must be True, False or an atten"):
        attended(X, api, None, jn.dropout, attention="blocks")


def test_linen_attention_is_traced_once_for_equal_functions():
    layer = nn.MultiHeadDotProductAttention(2, dropout_rate=0.25, deterministic=False)
    call = jax.jit(lambda: layer.init_with_output(key(), X)[0])
    for wanted in ([""], []):
        lean = functools.partial(jnn.dot_product_attention, block_size=4)
        with jnn.replace_dropout(jn.dropout, attention=lean) as replaced:
            jax.eval_shape(call)
        assert replaced == wanted


def test_nnx_attention_with_groups_masks_and_switches():
    options = {"num_kv_heads": 2, "dropout_rate": 0.3, "decode": False}
    options |= {"kernel_init": some_kernel}
    rngs = nnx.Rngs(0, dropout=1)
    first = nnx.MultiHeadAttention(4, 8, **options, deterministic=False, rngs=rngs)
    second = jnx.replace_dropout(nnx.clone(first), jn.dropout)
    calls: list[dict] = [{}, {"deterministic": True}]
    # flax 0.12.7 has no is_causal
    if "is_causal" in inspect.signature(nnx.MultiHeadAttention.__call__).parameters:
        calls.append({"is_causal": True})
    for more in calls:
        found, expected = second(X, **more), first(X, **more)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    third = jnx.replace_dropout(first, jn.dropout, rate=0)
    np.testing.assert_allclose(
        third(X), first(X, deterministic=True), rtol=1e-5, atol=1e-5
    )
