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
    """Drop units with probability `rate` and scale the others by 1 / (1 - rate).

    `jaxnoise.dropout` as a layer, in the place of `flax.linen.Dropout`.

    Rate 1 drops everything: 1 % is 0.01. With a mask of `jaxnoise.dropout_mask` it
    drops the same units in several calls.

    Law: y = x m / q, m ~ Bernoulli(q) i.i.d. over the elements, q = 1 - rate.
    E[y] = x, Var[y] = x^2 rate / (1 - rate).

    The same key gives the mask of `jax.random.bernoulli(key, 1 - rate, x.shape)`, and
    for float32 the bits of `flax.linen.Dropout` and `flax.nnx.Dropout`.

    Attributes:
      rate: probability of dropping, in [0, 1]: 0 returns x; 1 drops everything and
        returns zeros, so that 1 % is 0.01. A traced rate is clipped to [0, 1], nan to
        1; no gradient reaches it. Under `jax.experimental.checkify.checkify` a bad one
        is an error.
      broadcast_dims: dims that share one draw. `(1,)` on (batch, time, features) is the
        locked dropout of AWD-LSTM: one mask for all time steps. Default: ().
      deterministic: True for no noise. Here or at the call, not in both. Default: None.
      rng_collection: name of the stream of `rngs` that the key comes from. Default:
        'dropout'.
      bits: 32, or 16 or 8 for 4 or 8 decisions from each block of random bits: another
        mask, drawn faster, of which the backward pass keeps a bit an element and not a
        byte. The rate is rounded to a multiple of 2^-bits, and the scale with it, so
        that the mean stays exact. Eight neighbours along the last dim but two share
        their bits (along the first dim of a matrix or a vector): a device whose part
        has a multiple of eight there draws its own part alone. Default: 32.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise.linen as jnn
      >>> x, layer = jnp.ones((2, 3)), jnn.Dropout(0.1)
      >>> rngs = {"dropout": jax.random.key(0)}
      >>> layer.apply({}, x, deterministic=False, rngs=rngs).shape
      (2, 3)

    Reference: Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov, Dropout: a
    simple way to prevent neural networks from overfitting, JMLR 15, 2014.
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
    """Drop units to the floor of SELU, then rescale all to keep mean and variance.

    `jaxnoise.alpha_dropout` as a layer.

    Law: y = a (m x + (1 - m) A) + c, m ~ Bernoulli(q) i.i.d., q = 1 - rate,
    A = -1.7580993408473766, a = (q (1 + rate A^2))^-1/2, c = -a rate A.

    E[y] = a q x, Var[y] = a^2 rate q (x - A)^2. Not unbiased element by element: what
    it keeps is mean 0 and variance 1 over data that has them.

    Attributes:
      rate: probability of dropping, in [0, 1): 0 returns x. A traced rate is clipped to
        [0, 1 - 2^-24], and nan gives nan; no gradient reaches it.
      broadcast_dims: dims that share one draw. Default: ().
      deterministic: True for no noise. Here or at the call, not in both. Default: None.
      rng_collection: name of the stream of `rngs` that the key comes from. Default:
        'dropout'.
      bits: as in `dropout`; q is the rounded one in all of the law. Default: 32.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise.linen as jnn
      >>> x, layer = jnp.ones((2, 3)), jnn.AlphaDropout(0.1)
      >>> rngs = {"dropout": jax.random.key(0)}
      >>> layer.apply({}, x, deterministic=False, rngs=rngs).shape
      (2, 3)

    Reference: Klambauer, Unterthiner, Mayr, Hochreiter, Self-normalizing neural
    networks, NeurIPS 2017, https://arxiv.org/abs/1706.02515.
    """

    function = staticmethod(jn.alpha_dropout)
    rate: ArrayLike
    broadcast_dims: Sequence[int] = ()
    deterministic: bool | None = None
    rng_collection: str = "dropout"
    bits: int = 32


class FeatureAlphaDropout(NoiseLayer):
    """Alpha dropout of whole channels: one coin for each (example, channel).

    `jaxnoise.feature_alpha_dropout` as a layer.

    For one example, inside `jax.vmap`: `batch_dims=0`.

    Law: that of `alpha_dropout` with its a and A, m shared by the positions of a
    channel. E[y] = a q x, Var[y] = a^2 rate q (x - A)^2.

    Attributes:
      rate: probability of dropping a channel, in [0, 1): 0 returns x. A traced rate is
        clipped to [0, 1 - 2^-24], and nan gives nan; no gradient reaches it.
      channel_axis: the dim of the channels. Default: -1.
      batch_dims: number of leading batch dims; 0 for a single example. Default: 1.
      deterministic: True for no noise. Here or at the call, not in both. Default: None.
      rng_collection: name of the stream of `rngs` that the key comes from. Default:
        'dropout'.
      bits: as in `alpha_dropout`. Default: 32.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise.linen as jnn
      >>> x, layer = jnp.ones((2, 8, 8, 3)), jnn.FeatureAlphaDropout(0.1)
      >>> rngs = {"dropout": jax.random.key(0)}
      >>> layer.apply({}, x, deterministic=False, rngs=rngs).shape
      (2, 8, 8, 3)

    Reference: Klambauer, Unterthiner, Mayr, Hochreiter, Self-normalizing neural
    networks, NeurIPS 2017, https://arxiv.org/abs/1706.02515.
    """

    function = staticmethod(jn.feature_alpha_dropout)
    rate: ArrayLike
    channel_axis: int = -1
    batch_dims: int = 1
    deterministic: bool | None = None
    rng_collection: str = "dropout"
    bits: int = 32
