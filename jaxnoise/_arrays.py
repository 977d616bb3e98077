"""Arrays as they are given: what is none, and what is one no more."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer


def array(function: str, name: str, value: Any) -> jax.Array:
    """`value` as a JAX array; what cannot be one is an error with its name."""
    if isinstance(value, jax.Array):
        alive(function, name, value)
        return value
    try:
        return jnp.asarray(value)
    # the warning is about text, which might be a dtype of old, where it is an error
    except (TypeError, ValueError, OverflowError, DeprecationWarning) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise TypeError(
            f"{function}: {name} must be an array, got {shown(value)} of type "
            f"{type(value).__name__}: {reason}."
        ) from error


def alive(function: str, name: str, value: Any):
    """An array that was deleted, or donated to a jitted function, is an error."""
    known = isinstance(value, jax.Array) and not isinstance(value, Tracer)
    if known and value.is_deleted():
        raise ValueError(
            f"{function}: {name} must be an array that still exists, got one of dtype "
            f"{value.dtype} and shape {value.shape} that was deleted or donated."
        )


def shown(value: Any) -> str:
    """`repr`, where there is one: not of a deleted array, nor of 10^4300 and above."""
    try:
        return repr(value)
    except (RuntimeError, ValueError):
        return "a value that cannot be printed"
