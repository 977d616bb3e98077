"""Activations with random slopes as `flax.linen` layers."""

from typing import Any

import flax.linen as nn
from jax.typing import ArrayLike

import jaxnoise as jn
from jaxnoise import _activation
from jaxnoise._core import _check
from jaxnoise.linen._noise_layer import NoiseLayer


class RReLU(NoiseLayer):
    """Leaky ReLU with a random slope for each negative unit.

    `jaxnoise.rrelu` as a layer; the slope is the mean one if `deterministic`.

    Law: y = a x where x is negative, else x, a ~ U(lower, upper) i.i.d.
    For negative x, E[y] = x (lower + upper) / 2, Var[y] = x^2 (upper - lower)^2 / 12.

    Where no noise is wanted, `jax.nn.leaky_relu(x, (lower + upper) / 2)` is its mean.

    Attributes:
      lower: smallest slope, finite; PyTorch's layer has 1/8.
      upper: largest slope, finite and at least lower; PyTorch's layer has 1/3. If the
        two are equal, y is that of `jax.nn.leaky_relu`.
      deterministic: True for no noise. Here or at the call, not in both. Default: None.
      rng_collection: name of the stream of `rngs` that the key comes from. Default:
        'dropout'.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise.linen as jnn
      >>> x, layer = jnp.ones((2, 3)), jnn.RReLU(0.1, 0.3)
      >>> rngs = {"dropout": jax.random.key(0)}
      >>> layer.apply({}, x, deterministic=False, rngs=rngs).shape
      (2, 3)

    Reference: Xu, Wang, Chen, Li, Empirical evaluation of rectified activations in
    convolutional network, 2015, https://arxiv.org/abs/1505.00853.
    """

    function = staticmethod(jn.rrelu)
    lower: ArrayLike
    upper: ArrayLike
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    def __post_init__(self):
        _check.slopes("RReLU", self.lower, self.upper)
        super().__post_init__()

    @nn.nowrap
    def without_noise(self, x: Any) -> Any:
        return _activation.mean_of_rrelu(x, self.lower, self.upper)
