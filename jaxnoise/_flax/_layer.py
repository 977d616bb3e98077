"""What a layer, of linen or of nnx, has of the parameters of its pure function."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import jax
from jax.typing import ArrayLike

from jaxnoise._core import _check


class FunctionLayer:
    """What the layers of linen and of nnx have in common, in front of their own base.

    A child has the pure `function`, and an attribute for each of its parameters after
    the key and x.
    """

    function: ClassVar[Callable[..., jax.Array]]

    def noisy(self, key: jax.Array, x: ArrayLike) -> jax.Array:
        """The pure function with the amounts and options of this layer."""
        return self.function(key, x, **arguments(self, self.function))

    def without_noise(self, x: Any) -> Any:
        """The output of a deterministic layer."""
        return x

    def without_key(self, x: Any) -> Any:
        """The output where the amounts leave nothing to draw, else None."""
        return x if any(_check.known(a, 0) for a in amounts(self).values()) else None


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
