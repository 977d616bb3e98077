"""Attention with dropout on its weights, or on its keys."""

import functools
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jax.typing import ArrayLike

from jaxnoise._attention import _blocked, _checks, _plain
from jaxnoise._attention._checks import NAME as _NAME
from jaxnoise._attention._scores import Given, Rules
from jaxnoise._core import _check, _dims, _integers, _mask


def dot_product_attention(
    key: jax.Array,
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    rate: ArrayLike,
    *,
    bias: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    scale: float | None = None,
    is_causal: bool = False,
    query_seq_lengths: ArrayLike | None = None,
    key_value_seq_lengths: ArrayLike | None = None,
    local_window_size: int | tuple[int, int] | None = None,
    drop: Literal["weights", "keys"] = "weights",
    broadcast_dims: Sequence[int] = (),
    bits: int = 32,
    block_size: int | None = None,
) -> jax.Array:
    """Attention that drops its weights with probability `rate`, or its keys.

    Law: y = sum_s w_s m_s v_s / (1 - rate), m ~ Bernoulli(1 - rate) i.i.d., w the
    weights of `jax.nn.dot_product_attention`, x = sum_s w_s v_s, z = sum_s w_s^2 v_s^2.
    E[y] = x, Var[y] = z rate / (1 - rate).

    The weights become `dropout(key, w, rate)`, w of shape (*batch, heads, queries,
    keys): the same coins, by blocks or as a whole.

    With `drop="keys"` (DropKey) the coins decide before the softmax which keys a query
    sees, and the others share all the weight. Nothing is scaled, and the mean is not
    that of attention without noise; a query whose keys are all dropped gets 0.

    With `broadcast_dims=(-2, -1)` whole heads are dropped (DropHead), and the others
    scaled by 1 / (1 - rate).

    Args:
      key: PRNG key of the noise, consumed. The keys of attention are `k`.
      q: queries, floating array (*batch, queries, heads, depth).
      k: keys (*batch, keys, groups, depth), with heads a multiple of groups: head h
        reads group h // (heads // groups).
      v: values (*batch, keys, groups, depth of values).
      rate: probability of dropping, in [0, 1]: 0 is `jax.nn.dot_product_attention`, 1
        gives zeros. A traced rate is clipped to [0, 1], nan to 1; no gradient reaches
        it.
      bias: floating array that is added to the scores and broadcasts to (*batch, heads,
        queries, keys). Where it is -inf a key is not seen; keys where it is inf share
        all the weight equally.
      mask: bool array of such a shape, True where a key is seen.
      scale: of the scores, 1 / sqrt(depth) if None.
      is_causal: whether query t sees keys 0 to t alone.
      query_seq_lengths: integers of the batch shape; queries from there on give 0.
      key_value_seq_lengths: integers of the batch shape; keys from there on are not
        seen.
      local_window_size: (left, right), or one number for both: query t sees keys
        t - left to t + right.
      drop: "weights" after the softmax, or "keys" before it.
      broadcast_dims: dims of (*batch, heads, queries, keys) that share a coin.
      bits: as in `dropout`: 8 and 16 draw another mask, faster.
      block_size: None to compute all weights at once. A number of keys for blocks of
        that size: the same result to rounding, with memory for (*batch, heads, queries,
        block_size) weights at a time, forward and backward. Reverse mode alone.

    Returns:
      Array (*batch, queries, heads, depth of values) of the dtype of q. A query that
      sees no key gets the mean of all values, as in `jax.nn`, whatever rules its keys
      out, a bias of -inf included.

    Raises:
      ValueError: shapes that do not fit, a known rate outside [0, 1] or off the grid of
        its bits by more than 5 %, a bad dim or block_size, other bits, another drop, or
        a batch of keys.
      TypeError: q, k or v are not floating or of different dtypes, bias is not
        floating, mask is not bool, lengths are not integers, or key is not a key.

    Sharp bits: a dropped weight is 0, but 0 times a value of nan or inf is nan. With
    keys of another implementation than threefry, or without
    `jax_threefry_partitionable`, a block cannot be drawn alone: the whole mask is.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise as jn
      >>> q = k = v = jax.random.normal(jax.random.key(0), (2, 5, 4, 8))
      >>> y = jn.dot_product_attention(jax.random.key(1), q, k, v, 0.1)
      >>> z = jn.dot_product_attention(jax.random.key(1), q, k, v, 0.1, block_size=2)
      >>> y.shape, bool(jnp.allclose(y, z, atol=1e-6))
      ((2, 5, 4, 8), True)

    Reference: Vaswani et al., Attention is all you need, NeurIPS 2017; Zhou, Ge, Xu,
    Wei, Zhou, Scheduled DropHead, Findings of EMNLP 2020; Li, Hu, Nie, Han, Jiang, Guo,
    Liu, DropKey, CVPR 2023.
    """
    key = _checks.key(key)
    q, k, v = _checks.operands(q, k, v)
    rate = _check.rate(_NAME, rate)
    weights = (*q.shape[:-3], q.shape[-2], q.shape[-3], k.shape[-3])
    shared = _dims.normalized(_NAME, "broadcast_dims", broadcast_dims, len(weights))
    bits = _check.bits(_NAME, bits, rate)
    _checks.drop(drop)
    given = _checks.given(bias, mask, query_seq_lengths, key_value_seq_lengths, weights)
    rules = _checks.rules(scale, is_causal, local_window_size, q.shape[-1])
    size = _checks.block_size(block_size, k.shape[-3])
    if _check.known(rate, 0) and size is None and _is_of_jax(q, k, v, rules, given):
        return _without_noise(q, k, v, rules, given)
    options = (shared, bits, drop == "keys", size)
    odds = _plain.odds_of(rate, q, bits)
    return _attend(key, q, k, v, odds, given, rules=rules, options=options)


def _is_of_jax(q, k, v, rules, given):
    """Whether `jax.nn` does it: not float64, nor inf in a bias, nor some shapes."""
    lengths = (q.shape[-3], k.shape[-3])
    return (
        q.dtype != np.float64
        and given.bias is None
        and q.ndim <= 4
        and q.shape[-1] == v.shape[-1]
        and 0 not in (*q.shape, *k.shape)
        and (rules.window is None or all(map(_integers.known, lengths)))
    )


@functools.partial(jax.jit, static_argnames="rules")
def _without_noise(q, k, v, rules, given):
    batch = q.shape[:-3] or (1,)
    lengths = [
        None if x is None else jnp.broadcast_to(x, batch).astype(np.int32)
        for x in (given.query_lengths, given.key_lengths)
    ]
    return jax.nn.dot_product_attention(
        q,
        k,
        v,
        mask=given.mask,
        scale=rules.scale,
        is_causal=rules.is_causal,
        query_seq_lengths=lengths[0],
        key_value_seq_lengths=lengths[1],
        local_window_size=rules.window,
    )


@functools.partial(jax.jit, static_argnames=["rules", "options"])
def _attend(key, q, k, v, odds, given, *, rules, options):
    return _computed(key, q, k, v, odds, given, rules, *options)


def _computed(
    key: jax.Array,
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    odds: _plain.Odds | None,
    given: Given,
    rules: Rules,
    shared: tuple[int, ...],
    bits: int,
    drop_keys: bool,
    size: int | None,
) -> jax.Array:
    if size is None:
        y = _plain.attend(key, q, k, v, odds, rules, given, shared, bits, drop_keys)
    else:
        coins = None
        if odds is not None:
            shape = (*q.shape[:-3], q.shape[-2], q.shape[-3], k.shape[-3])
            coins = _mask.Coins(shape, shared, bits, _sharding_of_weights(q))
        y = _blocked.attend(key, q, k, v, odds, rules, given, coins, drop_keys, size)
    if given.query_lengths is not None:
        shape = (1,) * (q.ndim - 3) + (q.shape[-3], 1, 1)
        query = jax.lax.broadcasted_iota(np.int32, shape, q.ndim - 3)
        real = query < given.query_lengths[..., None, None, None]
        y = jnp.where(real, y, jnp.zeros((), y.dtype))
    return y


def _sharding_of_weights(q: jax.Array) -> NamedSharding | None:
    """On an explicit mesh: as the queries, and whole on the keys."""
    sharding: Any = jax.typeof(q).sharding
    if not sharding.mesh.explicit_axes:
        return None
    spec = [*sharding.spec, *[None] * (q.ndim - len(sharding.spec))]
    return NamedSharding(
        sharding.mesh, PartitionSpec(*spec[:-3], spec[-2], spec[-3], None)
    )
