"""Arrays as they are given: what is none, and what is one no more."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from jaxnoise._core import _shown


def array(function: str, name: str, value: Any) -> jax.Array:
    """`value` as a JAX array; what cannot be one is an error with its name."""
    if isinstance(value, jax.Array):
        alive(function, name, value)
        return value
    if not jax.tree_util.all_leaves([value]) and not isinstance(value, list | tuple):
        raise TypeError(
            f"{function}: {name} must be an array, got {_shown.shown(value)} of type "
            f"{type(value).__name__}. For noise on the leaves of a tree use "
            f"jaxnoise.tree, or a key for each leaf and jax.tree.map."
        )
    try:
        return jnp.asarray(value)
    # the warning is about text, which might be a dtype of old, where it is an error
    except (TypeError, ValueError, OverflowError, DeprecationWarning) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        # a long one prints the value
        why = f": {reason}" if len(reason) < 100 else ""
        raise TypeError(
            f"{function}: {name} must be an array, got {_shown.shown(value)} of type "
            f"{type(value).__name__}{why}."
        ) from error


def alive(function: str, name: str, value: Any):
    """An array that was deleted, or donated to a jitted function, is an error."""
    known = isinstance(value, jax.Array) and not isinstance(value, Tracer)
    if known and value.is_deleted():
        raise ValueError(
            f"{function}: {name} must be an array that still exists, got one of dtype "
            f"{value.dtype} and shape {value.shape} that was deleted or donated."
        )
