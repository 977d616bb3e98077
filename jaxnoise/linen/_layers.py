"""The core noises as `flax.linen` layers: when to draw and with which key, no more.

Constructors take the amounts of the pure function, then its options, then
`deterministic` and `rng_collection`. Calls are those of `flax.linen.Dropout`.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

import jaxnoise as jn
from jaxnoise import _check


class NoiseLayer(nn.Module):
    """Base of the layers: checks the amounts, finds the key, calls `noisy`.

    A child has the fields `deterministic` and `rng_collection` after its own, one or
    more amounts among `rate`, `stddev` and `scale`, and the method `noisy`.
    """

    def __post_init__(self):
        _check.amounts(self)
        super().__post_init__()

    def noisy(self, key: jax.Array, x: ArrayLike) -> jax.Array:
        """The pure function with the amounts and options of this layer."""
        raise NotImplementedError

    def without_key(self, x: Any) -> Any:
        """The output where the amounts leave nothing to draw, else None."""
        amounts = _check.amounts(self).values()
        return x if any(_check.known(amount, 0) for amount in amounts) else None

    @nn.compact
    def __call__(
        self,
        inputs: ArrayLike,
        deterministic: bool | None = None,
        rng: jax.Array | None = None,
    ) -> Any:
        """Noise on `inputs`, or `inputs` as they are if `deterministic`.

        Args:
          inputs: what the pure function takes as x.
          deterministic: True for no noise. Here or in the constructor, not in both.
          rng: PRNG key, used as it is; by default one from `make_rng`.

        Raises:
          ValueError: deterministic given twice or not at all.
          flax.errors.InvalidRngError: neither rng nor the stream `rng_collection`.
        """
        if _merged(self, deterministic):
            return inputs
        output = self.without_key(inputs)
        if output is not None:
            return output
        return self.noisy(
            self.make_rng(self.rng_collection) if rng is None else rng, inputs
        )


def _merged(layer: Any, at_call: bool | None) -> bool:
    """`deterministic` from the constructor or the call."""
    name, at_construction = type(layer).__name__, layer.deterministic
    if (at_call is None) == (at_construction is None):
        state = "is missing" if at_call is None else "was given twice"
        raise ValueError(
            f"{name}: deterministic {state}. Pass it once, either to the constructor, "
            f"{name}(..., deterministic=not train), or to the call, "
            f"layer(x, deterministic=not train); True switches the noise off."
        )
    return at_construction if at_call is None else at_call


class Dropout(NoiseLayer):
    """`jaxnoise.dropout` as a layer, in the place of `flax.linen.Dropout`."""

    rate: ArrayLike
    broadcast_dims: Sequence[int] = ()
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    def without_key(self, x: Any) -> Any:
        # as in flax, rate 1 needs no rng either
        if _check.known(_check.amounts(self)["rate"], 1):
            return jnp.zeros_like(x)
        return super().without_key(x)

    def noisy(self, key: jax.Array, x: ArrayLike) -> jax.Array:
        return jn.dropout(key, x, self.rate, broadcast_dims=self.broadcast_dims)


class SpatialDropout(NoiseLayer):
    """`jaxnoise.spatial_dropout` as a layer."""

    rate: ArrayLike
    channel_axis: int = -1
    batch_dims: int = 1
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    def noisy(self, key: jax.Array, x: ArrayLike) -> jax.Array:
        axes = {"channel_axis": self.channel_axis, "batch_dims": self.batch_dims}
        return jn.spatial_dropout(key, x, self.rate, **axes)


class DropPath(NoiseLayer):
    """`jaxnoise.drop_path` as a layer."""

    rate: ArrayLike
    batch_dims: int = 1
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    def noisy(self, key: jax.Array, x: ArrayLike) -> jax.Array:
        return jn.drop_path(key, x, self.rate, batch_dims=self.batch_dims)


class DropBlock(NoiseLayer):
    """`jaxnoise.drop_block` as a layer."""

    rate: ArrayLike
    block_size: int
    channel_axis: int = -1
    batch_dims: int = 1
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    def noisy(self, key: jax.Array, x: ArrayLike) -> jax.Array:
        axes = {"channel_axis": self.channel_axis, "batch_dims": self.batch_dims}
        return jn.drop_block(key, x, self.rate, self.block_size, **axes)


class AlphaDropout(NoiseLayer):
    """`jaxnoise.alpha_dropout` as a layer."""

    rate: ArrayLike
    broadcast_dims: Sequence[int] = ()
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    def noisy(self, key: jax.Array, x: ArrayLike) -> jax.Array:
        return jn.alpha_dropout(key, x, self.rate, broadcast_dims=self.broadcast_dims)


class FeatureAlphaDropout(NoiseLayer):
    """`jaxnoise.feature_alpha_dropout` as a layer."""

    rate: ArrayLike
    channel_axis: int = -1
    batch_dims: int = 1
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    def noisy(self, key: jax.Array, x: ArrayLike) -> jax.Array:
        axes = {"channel_axis": self.channel_axis, "batch_dims": self.batch_dims}
        return jn.feature_alpha_dropout(key, x, self.rate, **axes)


class GaussianNoise(NoiseLayer):
    """`jaxnoise.gaussian_noise` as a layer."""

    stddev: ArrayLike
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    def noisy(self, key: jax.Array, x: ArrayLike) -> jax.Array:
        return jn.gaussian_noise(key, x, self.stddev)


class GaussianDropout(NoiseLayer):
    """`jaxnoise.gaussian_dropout` as a layer."""

    rate: ArrayLike
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    def noisy(self, key: jax.Array, x: ArrayLike) -> jax.Array:
        return jn.gaussian_dropout(key, x, self.rate)


class RealGaussianDropout(NoiseLayer):
    """`jaxnoise.real_gaussian_dropout` as a layer."""

    rate: ArrayLike
    stddev: ArrayLike
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    def noisy(self, key: jax.Array, x: ArrayLike) -> jax.Array:
        return jn.real_gaussian_dropout(key, x, self.rate, self.stddev)


class UniformNoise(NoiseLayer):
    """`jaxnoise.uniform_noise` as a layer."""

    scale: ArrayLike
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    def noisy(self, key: jax.Array, x: ArrayLike) -> jax.Array:
        return jn.uniform_noise(key, x, self.scale)


class LaplaceNoise(NoiseLayer):
    """`jaxnoise.laplace_noise` as a layer."""

    scale: ArrayLike
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    def noisy(self, key: jax.Array, x: ArrayLike) -> jax.Array:
        return jn.laplace_noise(key, x, self.scale)
