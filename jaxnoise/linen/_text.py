"""Noise of words as `flax.linen` layers."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
from jax.typing import ArrayLike

import jaxnoise as jn
from jaxnoise.linen._noise_layer import NoiseLayer


class TokenDropout(NoiseLayer):
    """`jaxnoise.token_dropout` as a layer."""

    function = staticmethod(jn.token_dropout)
    rate: ArrayLike
    mask_id: int
    protected: Sequence[int] = ()
    deterministic: bool | None = None
    rng_collection: str = "dropout"
    bits: int = 32


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
        return self.noise_on(inputs, deterministic, rng, lengths=lengths)
