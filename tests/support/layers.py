"""Inputs and comparisons of recurrent layers."""

import chex
import jax
from data import normal

NOISY = {"input_rate": 0.5, "recurrent_rate": 0.3}


def key(number=0):
    return jax.random.key(number)


def inputs(*shape):
    return normal(100, *shape or (3, 6, 4))


def equal(a, b, tolerance=0.0):
    chex.assert_trees_all_close(a, b, rtol=tolerance, atol=tolerance)


def differ(a, b):
    assert any(
        (x != y).any() for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True)
    )
