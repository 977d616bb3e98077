"""The core noises as `flax.nnx` layers: when to draw and with which key, no more.

Constructors take the amounts of the pure function, its options as keywords, and the
keywords of `flax.nnx.Dropout`: `deterministic`, `rng_collection` and `rngs`. Calls,
`nnx.view`, `train` and `eval` work as there.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, TypedDict, Unpack

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike

import jaxnoise as jn
from jaxnoise import _activation, _check

Source = nnx.Rngs | nnx.RngStream | jax.Array


class Options(TypedDict, total=False):
    """What every layer takes beside its amounts and the options of its function."""

    deterministic: bool | None
    rng_collection: str
    rngs: nnx.Rngs | nnx.RngStream | None


class NoiseLayer(nnx.Module):
    """Base of the layers: checks the amounts, finds the key, calls the function.

    A child has the pure `function`, sets an attribute for each of its parameters after
    the key and x, and then calls `super().__init__(**options)`.
    """

    function: ClassVar[Callable[..., jax.Array]]

    def __init__(
        self,
        *,
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        rngs: nnx.Rngs | nnx.RngStream | None = None,
    ):
        name = type(self).__name__
        _check.amounts(self)
        if isinstance(rngs, nnx.Rngs):
            rngs = rngs[rng_collection]
        if not isinstance(rngs, nnx.RngStream | None):
            raise TypeError(
                f"{name}: rngs must be nnx.Rngs, an nnx.RngStream or None, got "
                f"{rngs!r}. A key is passed to the call: layer(x, rngs=key)."
            )
        self.deterministic = deterministic
        self.rng_collection = rng_collection
        # a stream of its own: calls of this layer do not advance the caller's
        self.rngs = nnx.data(None) if rngs is None else rngs.fork()

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

    def __call__(
        self,
        inputs: ArrayLike,
        *,
        deterministic: bool | None = None,
        rngs: Source | None = None,
    ) -> Any:
        """Noise on `inputs`, or `inputs` as they are if `deterministic`.

        Args:
          inputs: what the pure function takes as x.
          deterministic: True for no noise; wins over the constructor's.
          rngs: a PRNG key, used as it is, or where to take one from; wins over the
            constructor's.

        Raises:
          ValueError: deterministic is None in both places, or there are no rngs.
          TypeError: rngs is something else.
        """
        return self._called(inputs, deterministic, rngs, self.noisy)

    def _called(self, inputs, deterministic, rngs, noisy):
        if self._merged(deterministic):
            return self.without_noise(inputs)
        output = self.without_key(inputs)
        if output is not None:
            return output
        return noisy(self._key(rngs), inputs)

    def set_view(self, deterministic: bool | None = None):
        """Class method used by `nnx.view`.

        Args:
          deterministic: if True, switches the noise off.
        """
        if deterministic is not None:
            self.deterministic = deterministic

    def _merged(self, at_call: bool | None) -> bool:
        deterministic = self.deterministic if at_call is None else at_call
        if deterministic is None:
            name = type(self).__name__
            raise ValueError(
                f"{name}: deterministic is missing. Pass it to the constructor, "
                f"{name}(..., deterministic=False), or to the call, "
                f"layer(x, deterministic=False), or set it for a whole model with "
                f"nnx.view(model, deterministic=False); True switches the noise off."
            )
        return deterministic

    def _key(self, rngs: Source | None) -> jax.Array:
        source, name = self.rngs if rngs is None else rngs, type(self).__name__
        if source is None:
            raise ValueError(
                f"{name}: deterministic is False, but there are no rngs. Pass them to "
                f"the constructor, {name}(..., rngs=nnx.Rngs(0)), or to the call, "
                f"layer(x, rngs=rngs)."
            )
        if isinstance(source, nnx.Rngs):
            return source[self.rng_collection]()
        if isinstance(source, nnx.RngStream):
            return source()
        if isinstance(source, jax.Array):
            return source
        raise TypeError(
            f"{name}: rngs must be nnx.Rngs, an nnx.RngStream or a PRNG key, got "
            f"{source!r}. Make a key with jax.random.key."
        )


class Dropout(NoiseLayer):
    """`jaxnoise.dropout` as a layer, in the place of `flax.nnx.Dropout`.

    With a mask of `jaxnoise.dropout_mask` it drops the same units in several calls.
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
        self.rate, self.broadcast_dims = rate, tuple(broadcast_dims)
        self.bits = bits
        super().__init__(**options)

    def without_key(self, x: Any) -> Any:
        # as in flax, rate 1 takes no key from the stream either
        if _check.known(_check.amounts(self)["rate"], 1):
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
        if self._merged(deterministic):
            return inputs
        return jn.apply_mask(inputs, mask, self.rate, bits=self.bits)


class SpatialDropout(NoiseLayer):
    """`jaxnoise.spatial_dropout` as a layer."""

    function = staticmethod(jn.spatial_dropout)

    def __init__(
        self,
        rate: ArrayLike,
        *,
        channel_axis: int = -1,
        batch_dims: int = 1,
        **options: Unpack[Options],
    ):
        self.rate, self.channel_axis, self.batch_dims = rate, channel_axis, batch_dims
        super().__init__(**options)


class DropPath(NoiseLayer):
    """`jaxnoise.drop_path` as a layer."""

    function = staticmethod(jn.drop_path)

    def __init__(
        self, rate: ArrayLike, *, batch_dims: int = 1, **options: Unpack[Options]
    ):
        self.rate, self.batch_dims = rate, batch_dims
        super().__init__(**options)


class DropBlock(NoiseLayer):
    """`jaxnoise.drop_block` as a layer."""

    function = staticmethod(jn.drop_block)

    def __init__(
        self,
        rate: ArrayLike,
        block_size: int,
        *,
        channel_axis: int = -1,
        batch_dims: int = 1,
        **options: Unpack[Options],
    ):
        self.rate, self.block_size = rate, block_size
        self.channel_axis, self.batch_dims = channel_axis, batch_dims
        super().__init__(**options)


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
        self.rate, self.broadcast_dims = rate, tuple(broadcast_dims)
        self.bits = bits
        super().__init__(**options)


class FeatureAlphaDropout(NoiseLayer):
    """`jaxnoise.feature_alpha_dropout` as a layer."""

    function = staticmethod(jn.feature_alpha_dropout)

    def __init__(
        self,
        rate: ArrayLike,
        *,
        channel_axis: int = -1,
        batch_dims: int = 1,
        **options: Unpack[Options],
    ):
        self.rate, self.channel_axis, self.batch_dims = rate, channel_axis, batch_dims
        super().__init__(**options)


class GaussianNoise(NoiseLayer):
    """`jaxnoise.gaussian_noise` as a layer."""

    function = staticmethod(jn.gaussian_noise)

    def __init__(self, stddev: ArrayLike, **options: Unpack[Options]):
        self.stddev = stddev
        super().__init__(**options)


class GaussianDropout(NoiseLayer):
    """`jaxnoise.gaussian_dropout` as a layer."""

    function = staticmethod(jn.gaussian_dropout)

    def __init__(self, rate: ArrayLike, **options: Unpack[Options]):
        self.rate = rate
        super().__init__(**options)


class RealGaussianDropout(NoiseLayer):
    """`jaxnoise.real_gaussian_dropout` as a layer."""

    function = staticmethod(jn.real_gaussian_dropout)

    def __init__(self, rate: ArrayLike, stddev: ArrayLike, **options: Unpack[Options]):
        self.rate, self.stddev = rate, stddev
        super().__init__(**options)


class UniformNoise(NoiseLayer):
    """`jaxnoise.uniform_noise` as a layer."""

    function = staticmethod(jn.uniform_noise)

    def __init__(self, scale: ArrayLike, **options: Unpack[Options]):
        self.scale = scale
        super().__init__(**options)


class LaplaceNoise(NoiseLayer):
    """`jaxnoise.laplace_noise` as a layer."""

    function = staticmethod(jn.laplace_noise)

    def __init__(self, scale: ArrayLike, **options: Unpack[Options]):
        self.scale = scale
        super().__init__(**options)


class SaltAndPepper(NoiseLayer):
    """`jaxnoise.salt_and_pepper` as a layer."""

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
        self.rate, self.broadcast_dims = rate, tuple(broadcast_dims)
        self.low, self.high, self.salt_vs_pepper = low, high, salt_vs_pepper
        super().__init__(**options)


class PoissonNoise(NoiseLayer):
    """`jaxnoise.poisson_noise` as a layer."""

    function = staticmethod(jn.poisson_noise)

    def __init__(self, scale: ArrayLike, **options: Unpack[Options]):
        self.scale = scale
        super().__init__(**options)


class SpeckleNoise(NoiseLayer):
    """`jaxnoise.speckle_noise` as a layer."""

    function = staticmethod(jn.speckle_noise)

    def __init__(self, stddev: ArrayLike, **options: Unpack[Options]):
        self.stddev = stddev
        super().__init__(**options)


class TokenDropout(NoiseLayer):
    """`jaxnoise.token_dropout` as a layer."""

    function = staticmethod(jn.token_dropout)

    def __init__(
        self,
        rate: ArrayLike,
        mask_id: int,
        *,
        protected: Sequence[int] = (),
        **options: Unpack[Options],
    ):
        self.rate, self.mask_id, self.protected = rate, mask_id, tuple(protected)
        super().__init__(**options)


class NeftuneNoise(NoiseLayer):
    """`jaxnoise.neftune_noise` as a layer."""

    function = staticmethod(jn.neftune_noise)

    def __init__(self, alpha: ArrayLike, **options: Unpack[Options]):
        self.alpha = alpha
        super().__init__(**options)

    def __call__(
        self,
        inputs: ArrayLike,
        *,
        deterministic: bool | None = None,
        rngs: Source | None = None,
        lengths: ArrayLike | None = None,
    ) -> Any:
        """Noise on `inputs`, or `inputs` as they are if `deterministic`.

        Args:
          inputs: embeddings (*batch, time, features).
          deterministic: True for no noise; wins over the constructor's.
          rngs: a PRNG key, used as it is, or where to take one from; wins over the
            constructor's.
          lengths: the number of real tokens of each sequence.

        Raises:
          ValueError: deterministic is None in both places, or there are no rngs.
          TypeError: rngs is something else.
        """
        noisy = partial(jn.neftune_noise, alpha=self.alpha, lengths=lengths)
        return self._called(inputs, deterministic, rngs, noisy)


class RReLU(NoiseLayer):
    """`jaxnoise.rrelu` as a layer; the slope is the mean one if `deterministic`."""

    function = staticmethod(jn.rrelu)

    def __init__(self, lower: ArrayLike, upper: ArrayLike, **options: Unpack[Options]):
        _check.slopes("RReLU", lower, upper)
        self.lower, self.upper = lower, upper
        super().__init__(**options)

    def without_noise(self, x: Any) -> Any:
        return _activation.mean_of_rrelu(x, self.lower, self.upper)
