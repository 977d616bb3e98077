"""Gaussian and other continuous noise as `flax.nnx` layers."""

from typing import Unpack

from jax.typing import ArrayLike

import jaxnoise as jn
from jaxnoise.nnx._noise_layer import NoiseLayer, Options


class GaussianNoise(NoiseLayer):
    """Add Gaussian noise of standard deviation `stddev`.

    `jaxnoise.gaussian_noise` as a layer.

    Law: y = x + stddev n, n ~ N(0, 1) i.i.d. E[y] = x, Var[y] = stddev^2.
    For complex x, n is circular with total variance 1, one half in each part.

    Args:
      stddev: standard deviation of the noise, finite and at least 0, in the unit of x;
        0 returns x. A traced one is not checked.
      deterministic: True for no noise. The call may say otherwise; `model.train()`,
        `model.eval()` and `nnx.view` set it. Default: False.
      rng_collection: name of the stream of `rngs` that keys come from. Default:
        'dropout'.
      rngs: `nnx.Rngs` or a stream, of which the layer takes a fork; None where the call
        brings a key. Default: None.

    Example:
      >>> import jax.numpy as jnp, jaxnoise.nnx as jnx
      >>> from flax import nnx
      >>> layer = jnx.GaussianNoise(0.1, rngs=nnx.Rngs(0))
      >>> layer(jnp.ones((2, 3))).shape
      (2, 3)

    Reference: Bishop, Training with noise is equivalent to Tikhonov regularization,
    Neural Computation 7, 1995.
    """

    function = staticmethod(jn.gaussian_noise)

    def __init__(self, stddev: ArrayLike, **options: Unpack[Options]):
        self.stddev = stddev
        super().__init__(**options)


class GaussianDropout(NoiseLayer):
    """Multiply by Gaussian noise with the mean and the variance of dropout.

    `jaxnoise.gaussian_dropout` as a layer.

    Law: y = x (1 + n sqrt(rate / (1 - rate))), n ~ N(0, 1) i.i.d.
    E[y] = x, Var[y] = x^2 rate / (1 - rate).

    Args:
      rate: the drop rate of the dropout with the same variance, in [0, 1): 0 returns x.
        A traced rate is clipped to [0, 1 - 2^-24], and nan gives nan; no gradient
        reaches it.
      deterministic: True for no noise. The call may say otherwise; `model.train()`,
        `model.eval()` and `nnx.view` set it. Default: False.
      rng_collection: name of the stream of `rngs` that keys come from. Default:
        'dropout'.
      rngs: `nnx.Rngs` or a stream, of which the layer takes a fork; None where the call
        brings a key. Default: None.

    Example:
      >>> import jax.numpy as jnp, jaxnoise.nnx as jnx
      >>> from flax import nnx
      >>> layer = jnx.GaussianDropout(0.1, rngs=nnx.Rngs(0))
      >>> layer(jnp.ones((2, 3))).shape
      (2, 3)

    Reference: Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov, Dropout: a
    simple way to prevent neural networks from overfitting, section 10, JMLR 15, 2014.
    """

    function = staticmethod(jn.gaussian_dropout)

    def __init__(self, rate: ArrayLike, **options: Unpack[Options]):
        self.rate = rate
        super().__init__(**options)


class RealGaussianDropout(NoiseLayer):
    """Add Gaussian noise to a random fraction `rate` of the units, leave the rest.

    `jaxnoise.real_gaussian_dropout` as a layer.

    Law: y = x + b stddev n, b ~ Bernoulli(rate), n ~ N(0, 1), all independent.
    E[y] = x, Var[y] = rate stddev^2. Units with b = 0 are x to the bit.

    Args:
      rate: fraction of the units that get noise, in [0, 1]: 0 returns x, 1 is
        `gaussian_noise`. A traced rate is clipped to [0, 1], nan to 1; no gradient
        reaches it.
      stddev: standard deviation of the noise, finite and at least 0, in the unit of x;
        0 returns x. A traced one is not checked.
      bits: those of a coin b, as in `dropout`; the noise takes as many as ever.
        Default: 32.
      deterministic: True for no noise. The call may say otherwise; `model.train()`,
        `model.eval()` and `nnx.view` set it. Default: False.
      rng_collection: name of the stream of `rngs` that keys come from. Default:
        'dropout'.
      rngs: `nnx.Rngs` or a stream, of which the layer takes a fork; None where the call
        brings a key. Default: None.

    Example:
      >>> import jax.numpy as jnp, jaxnoise.nnx as jnx
      >>> from flax import nnx
      >>> layer = jnx.RealGaussianDropout(0.1, 0.1, rngs=nnx.Rngs(0))
      >>> layer(jnp.ones((2, 3))).shape
      (2, 3)
    """

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
    """Add noise that is uniform on [-scale, scale).

    `jaxnoise.uniform_noise` as a layer.

    Law: y = x + scale u, u ~ U(-1, 1) i.i.d. E[y] = x, Var[y] = scale^2 / 3.

    Args:
      scale: half the width of the interval, finite and at least 0, in the unit of x; 0
        returns x. A traced one is not checked.
      deterministic: True for no noise. The call may say otherwise; `model.train()`,
        `model.eval()` and `nnx.view` set it. Default: False.
      rng_collection: name of the stream of `rngs` that keys come from. Default:
        'dropout'.
      rngs: `nnx.Rngs` or a stream, of which the layer takes a fork; None where the call
        brings a key. Default: None.

    Example:
      >>> import jax.numpy as jnp, jaxnoise.nnx as jnx
      >>> from flax import nnx
      >>> layer = jnx.UniformNoise(0.1, rngs=nnx.Rngs(0))
      >>> layer(jnp.ones((2, 3))).shape
      (2, 3)

    Reference: Schuchman, Dither signals and their effect on quantization noise, IEEE
    Transactions on Communication Technology 12, 1964.
    """

    function = staticmethod(jn.uniform_noise)

    def __init__(self, scale: ArrayLike, **options: Unpack[Options]):
        self.scale = scale
        super().__init__(**options)


class LaplaceNoise(NoiseLayer):
    """Add Laplace noise, whose tails are heavier than Gaussian ones.

    `jaxnoise.laplace_noise` as a layer.

    Law: y = x + scale l, l ~ Laplace(0, 1) i.i.d. E[y] = x, Var[y] = 2 scale^2.

    Args:
      scale: mean absolute size of the noise, finite and at least 0, in the unit of x; 0
        returns x. A traced one is not checked.
      deterministic: True for no noise. The call may say otherwise; `model.train()`,
        `model.eval()` and `nnx.view` set it. Default: False.
      rng_collection: name of the stream of `rngs` that keys come from. Default:
        'dropout'.
      rngs: `nnx.Rngs` or a stream, of which the layer takes a fork; None where the call
        brings a key. Default: None.

    Example:
      >>> import jax.numpy as jnp, jaxnoise.nnx as jnx
      >>> from flax import nnx
      >>> layer = jnx.LaplaceNoise(0.1, rngs=nnx.Rngs(0))
      >>> layer(jnp.ones((2, 3))).shape
      (2, 3)

    Reference: Kotz, Kozubowski, Podgorski, The Laplace distribution and
    generalizations, Birkhauser, 2001.
    """

    function = staticmethod(jn.laplace_noise)

    def __init__(self, scale: ArrayLike, **options: Unpack[Options]):
        self.scale = scale
        super().__init__(**options)
