"""Whole channels, samples and blocks dropped, as `flax.nnx` layers."""

from typing import Unpack

from jax.typing import ArrayLike

import jaxnoise as jn
from jaxnoise.nnx._noise_layer import NoiseLayer, Options


class SpatialDropout(NoiseLayer):
    """Drop whole channels: one coin for each (example, channel).

    `jaxnoise.spatial_dropout` as a layer.

    For one example, inside `jax.vmap`: `batch_dims=0`.

    Law: y = x m / q, m ~ Bernoulli(q) i.i.d. over examples and channels, shared by all
    positions, q = 1 - rate. E[y] = x, Var[y] = x^2 rate / (1 - rate).

    Args:
      rate: probability of dropping a channel, in [0, 1]: 0 returns x, 1 returns zeros.
        A traced rate is clipped to [0, 1], nan to 1; no gradient reaches it.
      channel_axis: the dim of the channels; 1 for channels first. Default: -1.
      batch_dims: number of leading batch dims; 0 for a single example. Default: 1.
      bits: as in `dropout`. Default: 32.
      deterministic: True for no noise. The call may say otherwise; `model.train()`,
        `model.eval()` and `nnx.view` set it. Default: False.
      rng_collection: name of the stream of `rngs` that keys come from. Default:
        'dropout'.
      rngs: `nnx.Rngs` or a stream, of which the layer takes a fork; None where the call
        brings a key. Default: None.

    Example:
      >>> import jax.numpy as jnp, jaxnoise.nnx as jnx
      >>> from flax import nnx
      >>> layer = jnx.SpatialDropout(0.1, rngs=nnx.Rngs(0))
      >>> layer(jnp.ones((2, 8, 8, 3))).shape
      (2, 8, 8, 3)

    Reference: Tompson, Goroshin, Jain, LeCun, Bregler, Efficient object localization
    using convolutional networks, CVPR 2015, https://arxiv.org/abs/1411.4280.
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
    """Drop whole samples: one coin for each, as in stochastic depth.

    `jaxnoise.drop_path` as a layer.

    For one example, inside `jax.vmap`: `batch_dims=0`.

    Law: y = x m / q, m ~ Bernoulli(q) i.i.d. over samples, q = 1 - rate.
    E[y] = x, Var[y] = x^2 rate / (1 - rate).

    Args:
      rate: probability of dropping a sample, in [0, 1]: 0 returns x, 1 returns zeros. A
        traced rate is clipped to [0, 1], nan to 1; no gradient reaches it.
      batch_dims: number of leading batch dims; 0 for one coin for all of x. Default: 1.
      bits: as in `dropout`. Default: 32.
      deterministic: True for no noise. The call may say otherwise; `model.train()`,
        `model.eval()` and `nnx.view` set it. Default: False.
      rng_collection: name of the stream of `rngs` that keys come from. Default:
        'dropout'.
      rngs: `nnx.Rngs` or a stream, of which the layer takes a fork; None where the call
        brings a key. Default: None.

    Example:
      >>> import jax.numpy as jnp, jaxnoise.nnx as jnx
      >>> from flax import nnx
      >>> layer = jnx.DropPath(0.1, rngs=nnx.Rngs(0))
      >>> layer(jnp.ones((2, 8, 8, 3))).shape
      (2, 8, 8, 3)

    Reference: Huang, Sun, Liu, Sedra, Weinberger, Deep networks with stochastic depth,
    ECCV 2016, https://arxiv.org/abs/1603.09382.
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
    """Drop contiguous blocks of each channel and rescale what is left of the example.

    `jaxnoise.drop_block` as a layer.

    For one example, inside `jax.vmap`: `batch_dims=0`.

    Law: y = x M size / sum(M), M = 0 on the union of the blocks, size and sum over the
    example. Blocks of size k start at seeds ~ Bernoulli(gamma), i.i.d. on the
    positions where a block fits whole, gamma = rate prod(n_d) / prod(k (n_d - k + 1))
    over the spatial dims d. Each channel has seeds of its own, or all channels of an
    example the same. For constant x the mean over the example is x to rounding, unless
    everything dropped. Position by position it is not: borders drop less.

    Args:
      rate: nominal fraction dropped, in [0, 1]: 0 returns x. Blocks overlap, so less is
        dropped: .243 of a 14 x 14 map for rate .3 and blocks of 7. At 1 some positions
        may survive. A traced rate is clipped to [0, 1], nan to 1; no gradient reaches
        it.
      block_size: side k of the blocks, from 1 (dropout) to the smallest spatial size.
      channel_axis: the dim of the channels; 1 for channels first. Default: -1.
      batch_dims: number of leading batch dims; 0 for a single example. Default: 1.
      share_channels: True for the same blocks in all channels of an example, so that no
        channel shows what a block hides; False for other blocks in each channel.
        Default: False.
      deterministic: True for no noise. The call may say otherwise; `model.train()`,
        `model.eval()` and `nnx.view` set it. Default: False.
      rng_collection: name of the stream of `rngs` that keys come from. Default:
        'dropout'.
      rngs: `nnx.Rngs` or a stream, of which the layer takes a fork; None where the call
        brings a key. Default: None.

    Example:
      >>> import jax.numpy as jnp, jaxnoise.nnx as jnx
      >>> from flax import nnx
      >>> layer = jnx.DropBlock(0.1, 3, rngs=nnx.Rngs(0))
      >>> layer(jnp.ones((2, 8, 8, 3))).shape
      (2, 8, 8, 3)

    Reference: Ghiasi, Lin, Le, DropBlock: a regularization method for convolutional
    networks, NeurIPS 2018, https://arxiv.org/abs/1810.12890.
    """

    function = staticmethod(jn.drop_block)

    def __init__(
        self,
        rate: ArrayLike,
        block_size: int,
        *,
        channel_axis: int = -1,
        batch_dims: int = 1,
        share_channels: bool = False,
        **options: Unpack[Options],
    ):
        self.rate, self.block_size = rate, block_size
        self.channel_axis, self.batch_dims = channel_axis, batch_dims
        self.share_channels = share_channels
        super().__init__(**options)
