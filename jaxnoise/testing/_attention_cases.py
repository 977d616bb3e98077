"""Attention as rows of the table of cases: a function of one array like the others."""

import jax.numpy as jnp

import jaxnoise as jn
from jaxnoise.testing._case import BERNOULLI, Case


def _attended(key, x, rate, **options):
    """Attention over one key, whose weight is 1: x are the values, one for each head.

    The coins are those of dropout on x.
    """
    queries = jnp.moveaxis(jnp.zeros_like(x)[..., None, None], -1, -3)
    values = jnp.moveaxis(x[..., None, None], -1, -3)
    y = jn.dot_product_attention(key, queries, queries, values, rate, **options)
    return y[..., 0, :, 0]


def _attended_by_blocks(key, x, rate, **options):
    """Self-attention over the last dim of x, where each query sees its own key alone.

    x are the values of heads, or of one head if it has one dim.
    """
    values = x[..., None] if x.ndim == 1 else jnp.swapaxes(x, -1, -2)
    values = values[..., None]
    queries = jnp.zeros_like(values)
    options |= {"local_window_size": 0, "block_size": 2}
    y = jn.dot_product_attention(key, queries, queries, values, rate, **options)
    return y[:, 0, 0] if x.ndim == 1 else jnp.swapaxes(y[..., 0], -1, -2)


# by blocks of two out of nine keys: an element keeps its query, key, value, output and
# two numbers of its softmax, where its weights would be 36 bytes more
_BY_BLOCKS = {
    "shapes": ((3,), (2, 0), (2, 3, 4)),
    "layout": lambda rows, columns: (rows, columns, 9),
    "units": lambda y: y[:, :, 3],
    "forward_mode": False,
    "draws": 2,
    "kept": 26,
    "skip": {"selection": "0 times a value of nan is nan in a sum"},
}

ATTENTION_CASES = (
    Case(
        "dot_product_attention",
        _attended,
        **BERNOULLI,
        shapes=((3,), (2, 0), (2, 3, 4)),
        skip={
            "precision": "weights are rounded to the dtype of x, as in jax.nn",
            "selection": "0 times a value of nan is nan in a sum",
            "residuals": "attention keeps its weights and its values",
        },
        covers=("dot_product_attention",),
    ),
    Case(
        "dot_product_attention, blocks", _attended_by_blocks, **BERNOULLI, **_BY_BLOCKS
    ),
    Case(
        "dot_product_attention, blocks, heads",
        lambda key, x, rate: _attended_by_blocks(key, x, rate, broadcast_dims=(-2, -1)),
        **BERNOULLI,
        **_BY_BLOCKS,
    ),
    Case(
        "dot_product_attention, blocks, keys",
        lambda key, x, rate: _attended_by_blocks(key, x, rate, drop="keys"),
        **_BY_BLOCKS,
        # the weight of the one key that is seen is 1 or 0
        mean=lambda x, rate: (1 - rate) * x,
        variance=lambda x, rate: rate * (1 - rate) * x**2,
        dropped=lambda rate: 0.0,
    ),
)
