"""The base of the noise layers: when to draw and with which key, no more.

Constructors take the amounts of the pure function, its options as keywords, and the
keywords of `flax.nnx.Dropout`: `deterministic`, `rng_collection` and `rngs`. Calls,
`nnx.view`, `train` and `eval` work as there.
"""

from collections.abc import Callable
from typing import Any, ClassVar, TypedDict

import jax
from flax import nnx
from jax.typing import ArrayLike

from jaxnoise import _check, _layer

Source = nnx.Rngs | nnx.RngStream | jax.Array


class Options(TypedDict, total=False):
    """What every layer takes beside its amounts and the options of its function."""

    deterministic: bool | None
    rng_collection: str
    rngs: nnx.Rngs | nnx.RngStream | None


class NoiseLayer(nnx.Module):
    """Base of the layers: checks the amounts, finds the key, calls the function.

    A child has the pure `function`, sets an attribute for each of its parameters after
    the key and x, and then calls `super().__init__(**options)`.
    """

    function: ClassVar[Callable[..., jax.Array]]

    def __init__(
        self,
        *,
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        rngs: nnx.Rngs | nnx.RngStream | None = None,
    ):
        name = type(self).__name__
        _layer.amounts(self)
        if isinstance(rngs, nnx.Rngs):
            rngs = rngs[rng_collection]
        if not isinstance(rngs, nnx.RngStream | None):
            raise TypeError(
                f"{name}: rngs must be nnx.Rngs, an nnx.RngStream or None, got "
                f"{rngs!r}. A key is passed to the call: layer(x, rngs=key)."
            )
        self.deterministic = deterministic
        self.rng_collection = rng_collection
        # a stream of its own: calls of this layer do not advance the caller's
        self.rngs = nnx.data(None) if rngs is None else rngs.fork()

    def noisy(self, key: jax.Array, x: ArrayLike) -> jax.Array:
        """The pure function with the amounts and options of this layer."""
        return self.function(key, x, **_layer.arguments(self, self.function))

    def without_noise(self, x: Any) -> Any:
        """The output of a deterministic layer."""
        return x

    def without_key(self, x: Any) -> Any:
        """The output where the amounts leave nothing to draw, else None."""
        amounts = _layer.amounts(self).values()
        return x if any(_check.known(amount, 0) for amount in amounts) else None

    def __call__(
        self,
        inputs: ArrayLike,
        *,
        deterministic: bool | None = None,
        rngs: Source | None = None,
    ) -> Any:
        """Noise on `inputs`, or `inputs` as they are if `deterministic`.

        Args:
          inputs: what the pure function takes as x.
          deterministic: True for no noise; wins over the constructor's.
          rngs: a PRNG key, used as it is, or where to take one from; wins over the
            constructor's.

        Raises:
          ValueError: deterministic is None in both places, or there are no rngs.
          TypeError: rngs is something else.
        """
        return self._called(inputs, deterministic, rngs, self.noisy)

    def _called(self, inputs, deterministic, rngs, noisy):
        if self._merged(deterministic):
            return self.without_noise(inputs)
        output = self.without_key(inputs)
        if output is not None:
            return output
        return noisy(self._key(rngs), inputs)

    def set_view(self, deterministic: bool | None = None):
        """Class method used by `nnx.view`.

        Args:
          deterministic: if True, switches the noise off.
        """
        if deterministic is not None:
            self.deterministic = deterministic

    def _merged(self, at_call: bool | None) -> bool:
        deterministic = self.deterministic if at_call is None else at_call
        if deterministic is None:
            name = type(self).__name__
            raise ValueError(
                f"{name}: deterministic is missing. Pass it to the constructor, "
                f"{name}(..., deterministic=False), or to the call, "
                f"layer(x, deterministic=False), or set it for a whole model with "
                f"nnx.view(model, deterministic=False); True switches the noise off."
            )
        return deterministic

    def _key(self, rngs: Source | None) -> jax.Array:
        source, name = self.rngs if rngs is None else rngs, type(self).__name__
        if source is None:
            raise ValueError(
                f"{name}: deterministic is False, but there are no rngs. Pass them to "
                f"the constructor, {name}(..., rngs=nnx.Rngs(0)), or to the call, "
                f"layer(x, rngs=rngs)."
            )
        if isinstance(source, nnx.Rngs):
            return source[self.rng_collection]()
        if isinstance(source, nnx.RngStream):
            return source()
        if isinstance(source, jax.Array):
            return source
        raise TypeError(
            f"{name}: rngs must be nnx.Rngs, an nnx.RngStream or a PRNG key, got "
            f"{source!r}. Make a key with jax.random.key."
        )
