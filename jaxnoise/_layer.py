"""What a layer, of linen or of nnx, has of the parameters of its pure function."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from jaxnoise import _check


def amounts(layer: Any) -> dict[str, _check.Amount]:
    """The checked amounts among the attributes of a layer, by name."""
    name = type(layer).__name__
    checked: dict[str, _check.Amount] = {}
    if hasattr(layer, "rate"):
        checked["rate"] = _check.rate(name, layer.rate)
    for attribute in ("stddev", "scale", "alpha"):
        if hasattr(layer, attribute):
            value = getattr(layer, attribute)
            checked[attribute] = _check.magnitude(name, attribute, value)
    return checked


def arguments(layer: Any, function: Callable[..., Any]) -> dict[str, Any]:
    """The attributes of a layer that are parameters of its function, by name."""
    return {name: getattr(layer, name) for name in _after_key_and_x(function)}


@functools.cache
def _after_key_and_x(function):
    return tuple(inspect.signature(function).parameters)[2:]
