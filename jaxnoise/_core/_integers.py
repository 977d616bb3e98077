"""Checks of integers: numbers of things, ids, shapes, and sequences of them."""

import operator
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jax.core import Tracer

from jaxnoise._core import _arrays, _shown


def integer(function: str, name: str, value: Any) -> int:
    """A Python int from anything that is one."""
    _arrays.alive(function, name, value)
    if isinstance(value, Tracer):
        last = function.rpartition(".")[2]
        raise TypeError(
            f"{function}: {name} must be known when the function is traced, got "
            f"{_shown.shown(value)}. Make it static, "
            f"jax.jit({last}, static_argnames='{name}'), or bind it first, "
            f"functools.partial({last}, {name}=...)."
        )
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(
            f"{function}: {name} must be an integer, got {_shown.shown(value)}."
        ) from None
    if not -(2**63) <= number < 2**63:
        raise ValueError(
            f"{function}: {name} must be an integer of 64 bits, got "
            f"{_shown.shown(value)}."
        )
    return number


def count(function: str, name: str, value: Any) -> int:
    """A Python int of at least 1."""
    number = integer(function, name, value)
    if number < 1:
        raise ValueError(f"{function}: {name} must be at least 1, got {number}.")
    return number


def items(value: Any) -> tuple[Any, ...]:
    """The items of a sequence, to be checked one by one; text is one item."""
    one = isinstance(value, str | bytes | jax.Array)
    if one or not isinstance(value, Iterable):
        return (value,)
    try:
        return tuple(value)
    except TypeError:  # an array without dims
        return (value,)


def integers(function: str, name: str, value: Any) -> jax.Array:
    """A JAX array of integers."""
    array = _arrays.array(function, name, value)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(
            f"{function}: {name} must have an integer dtype, got {array.dtype}. "
            f"Convert it first, for example with {name}.astype(jnp.int32)."
        )
    return array


def identifier(function: str, name: str, value: Any, dtype: np.dtype) -> int:
    """A Python int that an integer dtype can hold."""
    number, info = integer(function, name, value), jnp.iinfo(dtype)
    if not info.min <= number <= info.max:
        raise ValueError(
            f"{function}: {name} must be in [{info.min}, {info.max}] for ids of dtype "
            f"{dtype}, got {number}. Convert the ids to a wider dtype."
        )
    return number


def shape(function: str, value: Any) -> tuple[int, ...]:
    """A shape: a size or a sequence of sizes, none of them negative."""
    text = isinstance(value, str | bytes)
    items = value if isinstance(value, Sequence) and not text else (value,)
    sizes = tuple(size(function, "shape", item) for item in items)
    if any(known(size) and size < 0 for size in sizes):
        raise ValueError(
            f"{function}: shape must not be negative, got {_shown.shown(value)}."
        )
    return sizes


def size(function: str, name: str, value: Any) -> int:
    """A Python int, or a symbolic size of `jax.export` as it is."""
    return integer(function, name, value) if known(value) else value


def known(size: Any) -> bool:
    """Whether a size is a number, and not a symbol in a program to be exported."""
    return not export.is_symbolic_dim(size)


def at_least(function: str, size: int, least: int):
    """Refuse a symbolic size that may stand for less."""
    try:
        if size >= least:
            return
    except jax.errors.InconclusiveDimensionOperation:
        pass
    raise ValueError(
        f"{function}: the size {size} must be known to be at least {least}. Say so "
        f"where it is made: jax.export.symbolic_shape(..., constraints=['{size} >= "
        f"{least}'])."
    )
