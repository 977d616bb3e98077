"""Checks of attention: operands that fit, and the arrays and rules of its scores."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnoise._attention._scores import Given, Rules
from jaxnoise._core import _arrays, _check, _dims, _integers, _shown

NAME = "dot_product_attention"

Shape = tuple[int, ...]


def key(value: Any) -> jax.Array:
    """The key of the noise, which is not that of attention."""
    if jnp.issubdtype(getattr(value, "dtype", bool), jnp.floating):
        raise TypeError(
            f"{NAME}: key must be the PRNG key of the noise, got "
            f"{_shown.shown(value)}. The keys of attention are k: "
            f"{NAME}(key, q, k, v, rate)."
        )
    return _check.key(NAME, value)


def operands(q: Any, k: Any, v: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Queries, keys and values that fit."""
    q, k, v = (
        _check.floating(NAME, x, allow_complex=False, name=name)
        for name, x in (("q", q), ("k", k), ("v", v))
    )
    shapes = f"got shapes {q.shape}, {k.shape} and {v.shape}"
    if not q.dtype == k.dtype == v.dtype:
        raise TypeError(
            f"{NAME}: q, k and v must have one dtype, got {q.dtype}, {k.dtype} and "
            f"{v.dtype}. Convert them to that of the computation."
        )
    if q.ndim < 3 or not q.ndim == k.ndim == v.ndim:
        raise ValueError(
            f"{NAME}: q, k and v must have shapes (*batch, length, heads, depth), "
            f"{shapes}. For one head add a dim: x[..., None, :]."
        )
    if not q.shape[:-3] == k.shape[:-3] == v.shape[:-3]:
        raise ValueError(
            f"{NAME}: q, k and v must have the same batch dims, {shapes}. Broadcast "
            f"them first."
        )
    if k.shape[-3:-1] != v.shape[-3:-1]:
        raise ValueError(
            f"{NAME}: k and v must have the same length and heads, {shapes}. Each key "
            f"has one value."
        )
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(
            f"{NAME}: q and k must have the same depth, the last dim, {shapes}. "
            f"Project them to one."
        )
    if q.shape[-2] != k.shape[-2] and (
        k.shape[-2] == 0 or q.shape[-2] % k.shape[-2] != 0
    ):
        raise ValueError(
            f"{NAME}: the heads of q must be a multiple of those of k and v, {shapes}. "
            f"Heads are the last dim but one; for (*batch, heads, length, depth) pass "
            f"jnp.swapaxes(x, -2, -3)."
        )
    return q, k, v


def given(
    bias: Any, mask: Any, query_lengths: Any, key_lengths: Any, weights: Shape
) -> Given:
    """Arrays that fit weights of that shape."""
    if bias is not None:
        bias = _check.floating(NAME, bias, allow_complex=False, name="bias")
        bias = _on_weights("bias", bias, weights)
    if mask is not None:
        mask = _arrays.array(NAME, "mask", mask)
        if mask.dtype != np.bool_:
            raise TypeError(
                f"{NAME}: mask must have dtype bool (True = seen), got {mask.dtype}. "
                f"Compare it first, for example mask > 0."
            )
        mask = _on_weights("mask", mask, weights)
    batch, lengths = weights[:-3], []
    named = {
        "query_seq_lengths": query_lengths,
        "key_value_seq_lengths": key_lengths,
    }
    for name, value in named.items():
        if value is not None:
            value = _integers.integers(NAME, name, value)
            if value.shape != batch and not (batch == () and value.shape == (1,)):
                raise ValueError(
                    f"{NAME}: {name} must have the batch shape {batch}, one length an "
                    f"example, got shape {value.shape}. For one length for all pass "
                    f"jnp.full({batch}, length)."
                )
            value = value.reshape(batch).astype(np.int32)
        lengths.append(value)
    return Given(bias, mask, *lengths)


def _on_weights(name, value, weights):
    """With all dims of the weights."""
    if not _dims.broadcasts(value.shape, weights):
        raise ValueError(
            f"{NAME}: {name} must broadcast to (*batch, heads, queries, keys) = "
            f"{weights}, got shape {value.shape}. Dims are aligned from the last one "
            f"on; for one that all heads share add it: {name}[..., None, :, :]."
        )
    return value.reshape((1,) * (len(weights) - value.ndim) + value.shape)


def rules(scale: Any, is_causal: Any, window: Any, depth: int) -> Rules:
    """The static rules of the scores, for queries of that depth."""
    if not isinstance(is_causal, bool | np.bool_):
        raise TypeError(
            f"{NAME}: is_causal must be True or False when the function is traced, got "
            f"{_shown.shown(is_causal)}. For what is traced pass a mask, for example "
            f"mask=jnp.tri(queries, keys, dtype=bool) | ~causal."
        )
    return Rules(_scale(scale, depth), bool(is_causal), _window(window))


def _scale(scale: Any, depth: int) -> float:
    if scale is None:
        if not _integers.known(depth):
            raise ValueError(
                f"{NAME}: scale must be given where the depth of q is a symbol, got "
                f"None for depth {depth}. Export one program for each depth, or pass "
                f"the scale."
            )
        return 1 / math.sqrt(depth) if depth else 1.0
    number = _check.finite(NAME, "scale", scale)
    if isinstance(number, jax.Array):
        raise TypeError(
            f"{NAME}: scale must be a number that is known when the function is "
            f"traced, got {_shown.shown(scale)}. Multiply q by it instead."
        )
    return number


def _window(value):
    if value is None:
        return None
    sides = _integers.items(value)
    sides = sides * 2 if len(sides) == 1 else sides
    sides = [_integers.integer(NAME, "local_window_size", side) for side in sides]
    if len(sides) != 2 or min(sides) < 0:
        raise ValueError(
            f"{NAME}: local_window_size must be (left, right), at least 0, got "
            f"{_shown.shown(value)}. A number that is no smaller than the length is no "
            f"limit."
        )
    # positions are int32, and sums with them
    return (min(sides[0], 2**30), min(sides[1], 2**30))


def block_size(value: Any, keys: Any) -> int | None:
    """The size of a block, None where all keys are one."""
    if value is None:
        return None
    size = _integers.count(NAME, "block_size", value)
    if not _integers.known(keys):
        return size
    return min(size, keys) or None


def drop(value: Any):
    """The name of the units that are dropped."""
    if not (isinstance(value, str) and value in ("weights", "keys")):
        raise ValueError(
            f"{NAME}: drop must be 'weights' or 'keys', got {_shown.shown(value)}."
        )
