"""Noise of words as `flax.linen` layers."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
from jax.typing import ArrayLike

import jaxnoise as jn
from jaxnoise.linen._noise_layer import NoiseLayer


class TokenDropout(NoiseLayer):
    """Replace words of a text by `mask_id` with probability `rate`.

    `jaxnoise.token_dropout` as a layer.

    Law: y = mask_id where b and the id is not protected, else the id,
    b ~ Bernoulli(rate) i.i.d. over the places. E[b] = rate, Var[b] = rate (1 - rate).

    What is not replaced is what `dropout_mask` keeps for the same key.

    Attributes:
      rate: probability of replacing, in [0, 1]: 0 returns the ids, 1 replaces all that
        is not protected. A traced rate is clipped to [0, 1], nan to 1.
      mask_id: the id to put in, such as that of "unknown" or of a mask token.
      protected: ids that are never replaced: padding, begin, end. Default: ().
      deterministic: True for no noise. Here or at the call, not in both. Default: None.
      rng_collection: name of the stream of `rngs` that the key comes from. Default:
        'dropout'.
      bits: as in `dropout`; those of the mask of `dropout_mask`. Default: 32.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise.linen as jnn
      >>> x, layer = jnp.arange(6), jnn.TokenDropout(0.1, 0)
      >>> rngs = {"dropout": jax.random.key(0)}
      >>> layer.apply({}, x, deterministic=False, rngs=rngs).shape
      (6,)

    Reference: Dai, Le, Semi-supervised sequence learning, NeurIPS 2015,
    https://arxiv.org/abs/1511.01432; Bowman, Vilnis, Vinyals, Dai, Jozefowicz, Bengio,
    Generating sentences from a continuous space, CoNLL 2016,
    https://arxiv.org/abs/1511.06349.
    """

    function = staticmethod(jn.token_dropout)
    rate: ArrayLike
    mask_id: int
    protected: Sequence[int] = ()
    deterministic: bool | None = None
    rng_collection: str = "dropout"
    bits: int = 32


class NeftuneNoise(NoiseLayer):
    """Add uniform noise to embeddings, the less the longer the sequence: NEFTune.

    `jaxnoise.neftune_noise` as a layer.

    Law: y = embeddings + u alpha / sqrt(L d), u ~ U(-1, 1) i.i.d., L the length of the
    sequence, d the width. E[y] = embeddings, Var[y] = alpha^2 / (3 L d).

    Attributes:
      alpha: sqrt(3) times the root mean square length of the noise of a sequence,
        finite and at least 0; 0 returns the embeddings. The paper has 5, 10 and 15. A
        traced one is not checked.
      deterministic: True for no noise. Here or at the call, not in both. Default: None.
      rng_collection: name of the stream of `rngs` that the key comes from. Default:
        'dropout'.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise.linen as jnn
      >>> x, layer = jnp.ones((2, 5, 3)), jnn.NeftuneNoise(5.0)
      >>> rngs = {"dropout": jax.random.key(0)}
      >>> layer.apply({}, x, deterministic=False, rngs=rngs).shape
      (2, 5, 3)

    Reference: Jain, Chiang, Wen, Kirchenbauer et al., NEFTune: noisy embeddings improve
    instruction finetuning, ICLR 2024, https://arxiv.org/abs/2310.05914.
    """

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
