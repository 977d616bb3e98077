"""The base of the noise layers: when to draw and with which key, no more.

Constructors take the amounts of the pure function, then its options, then
`deterministic` and `rng_collection`. Calls are those of `flax.linen.Dropout`.
"""

from typing import Any

import flax.linen as nn
import jax
from jax.typing import ArrayLike

from jaxnoise._flax import _layer


class NoiseLayer(_layer.FunctionLayer, nn.Module):
    """Base of the layers: checks the amounts, finds the key, calls the function.

    A child has the pure `function`, a field for each of its parameters after the key
    and x, and after these the fields `deterministic` and `rng_collection`.
    """

    def __post_init__(self):
        _layer.check_amounts(self)
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        inputs: ArrayLike,
        deterministic: bool | None = None,
        rng: jax.Array | None = None,
    ) -> Any:
        """Noise on `inputs`, or `inputs` as they are if `deterministic`.

        Args:
          inputs: what the pure function takes as x.
          deterministic: True for no noise. Here or in the constructor, not in both.
          rng: PRNG key, used as it is; by default one from `make_rng`.

        Raises:
          ValueError: deterministic given twice or not at all.
          flax.errors.InvalidRngError: neither rng nor the stream `rng_collection`.
        """
        return self.noise_on(inputs, deterministic, rng)

    @nn.nowrap
    def noise_on(
        self, inputs: Any, deterministic: Any, rng: Any, **at_call: Any
    ) -> Any:
        """The call, with options of the function that are given at the call."""
        if is_deterministic(self, deterministic):
            return self.without_noise(inputs)
        output = self.without_key(inputs)
        if output is not None:
            return output
        key = self.make_rng(self.rng_collection) if rng is None else rng
        return self.with_noise(key, inputs, **at_call)


def is_deterministic(layer: Any, *elsewhere: bool | None) -> bool:
    """`deterministic` from the constructor, the call or wherever else it may be."""
    deterministic = deterministic_from(layer, *elsewhere)
    if deterministic is None:
        raise ValueError(_once(layer, "is missing"))
    return deterministic


def deterministic_from(layer: Any, *elsewhere: bool | None) -> bool | None:
    """`deterministic` from the one place that says it, None if there is none."""
    values = (layer.deterministic, *elsewhere)
    given = [value for value in values if value is not None]
    if len(given) > 1:
        raise ValueError(_once(layer, "was given twice"))
    return given[0] if given else None


def _once(layer, state):
    name = type(layer).__name__
    return (
        f"{name}: deterministic {state}. Pass it once, either to the constructor, "
        f"{name}(..., deterministic=not train), or to the call, "
        f"layer(x, deterministic=not train); True switches the noise off."
    )
