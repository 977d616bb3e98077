"""Noise of words as `flax.nnx` layers."""

from collections.abc import Sequence
from typing import Any, Unpack

from jax.typing import ArrayLike

import jaxnoise as jn
from jaxnoise.nnx._noise_layer import NoiseLayer, Options, Source


class TokenDropout(NoiseLayer):
    """Replace words of a text by `mask_id` with probability `rate`.

    `jaxnoise.token_dropout` as a layer.

    Law: y = mask_id where b and the id is not protected, else the id,
    b ~ Bernoulli(rate) i.i.d. over the places. E[b] = rate, Var[b] = rate (1 - rate).

    What is not replaced is what `dropout_mask` keeps for the same key.

    Args:
      rate: probability of replacing, in [0, 1]: 0 returns the ids, 1 replaces all that
        is not protected. A traced rate is clipped to [0, 1], nan to 1.
      mask_id: the id to put in, such as that of "unknown" or of a mask token.
      protected: ids that are never replaced: padding, begin, end. Default: ().
      bits: as in `dropout`; those of the mask of `dropout_mask`. Default: 32.
      deterministic: True for no noise. The call may say otherwise; `model.train()`,
        `model.eval()` and `nnx.view` set it. Default: False.
      rng_collection: name of the stream of `rngs` that keys come from. Default:
        'dropout'.
      rngs: `nnx.Rngs` or a stream, of which the layer takes a fork; None where the call
        brings a key. Default: None.

    Example:
      >>> import jax.numpy as jnp, jaxnoise.nnx as jnx
      >>> from flax import nnx
      >>> layer = jnx.TokenDropout(0.1, 0, rngs=nnx.Rngs(0))
      >>> layer(jnp.arange(6)).shape
      (6,)

    Reference: Dai, Le, Semi-supervised sequence learning, NeurIPS 2015,
    https://arxiv.org/abs/1511.01432; Bowman, Vilnis, Vinyals, Dai, Jozefowicz, Bengio,
    Generating sentences from a continuous space, CoNLL 2016,
    https://arxiv.org/abs/1511.06349.
    """

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
    """Add uniform noise to embeddings, the less the longer the sequence: NEFTune.

    `jaxnoise.neftune_noise` as a layer.

    Law: y = embeddings + u alpha / sqrt(L d), u ~ U(-1, 1) i.i.d., L the length of the
    sequence, d the width. E[y] = embeddings, Var[y] = alpha^2 / (3 L d).

    Args:
      alpha: sqrt(3) times the root mean square length of the noise of a sequence,
        finite and at least 0; 0 returns the embeddings. The paper has 5, 10 and 15. A
        traced one is not checked.
      deterministic: True for no noise. The call may say otherwise; `model.train()`,
        `model.eval()` and `nnx.view` set it. Default: False.
      rng_collection: name of the stream of `rngs` that keys come from. Default:
        'dropout'.
      rngs: `nnx.Rngs` or a stream, of which the layer takes a fork; None where the call
        brings a key. Default: None.

    Example:
      >>> import jax.numpy as jnp, jaxnoise.nnx as jnx
      >>> from flax import nnx
      >>> layer = jnx.NeftuneNoise(5.0, rngs=nnx.Rngs(0))
      >>> layer(jnp.ones((2, 5, 3))).shape
      (2, 5, 3)

    Reference: Jain, Chiang, Wen, Kirchenbauer et al., NEFTune: noisy embeddings improve
    instruction finetuning, ICLR 2024, https://arxiv.org/abs/2310.05914.
    """

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
