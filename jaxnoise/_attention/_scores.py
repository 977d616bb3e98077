"""Scores of attention: how much each query wants each key, and which keys it may see.

All of it is for a range of keys, so that attention by blocks computes what attention as
a whole does. Queries are (*batch, queries, heads, depth), keys and values (*batch,
keys, groups, depth), where heads is a multiple of groups; scores and weights are
(*batch, heads, queries, keys).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnoise._core import _precision

# of a key that must not be seen, as in jax.nn: finite, so that a query without any key
# gets the mean of all values, and not nan
NEVER = np.float32(-0.7 * np.finfo(np.float32).max)
# of a key that gets all the weight: the other end
ALWAYS = -NEVER


class Rules(NamedTuple):
    """Which keys a query sees whatever the data are.

    Attributes:
      scale: of the products of queries and keys.
      is_causal: whether query t sees keys 0 to t alone.
      window: (left, right), how far from t the keys of query t may be.
    """

    scale: float
    is_causal: bool = False
    window: tuple[int, int] | None = None


class Given(NamedTuple):
    """Arrays that change scores, each None where there is none.

    `bias` and `mask` have the dims of the weights, of size 1 where they broadcast; the
    lengths have the batch dims.
    """

    bias: jax.Array | None = None
    mask: jax.Array | None = None
    query_lengths: jax.Array | None = None
    key_lengths: jax.Array | None = None


def part_of(x: jax.Array | None, start: Any, size: int, axis: int) -> Any:
    """`size` indices of an axis from `start` on; all where it has one."""
    if x is None or x.shape[axis] in (1, size):
        return x
    return lax.dynamic_slice_in_dim(x, start, size, axis)


def scores(
    q: jax.Array,
    k: jax.Array,
    rules: Rules,
    given: Given,
    start: Any = 0,
    keys: Any = None,
) -> tuple[jax.Array, jax.Array | None]:
    """Scores in float32 or float64, and which are allowed, None for all.

    `k` holds the keys from `start` on, of `keys` in all; where it goes on beyond them
    scores are -inf. A bias of -inf is a mask, and with one of inf a score is that of
    all such keys, whatever the product.
    """
    wide = _precision.wide_dtype(q)
    found = products(q, k, wide) * jnp.asarray(rules.scale, wide)
    size, never = k.shape[-3], jnp.asarray(NEVER, wide)
    allowed = _allowed((1,) * (q.ndim - 2) + (q.shape[-3], size), rules, given, start)
    bias = part_of(given.bias, start, size, -1)
    if bias is not None:
        bias = bias.astype(wide)
        found = jnp.where(bias >= -never, -never, found + bias)
        finite = ~(bias <= never)  # nan is no mask
        allowed = finite if allowed is None else allowed & finite
    if allowed is not None:
        found = jnp.where(allowed, found, never)
    if keys is not None:
        last = (1,) * (found.ndim - 1) + (size,)
        real = start + lax.broadcasted_iota(np.int32, last, found.ndim - 1) < keys
        found = jnp.where(real, found, jnp.asarray(-jnp.inf, wide))
    return found, allowed


def pinned(given: Given, start: Any, size: int, dtype: Any) -> jax.Array | None:
    """Where a bias of inf is the score of a key; None where there is no bias."""
    bias = part_of(given.bias, start, size, -1)
    return None if bias is None else bias.astype(dtype) >= ALWAYS.astype(dtype)


def _allowed(shape, rules, given, start):
    """Of a shape with the dims of the weights, of size 1 where all rules are alike."""
    query = lax.broadcasted_iota(np.int32, shape, len(shape) - 2)
    key = lax.broadcasted_iota(np.int32, shape, len(shape) - 1) + start
    terms = [part_of(given.mask, start, shape[-1], -1)]
    if rules.is_causal:
        terms.append(query >= key)
    if rules.window is not None:
        left, right = rules.window
        terms.append((query <= key + left) & (query >= key - right))
    if given.query_lengths is not None:
        terms.append(query < given.query_lengths[..., None, None, None])
    if given.key_lengths is not None:
        terms.append(key < given.key_lengths[..., None, None, None])
    found = None
    for term in terms:
        if term is not None:
            found = term if found is None else found & term
    return found


def products(q: jax.Array, k: jax.Array, dtype: Any) -> jax.Array:
    """Of each query with each key: (*batch, heads, queries, keys) of that dtype."""
    grouped = _grouped(q, k.shape[-2], -2)
    return _ungrouped("...tngh,...snh->...ngts", grouped, k, -4, dtype)


def mix(weights: jax.Array, v: jax.Array, dtype: Any = None) -> jax.Array:
    """The sum of values by weights: (*batch, queries, heads, depth)."""
    grouped = _grouped(weights, v.shape[-2], -3)
    return _ungrouped("...ngts,...snh->...tngh", grouped, v, -3, dtype)


def collect(weights: jax.Array, x: jax.Array, groups: int, dtype: Any) -> jax.Array:
    """Sums over queries: (*batch, keys, groups, depth), the transpose of `mix`."""
    grouped, x = _grouped(weights, groups, -3), _grouped(x, groups, -2)
    formula = "...ngts,...tngh->...snh"
    return jnp.einsum(formula, grouped, x, preferred_element_type=dtype)


def _grouped(x, groups, axis):
    """The heads, at `axis`, as (groups, heads of a group)."""
    place = x.ndim + axis
    heads = (groups, x.shape[place] // groups if groups else 0)
    return x.reshape(*x.shape[:place], *heads, *x.shape[place + 1 :])


def _ungrouped(formula, a, b, axis, dtype):
    y = jnp.einsum(formula, a, b, preferred_element_type=dtype)
    place = y.ndim + axis
    heads = y.shape[place] * y.shape[place + 1]
    return y.reshape(*y.shape[:place], heads, *y.shape[place + 2 :])
