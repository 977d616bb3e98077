"""Activations with random slopes as `flax.nnx` layers."""

from typing import Any, Unpack

from jax.typing import ArrayLike

import jaxnoise as jn
from jaxnoise import _activation
from jaxnoise._core import _check
from jaxnoise.nnx._noise_layer import NoiseLayer, Options


class RReLU(NoiseLayer):
    """Leaky ReLU with a random slope for each negative unit.

    `jaxnoise.rrelu` as a layer; the slope is the mean one if `deterministic`.

    Law: y = a x where x is negative, else x, a ~ U(lower, upper) i.i.d.
    For negative x, E[y] = x (lower + upper) / 2, Var[y] = x^2 (upper - lower)^2 / 12.

    Where no noise is wanted, `jax.nn.leaky_relu(x, (lower + upper) / 2)` is its mean.

    Args:
      lower: smallest slope, finite; PyTorch's layer has 1/8.
      upper: largest slope, finite and at least lower; PyTorch's layer has 1/3. If the
        two are equal, y is that of `jax.nn.leaky_relu`.
      deterministic: True for no noise. The call may say otherwise; `model.train()`,
        `model.eval()` and `nnx.view` set it. Default: False.
      rng_collection: name of the stream of `rngs` that keys come from. Default:
        'dropout'.
      rngs: `nnx.Rngs` or a stream, of which the layer takes a fork; None where the call
        brings a key. Default: None.

    Example:
      >>> import jax.numpy as jnp, jaxnoise.nnx as jnx
      >>> from flax import nnx
      >>> layer = jnx.RReLU(0.1, 0.3, rngs=nnx.Rngs(0))
      >>> layer(jnp.ones((2, 3))).shape
      (2, 3)

    Reference: Xu, Wang, Chen, Li, Empirical evaluation of rectified activations in
    convolutional network, 2015, https://arxiv.org/abs/1505.00853.
    """

    function = staticmethod(jn.rrelu)

    def __init__(self, lower: ArrayLike, upper: ArrayLike, **options: Unpack[Options]):
        _check.slopes("RReLU", lower, upper)
        self.lower, self.upper = lower, upper
        super().__init__(**options)

    def without_noise(self, x: Any) -> Any:
        return _activation.mean_of_rrelu(x, self.lower, self.upper)
