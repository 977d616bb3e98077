"""Activations with random slopes as `flax.nnx` layers."""

from typing import Any, Unpack

from jax.typing import ArrayLike

import jaxnoise as jn
from jaxnoise import _activation
from jaxnoise._core import _check
from jaxnoise.nnx._noise_layer import NoiseLayer, Options


class RReLU(NoiseLayer):
    """`jaxnoise.rrelu` as a layer; the slope is the mean one if `deterministic`."""

    function = staticmethod(jn.rrelu)

    def __init__(self, lower: ArrayLike, upper: ArrayLike, **options: Unpack[Options]):
        _check.slopes("RReLU", lower, upper)
        self.lower, self.upper = lower, upper
        super().__init__(**options)

    def without_noise(self, x: Any) -> Any:
        return _activation.mean_of_rrelu(x, self.lower, self.upper)
