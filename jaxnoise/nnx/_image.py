"""Noise of cameras and of channels as `flax.nnx` layers."""

from collections.abc import Sequence
from typing import Unpack

from jax.typing import ArrayLike

import jaxnoise as jn
from jaxnoise._core import _integers
from jaxnoise.nnx._noise_layer import NoiseLayer, Options


class SaltAndPepper(NoiseLayer):
    """`jaxnoise.salt_and_pepper` as a layer."""

    function = staticmethod(jn.salt_and_pepper)

    def __init__(
        self,
        rate: ArrayLike,
        *,
        low: ArrayLike = 0.0,
        high: ArrayLike = 1.0,
        salt_vs_pepper: ArrayLike = 0.5,
        broadcast_dims: Sequence[int] = (),
        **options: Unpack[Options],
    ):
        self.rate, self.broadcast_dims = rate, _integers.items(broadcast_dims)
        self.low, self.high, self.salt_vs_pepper = low, high, salt_vs_pepper
        super().__init__(**options)


class PoissonNoise(NoiseLayer):
    """`jaxnoise.poisson_noise` as a layer."""

    function = staticmethod(jn.poisson_noise)

    def __init__(self, scale: ArrayLike, **options: Unpack[Options]):
        self.scale = scale
        super().__init__(**options)


class SpeckleNoise(NoiseLayer):
    """`jaxnoise.speckle_noise` as a layer."""

    function = staticmethod(jn.speckle_noise)

    def __init__(self, stddev: ArrayLike, **options: Unpack[Options]):
        self.stddev = stddev
        super().__init__(**options)
