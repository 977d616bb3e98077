"""Attention beside that of PyTorch and of flax, with the same mask, in float64.

What PyTorch computes is recorded by golden/record_attention.py.
"""

import functools
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnoise as jn

RECORD = np.load(Path(__file__).parent / "golden" / "torch_attention.npz")
KEY, RATE = 11, 0.3
CASES = {
    "plain": {},
    "causal": {"is_causal": True},
    "bias": {"bias": RECORD["bias"]},
    "mask, scale": {"mask": RECORD["mask"], "scale": 0.4},
}


def value_and_gradients(attend):
    """In float64, as PyTorch has them: y, dq, dk, dv."""

    @jax.jit
    def program(cotangent, *operands):
        y, pull = jax.vjp(attend, *operands)
        return y, *pull(cotangent)

    with jax.enable_x64(True):
        found = program(*(RECORD[name] for name in ("cotangent", *"qkv")))
    assert all(x.dtype == np.float64 for x in found)
    return found


@functools.cache
def ours(name, size):
    def attend(q, k, v):
        options = CASES[name] | {"block_size": size}
        return jn.dot_product_attention(jax.random.key(KEY), q, k, v, RATE, **options)

    return value_and_gradients(attend)


@pytest.mark.parametrize("size", [None, 3])
@pytest.mark.parametrize("name", CASES)
def test_pytorch(name, size):
    """Values and gradients of its scaled_dot_product_attention, with grouped heads."""
    for part, found in zip(("y", "dq", "dk", "dv"), ours(name, size), strict=True):
        np.testing.assert_allclose(found, RECORD[f"{name}/{part}"], rtol=0, atol=1e-13)


def test_the_mask_of_the_record_is_that_of_the_key():
    mask = jn.dropout_mask(jax.random.key(KEY), RECORD["kept"].shape, RATE)
    np.testing.assert_array_equal(mask, RECORD["kept"])


@pytest.mark.parametrize("size", [None, 3])
def test_flax(size):
    """Its attention in float64 with the mask put between its weights and its values."""

    def attend(q, k, v):
        def dropped(formula, weights, value):
            kept = jnp.where(RECORD["kept"], weights / (1 - RATE), 0)
            return jnp.einsum(formula, kept, value)

        k, v = (jnp.repeat(x, 2, axis=-2) for x in (k, v))
        einsums = {
            "qk_attn_weights_einsum": jnp.einsum,
            "attn_weights_value_einsum": dropped,
        }
        bias = jnp.asarray(RECORD["bias"])
        return nn.dot_product_attention(q, k, v, bias, deterministic=True, **einsums)

    found = ours("bias", size)
    for theirs, value in zip(value_and_gradients(attend), found, strict=True):
        np.testing.assert_allclose(value, theirs, rtol=0, atol=1e-13)
