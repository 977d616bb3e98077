"""Whole channels, samples and blocks dropped, as `flax.linen` layers."""

from jax.typing import ArrayLike

import jaxnoise as jn
from jaxnoise.linen._noise_layer import NoiseLayer


class SpatialDropout(NoiseLayer):
    """`jaxnoise.spatial_dropout` as a layer.

    For one example, inside `jax.vmap`: `batch_dims=0`.
    """

    function = staticmethod(jn.spatial_dropout)
    rate: ArrayLike
    channel_axis: int = -1
    batch_dims: int = 1
    deterministic: bool | None = None
    rng_collection: str = "dropout"
    bits: int = 32


class DropPath(NoiseLayer):
    """`jaxnoise.drop_path` as a layer.

    For one example, inside `jax.vmap`: `batch_dims=0`.
    """

    function = staticmethod(jn.drop_path)
    rate: ArrayLike
    batch_dims: int = 1
    deterministic: bool | None = None
    rng_collection: str = "dropout"
    bits: int = 32


class DropBlock(NoiseLayer):
    """`jaxnoise.drop_block` as a layer.

    For one example, inside `jax.vmap`: `batch_dims=0`.
    """

    function = staticmethod(jn.drop_block)
    rate: ArrayLike
    block_size: int
    channel_axis: int = -1
    batch_dims: int = 1
    deterministic: bool | None = None
    rng_collection: str = "dropout"
