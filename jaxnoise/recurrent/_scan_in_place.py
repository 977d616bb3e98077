"""A scan whose results take the place of what it reads."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import lax


def scan(
    body: Callable[[Any, Any, Any], tuple[Any, Any, Any]],
    carry: Any,
    arrays: Any,
    xs: Any,
    *,
    unroll: int | bool,
    reverse: bool = False,
) -> tuple[Any, Any, Any]:
    """`lax.scan` over `arrays` and `xs`, with results written over `arrays`.

    `body` takes (carry, parts, x), the parts being the slices of `arrays` at a step,
    and returns (carry, parts, y): parts of the same shapes and dtypes, which are
    written where the old ones were read. Where XLA needs `arrays` no more, that takes
    neither memory nor the pass over it that fills a new array before a loop.

    The slices of a step are read one step ahead, from the arrays just written. Read at
    the step itself, those of one array can be wanted after another one was written, and
    XLA then copies the whole array at every step.
    """
    steps = jax.tree.leaves(arrays)[0].shape[0]
    onward = -1 if reverse else 1

    def step(carry, inputs):
        inner, arrays, parts = carry
        time, x = inputs
        inner, parts, y = body(inner, parts, x)
        arrays = jax.tree.map(lambda array, part: put(array, part, time), arrays, parts)
        ahead = jax.tree.map(lambda array: at(array, time + np.int32(onward)), arrays)
        return (inner, arrays, ahead), y

    first = jax.tree.map(lambda a: a[-1 if reverse else 0], arrays)
    times = lax.iota(np.int32, steps)
    (carry, arrays, _), ys = lax.scan(
        step, (carry, arrays, first), (times, xs), reverse=reverse, unroll=unroll
    )
    return carry, arrays, ys


def at(array: jax.Array, time: jax.Array) -> jax.Array:
    """The slice of an array at a step."""
    # past either end the index is clamped, and what it finds is not used
    return lax.dynamic_index_in_dim(
        array, time, 0, keepdims=False, allow_negative_indices=False
    )


def put(array: jax.Array, part: jax.Array, time: jax.Array) -> jax.Array:
    """The array with another slice at a step."""
    return lax.dynamic_update_index_in_dim(
        array, part, time, 0, allow_negative_indices=False
    )
