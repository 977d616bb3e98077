"""The noise of a sequence, taken apart by step, and the scan that hands it to a cell.

This is for any cell, those of somebody else included. The cells of this package have a
scan of their own, `_scan`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnoise.recurrent._time_layout import where


def split(name: str, noise: Any, ranks: Any, num_steps: int) -> tuple[Any, Any]:
    """The masks that all steps share, and those with time in front.

    `ranks` has, for each field, the most dims that a mask has without time.
    """
    for field, masks, rank in zip(noise._fields, noise, ranks, strict=True):
        for mask in jax.tree.leaves(masks):
            if mask.ndim > rank and mask.shape != (num_steps, *mask.shape[-rank:]):
                raise ValueError(
                    f"{name}: noise.{field} must have at most {rank} dims, or "
                    f"{num_steps} steps before them, got shape {mask.shape}."
                )

    def those(timed):
        def chosen(masks, rank):
            return jax.tree.map(
                lambda mask: mask if (mask.ndim > rank) is timed else None, masks
            )

        return type(noise)(*map(chosen, noise, ranks))

    return those(timed=False), those(timed=True)


def merge(fixed: Any, stepped: Any) -> Any:
    """The noise of a step, from what all steps share and what is its own."""
    return jax.tree.map(
        lambda mask, other: mask if other is None else other,
        fixed,
        stepped,
        is_leaf=lambda node: node is None,
    )


def scanned(
    lift: Callable[..., Callable[..., Any]],
    cell: Any,
    carry: Any,
    xs: jax.Array,
    noise: Any,
    lengths: jax.Array | None,
) -> tuple[Any, Any]:
    """The final carry and the outputs of a cell over `xs`, which have time in front.

    `lift` is the scan of linen or nnx: of a function of (cell, carry, (x, masks, time),
    fixed masks) it makes one over all steps. The carry of a row that ends before the
    others, by `lengths`, is picked up on the way.
    """
    steps = xs.shape[0]
    fixed = stepped = None
    if noise is not None:
        fixed, stepped = cell.split_noise(noise, xs.shape[1:], steps)

    def body(cell, carry, inputs, fixed):
        (state, last), (x, masks, time) = carry, inputs
        if noise is None:
            new, y = cell(state, x)
        else:
            new, y = cell(state, x, merge(fixed, masks))
        if lengths is not None:
            last = where(time < lengths, new, last)
        return (new, last), y

    last = None if lengths is None else carry
    times = jnp.arange(steps, dtype=np.int32)
    run = lift(body)
    (state, last), ys = run(cell, (carry, last), (xs, stepped, times), fixed)
    return (state if lengths is None else last), ys
