"""Noise of cameras and of channels as `flax.linen` layers."""

from collections.abc import Sequence

from jax.typing import ArrayLike

import jaxnoise as jn
from jaxnoise.linen._noise_layer import NoiseLayer


class SaltAndPepper(NoiseLayer):
    """`jaxnoise.salt_and_pepper` as a layer."""

    function = staticmethod(jn.salt_and_pepper)
    rate: ArrayLike
    low: ArrayLike = 0.0
    high: ArrayLike = 1.0
    salt_vs_pepper: ArrayLike = 0.5
    broadcast_dims: Sequence[int] = ()
    deterministic: bool | None = None
    rng_collection: str = "dropout"


class PoissonNoise(NoiseLayer):
    """`jaxnoise.poisson_noise` as a layer."""

    function = staticmethod(jn.poisson_noise)
    scale: ArrayLike
    deterministic: bool | None = None
    rng_collection: str = "dropout"


class SpeckleNoise(NoiseLayer):
    """`jaxnoise.speckle_noise` as a layer."""

    function = staticmethod(jn.speckle_noise)
    stddev: ArrayLike
    deterministic: bool | None = None
    rng_collection: str = "dropout"
