"""Dropout, and the dropout of SELU networks, as `flax.nnx` layers."""

from collections.abc import Sequence
from typing import Any, Unpack

import jax.numpy as jnp
from jax.typing import ArrayLike

import jaxnoise as jn
from jaxnoise._core import _check, _integers
from jaxnoise.nnx._noise_layer import NoiseLayer, Options, Source, is_deterministic


class Dropout(NoiseLayer):
    """`jaxnoise.dropout` as a layer, in the place of `flax.nnx.Dropout`.

    Rate 1 drops everything: 1 % is 0.01. With a mask of `jaxnoise.dropout_mask` it
    drops the same units in several calls.
    """

    function = staticmethod(jn.dropout)

    def __init__(
        self,
        rate: ArrayLike,
        *,
        broadcast_dims: Sequence[int] = (),
        bits: int = 32,
        **options: Unpack[Options],
    ):
        self.rate, self.broadcast_dims = rate, _integers.items(broadcast_dims)
        self.bits = bits
        super().__init__(**options)

    def without_key(self, x: Any) -> Any:
        # as in flax, rate 1 takes no key from the stream either
        if _check.known(self.rate, 1):
            return jnp.zeros_like(x)
        return super().without_key(x)

    def __call__(
        self,
        inputs: ArrayLike,
        *,
        deterministic: bool | None = None,
        rngs: Source | None = None,
        mask: ArrayLike | None = None,
    ) -> Any:
        """Dropout of `inputs`, or `inputs` as they are if `deterministic`.

        Args:
          inputs: what `jaxnoise.dropout` takes as x.
          deterministic: True for no noise; wins over the constructor's.
          rngs: a PRNG key, used as it is, or where to take one from; wins over the
            constructor's.
          mask: what to keep, drawn with the rate and the bits of this layer; it is
            applied as `jaxnoise.apply_mask` does, and no key is taken.

        Raises:
          ValueError: deterministic is None in both places, there are neither mask nor
            rngs, or the mask does not broadcast to inputs.
          TypeError: rngs is something else, or the mask is not bool.
        """
        if mask is None:
            return super().__call__(inputs, deterministic=deterministic, rngs=rngs)
        if is_deterministic(self, deterministic):
            return inputs
        return jn.apply_mask(inputs, mask, self.rate, bits=self.bits)


class AlphaDropout(NoiseLayer):
    """`jaxnoise.alpha_dropout` as a layer."""

    function = staticmethod(jn.alpha_dropout)

    def __init__(
        self,
        rate: ArrayLike,
        *,
        broadcast_dims: Sequence[int] = (),
        bits: int = 32,
        **options: Unpack[Options],
    ):
        self.rate, self.broadcast_dims = rate, _integers.items(broadcast_dims)
        self.bits = bits
        super().__init__(**options)


class FeatureAlphaDropout(NoiseLayer):
    """`jaxnoise.feature_alpha_dropout` as a layer.

    For one example, inside `jax.vmap`: `batch_dims=0`.
    """

    function = staticmethod(jn.feature_alpha_dropout)

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
