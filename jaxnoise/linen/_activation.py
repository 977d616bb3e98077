"""Activations with random slopes as `flax.linen` layers."""

from typing import Any

import flax.linen as nn
from jax.typing import ArrayLike

import jaxnoise as jn
from jaxnoise import _activation
from jaxnoise._core import _check
from jaxnoise.linen._noise_layer import NoiseLayer


class RReLU(NoiseLayer):
    """`jaxnoise.rrelu` as a layer; the slope is the mean one if `deterministic`."""

    function = staticmethod(jn.rrelu)
    lower: ArrayLike
    upper: ArrayLike
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    def __post_init__(self):
        _check.slopes("RReLU", self.lower, self.upper)
        super().__post_init__()

    @nn.nowrap
    def without_noise(self, x: Any) -> Any:
        return _activation.mean_of_rrelu(x, self.lower, self.upper)
