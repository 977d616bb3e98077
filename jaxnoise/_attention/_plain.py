"""Attention with noise, computed as a whole: XLA fuses what it can."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnoise._attention import _scores
from jaxnoise._attention._scores import Given, Rules
from jaxnoise._core import _check, _mask, _precision

# the threshold of a coin, and the probability of keeping: arguments, so that a new rate
# does not compile again
Odds = tuple[Any, Any]


def odds_of(rate: _check.Amount, x: jax.Array, bits: int) -> Odds | None:
    """The odds of a rate, for weights of the dtype of `x`; None if known to be 0."""
    if _check.known(rate, 0):
        return None
    return _mask.keep_threshold(rate, _precision.wide_dtype(x), bits)


def attend(
    key: jax.Array,
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    odds: Odds | None,
    rules: Rules,
    given: Given,
    shared: tuple[int, ...],
    bits: int,
    drop_keys: bool,
) -> jax.Array:
    """The values that each query gets, its weights or its keys dropped."""
    scores, allowed = _scores.scores(q, k, rules, given)
    if drop_keys and odds is not None:
        coins = _mask.coins_for(scores, shared, bits)
        seen = _mask.keep_mask(key, odds[0], coins)
        seen = seen if allowed is None else seen & allowed
        scores = jnp.where(seen, scores, jnp.asarray(_scores.NEVER))
        weights = softmax(scores, q.dtype)
        # a query whose keys are all dropped must not see what it is not allowed to
        weights = jnp.where(seen, weights, jnp.zeros((), q.dtype))
        return _scores.mix(weights, v)
    weights = softmax(scores, q.dtype)
    return weighted(key, weights, v, odds, shared, bits)


def weighted(
    key: jax.Array,
    weights: jax.Array,
    v: jax.Array,
    odds: Odds | None,
    shared: tuple[int, ...],
    bits: int,
    mix: Callable[[jax.Array, jax.Array], jax.Array] = _scores.mix,
) -> jax.Array:
    """`mix(dropout(key, weights, rate), v)`, without noise if there are no odds.

    It is the values that are scaled by 1 / (1 - rate): there are fewer of them, and
    what is left to do on the weights is so little that XLA for TPU fuses it into the
    matmuls. The backward pass keeps the weights and the coins, not the weights that
    were dropped, which are the same size again.
    """
    if odds is None:
        return mix(weights, v)
    threshold, keep = odds
    coins = _mask.coins_for(weights, shared, bits)

    def mixed(drawn, weights, v, keep):
        if bits < 32:
            # XLA for TPU fuses nothing that is done to bytes into a matmul, and then
            # the expanded mask goes through memory
            drawn = drawn.astype(np.uint16)
        kept = jnp.where(coins.mask(drawn), weights, jnp.zeros((), weights.dtype))
        return mix(kept, _mask.scaled(v, keep))

    return _mask.applied(mixed, coins.draw(key, threshold), weights, v, keep)


def softmax(scores: jax.Array, dtype: Any) -> jax.Array:
    """Over the last dim, rounded to a dtype; the backward pass keeps the result alone.

    `jax.nn.softmax` would keep it in the dtype of the scores.
    """

    @jax.custom_jvp
    def rounded(scores):
        return jax.nn.softmax(scores, axis=-1).astype(dtype)

    @rounded.defjvp
    def derivative(primals, tangents):
        weights = rounded(primals[0])
        wide = weights.astype(primals[0].dtype)
        moved = wide * tangents[0]
        moved = moved - wide * moved.sum(axis=-1, keepdims=True)
        return weights, moved.astype(dtype)

    return rounded(scores)
