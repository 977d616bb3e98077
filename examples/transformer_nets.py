"""The network of `transformer.py`: a small GPT with noise on attention and branches."""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax

import jaxnoise.linen as jnn
from jaxnoise import schedules


class Noise(NamedTuple):
    """How much noise there is, and how it is drawn.

    `attention` is the rate at which weights of attention are dropped, `path` that at
    which the last block drops a whole branch of an example; the first drops none, and
    those between lie on a line. `bits` and `block_size` are those of
    `jaxnoise.dot_product_attention`.
    """

    attention: float = 0.0
    path: float = 0.0
    bits: int = 8
    block_size: int | None = None


class Block(nn.Module):
    """Attention and an MLP, each a branch that an example may do without."""

    noise: Noise
    path_rate: float
    heads: int

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        width, bits = x.shape[-1], self.noise.bits
        attend = functools.partial(
            jnn.dot_product_attention, bits=bits, block_size=self.noise.block_size
        )
        attention = nn.MultiHeadDotProductAttention(
            self.heads,
            dropout_rate=self.noise.attention,
            broadcast_dropout=False,
            deterministic=not train,
            attention_fn=attend,
        )
        drop_path = functools.partial(
            jnn.DropPath, self.path_rate, deterministic=not train
        )
        x = x + drop_path()(attention(nn.LayerNorm()(x), mask=mask))
        hidden = nn.gelu(nn.Dense(4 * width)(nn.LayerNorm()(x)))
        return x + drop_path()(nn.Dense(width)(hidden))


class Transformer(nn.Module):
    """Logits of the symbol after each of the tokens, (rows, length, vocabulary)."""

    noise: Noise
    vocabulary: int
    length: int
    width: int
    heads: int
    layers: int

    @nn.compact
    def __call__(self, tokens: jax.Array, train: bool) -> jax.Array:
        length = tokens.shape[-1]
        embed = nn.Embed(self.vocabulary, self.width)
        start = nn.initializers.normal(0.02)
        places = self.param("places", start, (self.length, self.width))
        x, mask = embed(tokens) + places[None, :length], nn.make_causal_mask(tokens)
        for rate in schedules.depth_rates(self.noise.path, self.layers):
            x = Block(self.noise, rate, self.heads)(x, mask, train)
        return embed.attend(nn.LayerNorm()(x))
