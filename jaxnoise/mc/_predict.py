"""A noisy function evaluated for many keys."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from jaxnoise._core import _check, _integers, _shown


def predict(
    fn: Callable[[jax.Array], Any], key: jax.Array, n: int, *, chunk: int | None = None
) -> Any:
    """Evaluate `fn(key)` for n keys: Monte-Carlo dropout, or any other noise.

    Law: y[i] = fn(jax.random.split(key, n)[i]), by `jax.vmap`; with `chunk`, as a loop
    over chunks of at most that many keys. The chunks have one size, ceil(n / number of
    chunks), so fn is traced once; what the last has too much is thrown away.

    Args:
      fn: function of one PRNG key, with noise on: a closure over parameters and inputs.
      key: PRNG key, consumed.
      n: number of samples, at least 1.
      chunk: how many samples to evaluate at a time, at least 1. It bounds the memory
        that fn needs; the outputs are kept for all n. None is all at a time.

    Returns:
      What fn returns, any pytree, every leaf with a leading axis n.

    Raises:
      ValueError: n or chunk below 1, or a batch of keys.
      TypeError: fn is not callable, n or chunk is not an integer, or key is not a key.

    Sharp bits: fn is not jitted here, for a jit remembered by fn would go on with the
    parameters that it first saw. Call `predict` under jit, with parameters and inputs
    as arguments of the jitted function, as in the example: there the chunks are a
    `jax.lax.map`, and nothing compiles again while shapes and n stay. Outside jit fn
    runs as it is: op by op, or, if it is itself jitted, compiled once for all calls.

    A model of `flax.nnx` counts its draws; made outside fn, it cannot count inside
    `jax.vmap` (flax raises TraceContextError). In fn, call its layers with
    `rngs=nnx.Rngs(dropout=key)`, or make a copy and start its streams from the key:
    `copy = nnx.clone(model)`, then `nnx.reseed(copy, dropout=key)`.

    Noise is that of a Python loop over the keys to the bit. What is computed from it
    is so to the rounding of the batched operations, a matmul for one. Keys of the rbg
    implementation draw otherwise under `jax.vmap`. What else train mode turns on, batch
    statistics for one, is for fn to turn off.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise as jn
      >>> from jaxnoise import mc
      >>> @jax.jit
      ... def samples(w, key, x):
      ...     model = lambda key: jax.nn.softmax(jn.dropout(key, x, 0.5) @ w)
      ...     return mc.predict(model, key, 20, chunk=8)
      >>> samples(jnp.ones((3, 5)), jax.random.key(0), jnp.ones((4, 3))).shape
      (20, 4, 5)

    Reference: Gal, Ghahramani, Dropout as a Bayesian approximation: representing model
    uncertainty in deep learning, ICML 2016, https://arxiv.org/abs/1506.02142.
    """
    name = "predict"
    if not callable(fn):
        raise TypeError(
            f"predict: fn must be a function of a key, got {_shown.shown(fn)} of type "
            f"{type(fn).__name__}."
        )
    n = _integers.count(name, "n", n)
    size = n
    if chunk is not None:
        steps = -(-n // _integers.count(name, "chunk", chunk))
        size = -(-n // steps)
    keys = _split(_check.key(name, key), n=n, size=size)
    if size == n:
        return jax.vmap(fn)(keys)
    if isinstance(keys, Tracer):
        # the checker of key reuse takes a vmapped loop over keys for a second use, and
        # a backward pass may draw from the same keys again: indices, and clones
        def evaluated(index):
            return fn(jax.random.clone(keys[index]))

        # no chunk is smaller than the others, so fn is traced once
        indices = np.arange(len(keys), dtype=np.int32)
        samples = lax.map(evaluated, indices, batch_size=size)
        return jax.tree.map(lambda y: y[:n], samples)
    chunks = keys.reshape(-1, size)
    # waiting keeps the memory of one chunk in use, not that of all that were dispatched
    parts = [jax.block_until_ready(jax.vmap(fn)(some)) for some in chunks]
    return jax.tree.map(lambda *ys: jnp.concatenate(ys)[:n], *parts)


@functools.partial(jax.jit, static_argnames=("n", "size"))
def _split(key, *, n, size):
    """n keys, and the last one again until they fill chunks of this size."""
    filled = -(-n // size) * size
    return jax.random.split(key, n)[np.minimum(np.arange(filled), n - 1)]
