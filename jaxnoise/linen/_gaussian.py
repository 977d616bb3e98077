"""Gaussian and other continuous noise as `flax.linen` layers."""

from jax.typing import ArrayLike

import jaxnoise as jn
from jaxnoise.linen._noise_layer import NoiseLayer


class GaussianNoise(NoiseLayer):
    """`jaxnoise.gaussian_noise` as a layer."""

    function = staticmethod(jn.gaussian_noise)
    stddev: ArrayLike
    deterministic: bool | None = None
    rng_collection: str = "dropout"


class GaussianDropout(NoiseLayer):
    """`jaxnoise.gaussian_dropout` as a layer."""

    function = staticmethod(jn.gaussian_dropout)
    rate: ArrayLike
    deterministic: bool | None = None
    rng_collection: str = "dropout"


class RealGaussianDropout(NoiseLayer):
    """`jaxnoise.real_gaussian_dropout` as a layer."""

    function = staticmethod(jn.real_gaussian_dropout)
    rate: ArrayLike
    stddev: ArrayLike
    deterministic: bool | None = None
    rng_collection: str = "dropout"
    bits: int = 32


class UniformNoise(NoiseLayer):
    """`jaxnoise.uniform_noise` as a layer."""

    function = staticmethod(jn.uniform_noise)
    scale: ArrayLike
    deterministic: bool | None = None
    rng_collection: str = "dropout"


class LaplaceNoise(NoiseLayer):
    """`jaxnoise.laplace_noise` as a layer."""

    function = staticmethod(jn.laplace_noise)
    scale: ArrayLike
    deterministic: bool | None = None
    rng_collection: str = "dropout"
