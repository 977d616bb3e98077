"""The base of the noise layers: when to draw and with which key, no more.

Constructors take the amounts of the pure function, its options as keywords, and the
keywords of `flax.nnx.Dropout`: `deterministic`, `rng_collection` and `rngs`. Calls,
`nnx.view`, `train` and `eval` work as there.
"""

from collections.abc import Callable
from typing import Any, ClassVar, TypedDict

import jax
from flax import nnx
from flax.nnx.module import first_from
from jax.typing import ArrayLike

from jaxnoise._core import _shown
from jaxnoise._flax import _layer
from jaxnoise.nnx._signature import ConstructorSignature

Source = nnx.Rngs | nnx.RngStream | jax.Array


class Options(TypedDict, total=False):
    """Options of every layer: how it is switched off, and where its keys come from."""

    deterministic: bool | None
    rng_collection: str
    rngs: nnx.Rngs | nnx.RngStream | None


class Switched:
    """The switch `deterministic`: of a constructor, a view or a call.

    A child sets the attribute, and stands in front of a class of `flax.nnx`.
    """

    deterministic: bool | None

    def set_view(self, deterministic: bool | None = None):
        """Class method used by `nnx.view`.

        Args:
          deterministic: if True, switches the noise off.
        """
        if deterministic is not None:
            self.deterministic = deterministic

    def deterministic_from(self, at_call: bool | None) -> bool | None:
        """The switch of a call, or else the layer's own."""
        return self.deterministic if at_call is None else at_call


class KeyedLayer(Switched, nnx.Module):
    """Base of what draws in `nnx`: whether it is deterministic, and where keys are.

    A child sets its amounts, and then calls `super().__init__(**options)`.
    """

    __signature__ = ConstructorSignature()

    def __init__(
        self,
        *,
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        rngs: nnx.Rngs | nnx.RngStream | None = None,
    ):
        name = type(self).__name__
        _layer.check_amounts(self)
        if isinstance(rngs, nnx.Rngs):
            rngs = rngs[rng_collection]
        if not isinstance(rngs, nnx.RngStream | None):
            raise TypeError(
                f"{name}: rngs must be nnx.Rngs, an nnx.RngStream or None, got "
                f"{_shown.shown(rngs)}. A key is passed to the call: layer(x, "
                f"rngs=key)."
            )
        self.deterministic = deterministic
        self.rng_collection = rng_collection
        # a stream of its own: calls of this layer do not advance the caller's
        self.rngs = nnx.data(None) if rngs is None else rngs.fork()

    def _key(self, rngs: Source | None) -> jax.Array:
        return key_from(self, self.rngs if rngs is None else rngs)


class NoiseLayer(_layer.FunctionLayer, KeyedLayer):
    """Base of the layers: finds the key, calls the function.

    A child has the pure `function`, and sets an attribute for each of its parameters
    after the key and x.
    """

    of_function: ClassVar[dict[Callable[..., jax.Array], Any]] = {}
    """The layer of each function that has one."""

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        if "function" in vars(cls):
            NoiseLayer.of_function.setdefault(cls.function, cls)

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
        return self.noise_on(inputs, deterministic, rngs)

    def noise_on(
        self, inputs: Any, deterministic: Any, rngs: Any, **at_call: Any
    ) -> Any:
        """The call, with options of the function that are given at the call."""
        if is_deterministic(self, deterministic):
            return self.without_noise(inputs)
        output = self.without_key(inputs)
        if output is not None:
            return output
        return self.with_noise(self._key(rngs), inputs, **at_call)


def is_deterministic(layer: Any, at_call: bool | None) -> bool:
    """`deterministic` from the call, or else from the layer."""
    name = type(layer).__name__
    missing = (
        f"{name}: deterministic is missing. No `deterministic` argument was "
        f"provided to {name}. Pass it to the constructor, "
        f"{name}(..., deterministic=False), or to the call, "
        f"layer(x, deterministic=False), or set it for a whole model with "
        f"nnx.view(model, deterministic=False); True switches the noise off."
    )
    return first_from(at_call, layer.deterministic, error_msg=missing)


def checked_source(layer: Any, rngs: Any) -> Source | None:
    """The source of keys that was passed to the call."""
    if isinstance(rngs, Source | None):
        return rngs
    raise TypeError(
        f"{type(layer).__name__}: rngs must be nnx.Rngs, an nnx.RngStream or a PRNG "
        f"key, got {_shown.shown(rngs)}. Make a key with jax.random.key."
    )


def key_from(layer: Any, source: Source | None) -> jax.Array:
    """A key for a layer that is not deterministic."""
    source = checked_source(layer, source)
    if source is None:
        name = type(layer).__name__
        raise ValueError(
            # the first sentences of both errors are those of flax
            f"{name}: `deterministic` is False, but no `rngs` argument was provided to "
            f"{name}. Pass rngs to the constructor, {name}(..., rngs=nnx.Rngs(0)), or "
            f"to the call, layer(x, rngs=rngs)."
        )
    if isinstance(source, nnx.Rngs):
        return source[layer.rng_collection]()
    return source() if isinstance(source, nnx.RngStream) else source
