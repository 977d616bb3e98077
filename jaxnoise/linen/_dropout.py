"""Dropout, and the dropout of SELU networks, as `flax.linen` layers."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

import jaxnoise as jn
from jaxnoise._core import _check
from jaxnoise.linen._noise_layer import NoiseLayer, is_deterministic


class Dropout(NoiseLayer):
    """`jaxnoise.dropout` as a layer, in the place of `flax.linen.Dropout`.

    Rate 1 drops everything: 1 % is 0.01. With a mask of `jaxnoise.dropout_mask` it
    drops the same units in several calls.
    """

    function = staticmethod(jn.dropout)
    rate: ArrayLike
    broadcast_dims: Sequence[int] = ()
    deterministic: bool | None = None
    rng_collection: str = "dropout"
    bits: int = 32

    @nn.nowrap
    def without_key(self, x: Any) -> Any:
        # as in flax, rate 1 needs no rng either
        if _check.known(self.rate, 1):
            return jnp.zeros_like(x)
        return super().without_key(x)

    @nn.compact
    def __call__(
        self,
        inputs: ArrayLike,
        deterministic: bool | None = None,
        rng: jax.Array | None = None,
        *,
        mask: ArrayLike | None = None,
    ) -> Any:
        """Dropout of `inputs`, or `inputs` as they are if `deterministic`.

        Args:
          inputs: what `jaxnoise.dropout` takes as x.
          deterministic: True for no noise. Here or in the constructor, not in both.
          rng: PRNG key, used as it is; by default one from `make_rng`.
          mask: what to keep, drawn with the rate and the bits of this layer; it is
            applied as `jaxnoise.apply_mask` does, and no key is needed.

        Raises:
          ValueError: deterministic given twice or not at all, or a mask that does not
            broadcast to inputs.
          TypeError: a mask that is not bool.
          flax.errors.InvalidRngError: no mask, no rng and no stream `rng_collection`.
        """
        if mask is None:
            return super().__call__(inputs, deterministic, rng)
        if is_deterministic(self, deterministic):
            return inputs
        return jn.apply_mask(inputs, mask, self.rate, bits=self.bits)


class AlphaDropout(NoiseLayer):
    """`jaxnoise.alpha_dropout` as a layer."""

    function = staticmethod(jn.alpha_dropout)
    rate: ArrayLike
    broadcast_dims: Sequence[int] = ()
    deterministic: bool | None = None
    rng_collection: str = "dropout"
    bits: int = 32


class FeatureAlphaDropout(NoiseLayer):
    """`jaxnoise.feature_alpha_dropout` as a layer.

    For one example, inside `jax.vmap`: `batch_dims=0`.
    """

    function = staticmethod(jn.feature_alpha_dropout)
    rate: ArrayLike
    channel_axis: int = -1
    batch_dims: int = 1
    deterministic: bool | None = None
    rng_collection: str = "dropout"
    bits: int = 32
