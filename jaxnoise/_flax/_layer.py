"""A pure function as a layer, for linen and for nnx."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import jax
from jax.typing import ArrayLike

from jaxnoise._core import _check

# the parameters that say how much noise there is: 0 is none
AMOUNTS = {
    "rate": _check.rate,
    "stddev": functools.partial(_check.magnitude, name="stddev"),
    "scale": functools.partial(_check.magnitude, name="scale"),
    "alpha": functools.partial(_check.magnitude, name="alpha"),
}


class FunctionLayer:
    """Base of the layers of linen and of nnx, in front of their own base.

    A child has the pure `function`, and an attribute for each of its parameters after
    the key and x.
    """

    function: ClassVar[Callable[..., jax.Array]]
    parameters: ClassVar[tuple[str, ...]] = ()
    """The names of what `function` takes after the key and x."""

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        if "function" in vars(cls):
            cls.parameters = tuple(inspect.signature(cls.function).parameters)[2:]

    def with_noise(self, key: jax.Array, x: ArrayLike, **at_call: Any) -> jax.Array:
        """The pure function with the amounts and options of this layer."""
        own = {n: getattr(self, n) for n in self.parameters if n not in at_call}
        return self.function(key, x, **own, **at_call)

    def without_noise(self, x: Any) -> Any:
        """The output of a deterministic layer."""
        return x

    def without_key(self, x: Any) -> Any:
        """The output where the amounts leave nothing to draw, else None."""
        amounts = [getattr(self, name) for name in AMOUNTS if name in self.parameters]
        return x if any(_check.known(amount, 0) for amount in amounts) else None


def check_amounts(layer: Any):
    """Refuse a bad amount among the attributes of a layer."""
    for name, check in AMOUNTS.items():
        if hasattr(layer, name):
            check(type(layer).__name__, value=getattr(layer, name))
