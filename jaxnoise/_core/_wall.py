"""A place in memory for what XLA would otherwise compute anew for each reader."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax


def materialised(function: Callable[..., jax.Array], *operands: jax.Array) -> jax.Array:
    """`function(*operands)`, computed once, however often its elements are read.

    XLA for CPU fuses cheap operations with what reads them, and counts the rounds of
    threefry among those: a mask of one bit for each channel would be drawn again at
    every position. A conditional is a wall that it does not fuse across; the barrier
    hides that the condition is always true. Elsewhere the function is left alone.
    """

    def walled(*operands):
        true = lax.optimization_barrier(jnp.ones((), bool))
        return lax.cond(
            true, function, lambda *o: jnp.zeros_like(function(*o)), *operands
        )

    return lax.platform_dependent(*operands, cpu=walled, default=function)


def kept(array: jax.Array) -> jax.Array:
    """`array`, which a backward pass will read, computed once on a TPU.

    XLA for TPU would draw a mask again in every fusion that reads it, forward and
    backward, which costs more than the byte that it saves.
    """
    barrier = lax.optimization_barrier
    return lax.platform_dependent(array, tpu=barrier, default=lambda array: array)
