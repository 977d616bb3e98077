"""Whole channels, samples and blocks dropped, as `flax.nnx` layers."""

from typing import Unpack

from jax.typing import ArrayLike

import jaxnoise as jn
from jaxnoise.nnx._noise_layer import NoiseLayer, Options


class SpatialDropout(NoiseLayer):
    """`jaxnoise.spatial_dropout` as a layer.

    For one example, inside `jax.vmap`: `batch_dims=0`.
    """

    function = staticmethod(jn.spatial_dropout)

    def __init__(
        self,
        rate: ArrayLike,
        *,
        channel_axis: int = -1,
        batch_dims: int = 1,
        bits: int = 32,
        **options: Unpack[Options],
    ):
        self.rate, self.channel_axis, self.batch_dims = rate, channel_axis, batch_dims
        self.bits = bits
        super().__init__(**options)


class DropPath(NoiseLayer):
    """`jaxnoise.drop_path` as a layer.

    For one example, inside `jax.vmap`: `batch_dims=0`.
    """

    function = staticmethod(jn.drop_path)

    def __init__(
        self,
        rate: ArrayLike,
        *,
        batch_dims: int = 1,
        bits: int = 32,
        **options: Unpack[Options],
    ):
        self.rate, self.batch_dims = rate, batch_dims
        self.bits = bits
        super().__init__(**options)


class DropBlock(NoiseLayer):
    """`jaxnoise.drop_block` as a layer.

    For one example, inside `jax.vmap`: `batch_dims=0`.
    """

    function = staticmethod(jn.drop_block)

    def __init__(
        self,
        rate: ArrayLike,
        block_size: int,
        *,
        channel_axis: int = -1,
        batch_dims: int = 1,
        **options: Unpack[Options],
    ):
        self.rate, self.block_size = rate, block_size
        self.channel_axis, self.batch_dims = channel_axis, batch_dims
        super().__init__(**options)
