"""The core noises as `flax.linen` layers: when to draw and with which key, no more.

Constructors take the amounts of the pure function, then its options, then
`deterministic` and `rng_collection`. Calls are those of `flax.linen.Dropout`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

import jaxnoise as jn
from jaxnoise import _activation, _check


class NoiseLayer(nn.Module):
    """Base of the layers: checks the amounts, finds the key, calls the function.

    A child has the pure `function`, a field for each of its parameters after the key
    and x, and after these the fields `deterministic` and `rng_collection`.
    """

    function: ClassVar[Callable[..., jax.Array]]

    def __post_init__(self):
        _check.amounts(self)
        super().__post_init__()

    def noisy(self, key: jax.Array, x: ArrayLike) -> jax.Array:
        """The pure function with the amounts and options of this layer."""
        return self.function(key, x, **_check.arguments(self, self.function))

    def without_noise(self, x: Any) -> Any:
        """The output of a deterministic layer."""
        return x

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
        return self._called(inputs, deterministic, rng, self.noisy)

    def _called(self, inputs, deterministic, rng, noisy):
        if _merged(self, deterministic):
            return self.without_noise(inputs)
        output = self.without_key(inputs)
        if output is not None:
            return output
        key = self.make_rng(self.rng_collection) if rng is None else rng
        return noisy(key, inputs)


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
    """`jaxnoise.dropout` as a layer, in the place of `flax.linen.Dropout`.

    With a mask of `jaxnoise.dropout_mask` it drops the same units in several calls.
    """

    function = staticmethod(jn.dropout)
    rate: ArrayLike
    broadcast_dims: Sequence[int] = ()
    deterministic: bool | None = None
    rng_collection: str = "dropout"
    bits: int = 32

    def without_key(self, x: Any) -> Any:
        # as in flax, rate 1 needs no rng either
        if _check.known(_check.amounts(self)["rate"], 1):
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
        if _merged(self, deterministic):
            return inputs
        return jn.apply_mask(inputs, mask, self.rate, bits=self.bits)


class SpatialDropout(NoiseLayer):
    """`jaxnoise.spatial_dropout` as a layer."""

    function = staticmethod(jn.spatial_dropout)
    rate: ArrayLike
    channel_axis: int = -1
    batch_dims: int = 1
    deterministic: bool | None = None
    rng_collection: str = "dropout"


class DropPath(NoiseLayer):
    """`jaxnoise.drop_path` as a layer."""

    function = staticmethod(jn.drop_path)
    rate: ArrayLike
    batch_dims: int = 1
    deterministic: bool | None = None
    rng_collection: str = "dropout"


class DropBlock(NoiseLayer):
    """`jaxnoise.drop_block` as a layer."""

    function = staticmethod(jn.drop_block)
    rate: ArrayLike
    block_size: int
    channel_axis: int = -1
    batch_dims: int = 1
    deterministic: bool | None = None
    rng_collection: str = "dropout"


class AlphaDropout(NoiseLayer):
    """`jaxnoise.alpha_dropout` as a layer."""

    function = staticmethod(jn.alpha_dropout)
    rate: ArrayLike
    broadcast_dims: Sequence[int] = ()
    deterministic: bool | None = None
    rng_collection: str = "dropout"
    bits: int = 32


class FeatureAlphaDropout(NoiseLayer):
    """`jaxnoise.feature_alpha_dropout` as a layer."""

    function = staticmethod(jn.feature_alpha_dropout)
    rate: ArrayLike
    channel_axis: int = -1
    batch_dims: int = 1
    deterministic: bool | None = None
    rng_collection: str = "dropout"


class GaussianNoise(NoiseLayer):
    """`jaxnoise.gaussian_noise` as a layer."""

    function = staticmethod(jn.gaussian_noise)
    stddev: ArrayLike
    deterministic: bool | None = None
    rng_collection: str = "dropout"


class GaussianDropout(NoiseLayer):
    """`jaxnoise.gaussian_dropout` as a layer."""

    function = staticmethod(jn.gaussian_dropout)
    rate: ArrayLike
    deterministic: bool | None = None
    rng_collection: str = "dropout"


class RealGaussianDropout(NoiseLayer):
    """`jaxnoise.real_gaussian_dropout` as a layer."""

    function = staticmethod(jn.real_gaussian_dropout)
    rate: ArrayLike
    stddev: ArrayLike
    deterministic: bool | None = None
    rng_collection: str = "dropout"


class UniformNoise(NoiseLayer):
    """`jaxnoise.uniform_noise` as a layer."""

    function = staticmethod(jn.uniform_noise)
    scale: ArrayLike
    deterministic: bool | None = None
    rng_collection: str = "dropout"


class LaplaceNoise(NoiseLayer):
    """`jaxnoise.laplace_noise` as a layer."""

    function = staticmethod(jn.laplace_noise)
    scale: ArrayLike
    deterministic: bool | None = None
    rng_collection: str = "dropout"


class SaltAndPepper(NoiseLayer):
    """`jaxnoise.salt_and_pepper` as a layer."""

    function = staticmethod(jn.salt_and_pepper)
    rate: ArrayLike
    low: ArrayLike = 0.0
    high: ArrayLike = 1.0
    salt_vs_pepper: ArrayLike = 0.5
    broadcast_dims: Sequence[int] = ()
    deterministic: bool | None = None
    rng_collection: str = "dropout"


class PoissonNoise(NoiseLayer):
    """`jaxnoise.poisson_noise` as a layer."""

    function = staticmethod(jn.poisson_noise)
    scale: ArrayLike
    deterministic: bool | None = None
    rng_collection: str = "dropout"


class SpeckleNoise(NoiseLayer):
    """`jaxnoise.speckle_noise` as a layer."""

    function = staticmethod(jn.speckle_noise)
    stddev: ArrayLike
    deterministic: bool | None = None
    rng_collection: str = "dropout"


class TokenDropout(NoiseLayer):
    """`jaxnoise.token_dropout` as a layer."""

    function = staticmethod(jn.token_dropout)
    rate: ArrayLike
    mask_id: int
    protected: Sequence[int] = ()
    deterministic: bool | None = None
    rng_collection: str = "dropout"


class NeftuneNoise(NoiseLayer):
    """`jaxnoise.neftune_noise` as a layer."""

    function = staticmethod(jn.neftune_noise)
    alpha: ArrayLike
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    @nn.compact
    def __call__(
        self,
        inputs: ArrayLike,
        deterministic: bool | None = None,
        rng: jax.Array | None = None,
        *,
        lengths: ArrayLike | None = None,
    ) -> Any:
        """Noise on `inputs`, or `inputs` as they are if `deterministic`.

        Args:
          inputs: embeddings (*batch, time, features).
          deterministic: True for no noise. Here or in the constructor, not in both.
          rng: PRNG key, used as it is; by default one from `make_rng`.
          lengths: the number of real tokens of each sequence.

        Raises:
          ValueError: deterministic given twice or not at all.
          flax.errors.InvalidRngError: neither rng nor the stream `rng_collection`.
        """
        noisy = partial(jn.neftune_noise, alpha=self.alpha, lengths=lengths)
        return self._called(inputs, deterministic, rng, noisy)


class RReLU(NoiseLayer):
    """`jaxnoise.rrelu` as a layer; the slope is the mean one if `deterministic`."""

    function = staticmethod(jn.rrelu)
    lower: ArrayLike
    upper: ArrayLike
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    def __post_init__(self):
        _check.slopes("RReLU", self.lower, self.upper)
        super().__post_init__()

    def without_noise(self, x: Any) -> Any:
        return _activation.mean_of_rrelu(x, self.lower, self.upper)
