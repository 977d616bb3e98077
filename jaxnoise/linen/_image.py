"""Noise of cameras and of channels as `flax.linen` layers."""

from collections.abc import Sequence

from jax.typing import ArrayLike

import jaxnoise as jn
from jaxnoise.linen._noise_layer import NoiseLayer


class SaltAndPepper(NoiseLayer):
    """Replace a random fraction `rate` of the values by white or by black.

    `jaxnoise.salt_and_pepper` as a layer.

    Law: y = v with probability rate, else x, v = high with probability
    salt_vs_pepper, else low, i.i.d., m and w the mean and the variance of v.
    E[y] = q x + rate m, Var[y] = rate w + rate q (x - m)^2.

    Written out, m = low + salt_vs_pepper (high - low),
    w = salt_vs_pepper (1 - salt_vs_pepper) (high - low)^2, q = 1 - rate. What is left
    alone is what `dropout_mask` keeps for the same key.

    Attributes:
      rate: probability of replacing, in [0, 1]: 0 returns x. A traced rate is clipped
        to [0, 1], nan to 1; no gradient reaches it.
      low: the value of pepper, finite. Default: 0.0.
      high: the value of salt, finite. Default: 1.0.
      salt_vs_pepper: the share of salt, in [0, 1]. 0 with low = 0 is masking noise: the
        corruption of denoising autoencoders, dropout without a scale. Default: 0.5.
      broadcast_dims: dims that share one draw: `(-1,)` on (..., channels) replaces
        whole pixels. Default: ().
      deterministic: True for no noise. Here or at the call, not in both. Default: None.
      rng_collection: name of the stream of `rngs` that the key comes from. Default:
        'dropout'.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise.linen as jnn
      >>> x, layer = jnp.ones((2, 3)), jnn.SaltAndPepper(0.1)
      >>> rngs = {"dropout": jax.random.key(0)}
      >>> layer.apply({}, x, deterministic=False, rngs=rngs).shape
      (2, 3)

    Reference: Gonzalez, Woods, Digital image processing, 4th edition, 2018; for masking
    noise Vincent, Larochelle, Bengio, Manzagol, Extracting and composing robust
    features with denoising autoencoders, ICML 2008.
    """

    function = staticmethod(jn.salt_and_pepper)
    rate: ArrayLike
    low: ArrayLike = 0.0
    high: ArrayLike = 1.0
    salt_vs_pepper: ArrayLike = 0.5
    broadcast_dims: Sequence[int] = ()
    deterministic: bool | None = None
    rng_collection: str = "dropout"


class PoissonNoise(NoiseLayer):
    """Shot noise: what a detector sees of an intensity x, one photon being `scale`.

    `jaxnoise.poisson_noise` as a layer.

    Law: y = scale c, c ~ Poisson(x / scale) i.i.d. E[y] = x, Var[y] = scale x.

    The gradient of y is that of its mean: the identity for x, 0 for scale.

    Attributes:
      scale: the intensity of one photon, finite and at least 0, in the unit of x: 1 /
        peak for images in [0, 1] whose white is `peak` photons. 0 returns x. A traced
        one is not checked.
      deterministic: True for no noise. Here or at the call, not in both. Default: None.
      rng_collection: name of the stream of `rngs` that the key comes from. Default:
        'dropout'.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise.linen as jnn
      >>> x, layer = jnp.ones((2, 3)), jnn.PoissonNoise(0.1)
      >>> rngs = {"dropout": jax.random.key(0)}
      >>> layer.apply({}, x, deterministic=False, rngs=rngs).shape
      (2, 3)

    Reference: Hasinoff, Photon, Poisson noise, Computer Vision: A Reference Guide,
    Springer, 2014.
    """

    function = staticmethod(jn.poisson_noise)
    scale: ArrayLike
    deterministic: bool | None = None
    rng_collection: str = "dropout"


class SpeckleNoise(NoiseLayer):
    """Multiply by Gaussian noise around 1, as coherent light does.

    `jaxnoise.speckle_noise` as a layer.

    Law: y = x (1 + stddev n), n ~ N(0, 1) i.i.d. E[y] = x, Var[y] = x^2 stddev^2.

    Attributes:
      stddev: standard deviation of the factor, finite and at least 0; 0 returns x. A
        traced one is not checked.
      deterministic: True for no noise. Here or at the call, not in both. Default: None.
      rng_collection: name of the stream of `rngs` that the key comes from. Default:
        'dropout'.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise.linen as jnn
      >>> x, layer = jnp.ones((2, 3)), jnn.SpeckleNoise(0.1)
      >>> rngs = {"dropout": jax.random.key(0)}
      >>> layer.apply({}, x, deterministic=False, rngs=rngs).shape
      (2, 3)

    Reference: Goodman, Some fundamental properties of speckle, Journal of the Optical
    Society of America 66, 1976.
    """

    function = staticmethod(jn.speckle_noise)
    stddev: ArrayLike
    deterministic: bool | None = None
    rng_collection: str = "dropout"
