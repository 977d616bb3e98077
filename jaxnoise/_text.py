"""Noise of words: what is dropped is a word of the vocabulary, wherever it occurs."""

import jax
from jax.typing import ArrayLike

from jaxnoise import _check, _mask


def embedding_dropout(key: jax.Array, table: ArrayLike, rate: ArrayLike) -> jax.Array:
    """Drop whole rows of an embedding table: words, at every place of their occurrence.

    Law: y[v] = table[v] m[v] / q, m ~ Bernoulli(q) i.i.d. over the rows, q = 1 - rate.
    E[y] = table, Var[y] = table^2 rate / (1 - rate).

    Args:
      key: PRNG key, consumed.
      table: floating array (vocabulary, *features).
      rate: probability of dropping a row, in [0, 1]: 0 returns the table, 1 returns
        zeros. A traced rate is clipped to [0, 1]; no gradient reaches it.

    Returns:
      Array with the shape, dtype and sharding of table, in which to look words up.

    Raises:
      ValueError: rate outside [0, 1], a table without rows, or a batch of keys.
      TypeError: table is not floating, or key is not a key.

    Sharp bits: rows that are looked up as zeros still count in the softmax if the table
    is shared with the output layer; give that one the table itself.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise as jn
      >>> y = jn.embedding_dropout(jax.random.key(0), jnp.ones((100, 4)), 0.1)
      >>> bool((y == y[:, :1]).all())  # a word is kept or dropped as a whole
      True

    Reference: Gal, Ghahramani, A theoretically grounded application of dropout in
    recurrent neural networks, NeurIPS 2016, https://arxiv.org/abs/1512.05287; Merity,
    Keskar, Socher, Regularizing and optimizing LSTM language models, ICLR 2018,
    https://arxiv.org/abs/1708.02182.
    """
    key = _check.key("embedding_dropout", key)
    table = _check.floating("embedding_dropout", table)
    rate = _check.rate("embedding_dropout", rate)
    if table.ndim == 0:
        raise ValueError(
            "embedding_dropout: table must be (vocabulary, *features), got a scalar."
        )
    shape = _check.shared(table.shape, tuple(range(1, table.ndim)))
    return _mask.drop(key, table, rate, shape)
