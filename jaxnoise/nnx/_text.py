"""Noise of words as `flax.nnx` layers."""

from collections.abc import Sequence
from typing import Any, Unpack

from jax.typing import ArrayLike

import jaxnoise as jn
from jaxnoise.nnx._noise_layer import NoiseLayer, Options, Source


class TokenDropout(NoiseLayer):
    """`jaxnoise.token_dropout` as a layer."""

    function = staticmethod(jn.token_dropout)

    def __init__(
        self,
        rate: ArrayLike,
        mask_id: int,
        *,
        protected: Sequence[int] = (),
        bits: int = 32,
        **options: Unpack[Options],
    ):
        self.rate, self.mask_id, self.protected = rate, mask_id, tuple(protected)
        self.bits = bits
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
        return self.noise_on(inputs, deterministic, rngs, lengths=lengths)
