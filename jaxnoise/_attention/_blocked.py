"""Attention with noise by blocks of keys: memory that grows with the length alone.

The softmax is online: a block changes the largest score of a query, the sum of its
weights and the sum of its values. The mask of a block is drawn from the counters of the
block. The backward pass computes the scores, the weights and the mask of each block
again, and keeps of the forward pass what has one number for each query, or depth.

Reference: Rabe, Staats, Self-attention does not need O(n^2) memory, 2021,
https://arxiv.org/abs/2112.05682; Dao, Fu, Ermon, Rudra, Re, FlashAttention, NeurIPS
2022, https://arxiv.org/abs/2205.14135.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnoise._attention import _scores
from jaxnoise._attention._scores import Given, Rules
from jaxnoise._core import _mask, _precision, _random, _threefry


class Plan(NamedTuple):
    """The static part of attention by blocks.

    coins: those of all weights; None where nothing is dropped.
    implementation: that of the PRNG key.
    keys: how many there are, of which the last block may have fewer than `size`.
    """

    rules: Rules
    coins: _mask.Coins | None
    drop_keys: bool
    implementation: Any
    keys: int
    size: int

    @property
    def blocks(self) -> int:
        return -(-self.keys // self.size)


class Operands(NamedTuple):
    """Arrays: what attention reads, and what decides its coins and their scale.

    The key as its data: each block uses it, which is once more for JAX
    (jax_debug_key_reuse), but with counters of its own.
    """

    q: jax.Array
    k: jax.Array
    v: jax.Array
    given: Given
    key_data: Any
    threshold: Any
    keep: Any


def attend(
    key: jax.Array,
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    odds: tuple[Any, Any] | None,
    rules: Rules,
    given: Given,
    coins: _mask.Coins | None,
    drop_keys: bool,
    size: int,
) -> jax.Array:
    """The values that each query gets, its weights or its keys dropped."""
    keys = k.shape[-3]
    one = np.ones((), _precision.wide_dtype(q))
    threshold, keep = (np.uint32(0), one) if odds is None else odds
    implementation = jax.random.key_impl(key)
    plan = Plan(rules, coins, drop_keys, implementation, keys, size)
    k, v = (_padded(x, size, -3) for x in (k, v))
    bias, mask = (
        x if x is None or x.shape[-1] == 1 else _padded(x, size, -1)
        for x in (given.bias, given.mask)
    )
    given = given._replace(bias=bias, mask=mask)
    if coins is not None:
        _random.mark_used(key)
    data = jax.random.key_data(key)
    return _attention(plan, Operands(q, k, v, given, data, threshold, keep))


def _padded(x, size, axis):
    # not -length % size, which for a symbol is not known to be the same
    length, widths = x.shape[axis], [(0, 0)] * x.ndim
    rest = -(-length // size) * size - length
    widths[axis] = (0, rest)
    return x if rest == 0 else jnp.pad(x, widths)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attention(plan: Plan, operands: Operands) -> jax.Array:
    return _forward(plan, operands)[0]


def _forward(plan, operands):
    q, v = operands.q, operands.v

    def step(carry, index):
        top, total, sums = carry
        scores, kept, _ = _block(plan, operands, index)
        # -inf would be subtracted from -inf where a block has no keys
        new = jnp.maximum(top, scores.max(axis=-1))
        weights = jnp.exp(scores - new[..., None])
        shrink = jnp.exp(top - new)
        total = total * shrink + weights.sum(axis=-1)
        if kept is not None:
            weights = jnp.where(kept, weights, 0)
        part = _scores.mix(weights.astype(v.dtype), _values(plan, v, index), sums.dtype)
        return (new, total, sums * _by_query(shrink) + part), None

    first = _start(q, v)
    (top, total, sums), _ = lax.scan(
        step, first, jnp.arange(plan.blocks, dtype=np.int32)
    )
    y = (sums / _by_query(total) * _scale(plan, operands)).astype(q.dtype)
    return y, (operands, y, top, total)


def _start(q, v):
    """The carry before the first block, with the types that it has after it."""
    wide = _precision.wide_dtype(q)
    # of a sum, since a depth of 0 has no first
    nothing = jnp.zeros_like(q.sum(axis=-1, keepdims=True), wide)
    sums = jnp.broadcast_to(nothing, (*q.shape[:-1], v.shape[-1]))
    row = jnp.swapaxes(nothing[..., 0], -1, -2)
    return row + _scores.NEVER, row, sums


def _block(plan, operands, index):
    """Scores of a block of keys, which coins are kept, and which scores are allowed.

    Coins on keys count as scores: what is dropped is never seen.
    """
    start = index * plan.size
    k = _scores.part_of(operands.k, start, plan.size, -3)
    scores, allowed = _scores.scores(
        operands.q, k, plan.rules, operands.given, start, plan.keys
    )
    if plan.coins is None:
        return scores, None, allowed
    part = _threefry.Part(start, plan.size)
    key = jax.random.wrap_key_data(operands.key_data, impl=plan.implementation)
    kept = plan.coins.mask_of_part(key, operands.threshold, part)
    if not plan.drop_keys:
        return scores, kept, allowed
    seen = kept if allowed is None else kept & allowed
    never = jnp.asarray(_scores.NEVER, scores.dtype)
    return jnp.where(seen | (scores < never), scores, never), seen, seen


def _values(plan, v, index):
    return _scores.part_of(v, index * plan.size, plan.size, -3)


def _by_query(x):
    """(*batch, heads, queries) as a factor of (*batch, queries, heads, depth)."""
    return jnp.swapaxes(x, -1, -2)[..., None]


def _scale(plan, operands):
    """By which kept weights are multiplied."""
    if plan.coins is None or plan.drop_keys:
        return jnp.ones((), operands.keep.dtype)
    keep = operands.keep
    return 1 / jnp.where(keep > 0, keep, jnp.ones_like(keep))


def _backward(plan, kept, dy):
    operands, y, top, total = kept
    q, k, v = operands.q, operands.k, operands.v
    bias, wide = operands.given.bias, top.dtype
    scale = _scale(plan, operands)
    # what all weights of a query have in common in the derivative of the softmax
    common = (dy.astype(wide) * y.astype(wide)).sum(axis=-1)
    common = jnp.swapaxes(common, -1, -2)[..., None]

    def step(dq, index):
        scores, coins, allowed = _block(plan, operands, index)
        weights = jnp.exp(scores - top[..., None]) / total[..., None]
        values = _values(plan, v, index)
        wanted = _scores.products(dy, values, wide) * scale
        dropped = weights * scale
        if coins is not None:
            wanted = jnp.where(coins, wanted, 0)
            dropped = jnp.where(coins, dropped, 0)
        dv = _scores.collect(dropped.astype(v.dtype), dy, v.shape[-2], v.dtype)
        dscores = weights * (wanted - common)
        start = index * plan.size
        pinned = _scores.pinned(operands.given, start, plan.size, wide)
        if allowed is not None:
            dscores = jnp.where(allowed, dscores, 0)
        if pinned is not None:
            dscores = jnp.where(pinned, 0, dscores)
        dbias = None if bias is None else _summed_like(dscores, bias)
        dproducts = (dscores * plan.rules.scale).astype(q.dtype)
        block = _scores.part_of(k, start, plan.size, -3)
        dq = dq + _scores.mix(dproducts, block, wide)
        dk = _scores.collect(dproducts, q, k.shape[-2], k.dtype)
        return dq, (dk, dv, dbias)

    zero = jnp.zeros_like(q, wide)
    dq, (dk, dv, dbias) = lax.scan(step, zero, jnp.arange(plan.blocks, dtype=np.int32))
    if bias is not None and dbias is not None:
        if bias.shape[-1] == 1:
            dbias = dbias.sum(axis=0)
        else:
            dbias = _joined(dbias, -1)
        dbias = dbias.astype(bias.dtype)
    given = Given(bias=dbias)
    dk, dv = (_joined(x, -3) for x in (dk, dv))
    return (Operands(dq.astype(q.dtype), dk, dv, given, None, None, None),)


def _joined(blocks, axis):
    """(blocks, ..., size, ...) as (..., blocks * size, ...)."""
    place = blocks.ndim - 1 + axis
    moved = jnp.moveaxis(blocks, 0, place)
    joined = moved.shape[place] * moved.shape[place + 1]
    return moved.reshape(*moved.shape[:place], joined, *moved.shape[place + 2 :])


def _summed_like(x, bias):
    """`x` of a block, summed over the dims along which the bias is broadcast."""
    dims = [d for d in range(x.ndim) if bias.shape[d] == 1]
    return x.sum(axis=dims, keepdims=True)


_attention.defvjp(_forward, _backward)
