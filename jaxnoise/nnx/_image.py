"""Noise of cameras and of channels as `flax.nnx` layers."""

from collections.abc import Sequence
from typing import Unpack

from jax.typing import ArrayLike

import jaxnoise as jn
from jaxnoise._core import _integers
from jaxnoise.nnx._noise_layer import NoiseLayer, Options


class SaltAndPepper(NoiseLayer):
    """Replace a random fraction `rate` of the values by white or by black.

    `jaxnoise.salt_and_pepper` as a layer.

    Law: y = v with probability rate, else x, v = high with probability
    salt_vs_pepper, else low, i.i.d., m and w the mean and the variance of v.
    E[y] = q x + rate m, Var[y] = rate w + rate q (x - m)^2.

    Written out, m = low + salt_vs_pepper (high - low),
    w = salt_vs_pepper (1 - salt_vs_pepper) (high - low)^2, q = 1 - rate. What is left
    alone is what `dropout_mask` keeps for the same key.

    Args:
      rate: probability of replacing, in [0, 1]: 0 returns x. A traced rate is clipped
        to [0, 1], nan to 1; no gradient reaches it.
      low: the value of pepper, finite. Default: 0.0.
      high: the value of salt, finite. Default: 1.0.
      salt_vs_pepper: the share of salt, in [0, 1]. 0 with low = 0 is masking noise: the
        corruption of denoising autoencoders, dropout without a scale. Default: 0.5.
      broadcast_dims: dims that share one draw: `(-1,)` on (..., channels) replaces
        whole pixels. Default: ().
      deterministic: True for no noise. The call may say otherwise; `model.train()`,
        `model.eval()` and `nnx.view` set it. Default: False.
      rng_collection: name of the stream of `rngs` that keys come from. Default:
        'dropout'.
      rngs: `nnx.Rngs` or a stream, of which the layer takes a fork; None where the call
        brings a key. Default: None.

    Example:
      >>> import jax.numpy as jnp, jaxnoise.nnx as jnx
      >>> from flax import nnx
      >>> layer = jnx.SaltAndPepper(0.1, rngs=nnx.Rngs(0))
      >>> layer(jnp.ones((2, 3))).shape
      (2, 3)

    Reference: Gonzalez, Woods, Digital image processing, 4th edition, 2018; for masking
    noise Vincent, Larochelle, Bengio, Manzagol, Extracting and composing robust
    features with denoising autoencoders, ICML 2008.
    """

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
    """Shot noise: what a detector sees of an intensity x, one photon being `scale`.

    `jaxnoise.poisson_noise` as a layer.

    Law: y = scale c, c ~ Poisson(x / scale) i.i.d. E[y] = x, Var[y] = scale x.

    The gradient of y is that of its mean: the identity for x, 0 for scale.

    Args:
      scale: the intensity of one photon, finite and at least 0, in the unit of x: 1 /
        peak for images in [0, 1] whose white is `peak` photons. 0 returns x. A traced
        one is not checked.
      deterministic: True for no noise. The call may say otherwise; `model.train()`,
        `model.eval()` and `nnx.view` set it. Default: False.
      rng_collection: name of the stream of `rngs` that keys come from. Default:
        'dropout'.
      rngs: `nnx.Rngs` or a stream, of which the layer takes a fork; None where the call
        brings a key. Default: None.

    Example:
      >>> import jax.numpy as jnp, jaxnoise.nnx as jnx
      >>> from flax import nnx
      >>> layer = jnx.PoissonNoise(0.1, rngs=nnx.Rngs(0))
      >>> layer(jnp.ones((2, 3))).shape
      (2, 3)

    Reference: Hasinoff, Photon, Poisson noise, Computer Vision: A Reference Guide,
    Springer, 2014.
    """

    function = staticmethod(jn.poisson_noise)

    def __init__(self, scale: ArrayLike, **options: Unpack[Options]):
        self.scale = scale
        super().__init__(**options)


class SpeckleNoise(NoiseLayer):
    """Multiply by Gaussian noise around 1, as coherent light does.

    `jaxnoise.speckle_noise` as a layer.

    Law: y = x (1 + stddev n), n ~ N(0, 1) i.i.d. E[y] = x, Var[y] = x^2 stddev^2.

    Args:
      stddev: standard deviation of the factor, finite and at least 0; 0 returns x. A
        traced one is not checked.
      deterministic: True for no noise. The call may say otherwise; `model.train()`,
        `model.eval()` and `nnx.view` set it. Default: False.
      rng_collection: name of the stream of `rngs` that keys come from. Default:
        'dropout'.
      rngs: `nnx.Rngs` or a stream, of which the layer takes a fork; None where the call
        brings a key. Default: None.

    Example:
      >>> import jax.numpy as jnp, jaxnoise.nnx as jnx
      >>> from flax import nnx
      >>> layer = jnx.SpeckleNoise(0.1, rngs=nnx.Rngs(0))
      >>> layer(jnp.ones((2, 3))).shape
      (2, 3)

    Reference: Goodman, Some fundamental properties of speckle, Journal of the Optical
    Society of America 66, 1976.
    """

    function = staticmethod(jn.speckle_noise)

    def __init__(self, stddev: ArrayLike, **options: Unpack[Options]):
        self.stddev = stddev
        super().__init__(**options)
