"""Gaussian and other continuous noise as `flax.nnx` layers."""

from typing import Unpack

from jax.typing import ArrayLike

import jaxnoise as jn
from jaxnoise.nnx._noise_layer import NoiseLayer, Options


class GaussianNoise(NoiseLayer):
    """`jaxnoise.gaussian_noise` as a layer."""

    function = staticmethod(jn.gaussian_noise)

    def __init__(self, stddev: ArrayLike, **options: Unpack[Options]):
        self.stddev = stddev
        super().__init__(**options)


class GaussianDropout(NoiseLayer):
    """`jaxnoise.gaussian_dropout` as a layer."""

    function = staticmethod(jn.gaussian_dropout)

    def __init__(self, rate: ArrayLike, **options: Unpack[Options]):
        self.rate = rate
        super().__init__(**options)


class RealGaussianDropout(NoiseLayer):
    """`jaxnoise.real_gaussian_dropout` as a layer."""

    function = staticmethod(jn.real_gaussian_dropout)

    def __init__(
        self,
        rate: ArrayLike,
        stddev: ArrayLike,
        *,
        bits: int = 32,
        **options: Unpack[Options],
    ):
        self.rate, self.stddev = rate, stddev
        self.bits = bits
        super().__init__(**options)


class UniformNoise(NoiseLayer):
    """`jaxnoise.uniform_noise` as a layer."""

    function = staticmethod(jn.uniform_noise)

    def __init__(self, scale: ArrayLike, **options: Unpack[Options]):
        self.scale = scale
        super().__init__(**options)


class LaplaceNoise(NoiseLayer):
    """`jaxnoise.laplace_noise` as a layer."""

    function = staticmethod(jn.laplace_noise)

    def __init__(self, scale: ArrayLike, **options: Unpack[Options]):
        self.scale = scale
        super().__init__(**options)
