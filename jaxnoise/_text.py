"""Noise of words: in the table, in the text, and in what was looked up."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import max_dim
from jax.sharding import NamedSharding, PartitionSpec
from jax.typing import ArrayLike

from jaxnoise._core import _check, _integers, _mask, _precision, _random, _sharding


def embedding_dropout(
    key: jax.Array, table: ArrayLike, rate: ArrayLike, *, bits: int = 32
) -> jax.Array:
    """Drop whole rows of an embedding table: words, at every place of their occurrence.

    Law: y[v] = table[v] m[v] / q, m ~ Bernoulli(q) i.i.d. over the rows, q = 1 - rate.
    E[y] = table, Var[y] = table^2 rate / (1 - rate).

    Args:
      key: PRNG key, consumed.
      table: floating array (vocabulary, features), not yet looked up.
      rate: probability of dropping a row, in [0, 1]: 0 returns the table, 1 returns
        zeros. A traced rate is clipped to [0, 1], nan to 1; no gradient reaches it.
      bits: as in `dropout`.

    Returns:
      Array with the shape, dtype and sharding of table, in which to look words up.

    Raises:
      ValueError: a known rate outside [0, 1], a table of other than 2 dims, or a batch
        of keys.
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
    name = "embedding_dropout"
    key = _check.key(name, key)
    table = _check.floating(name, table, name="table")
    rate = _check.rate(name, rate)
    if table.ndim != 2:
        raise ValueError(
            f"embedding_dropout: table must be (vocabulary, features), got shape "
            f"{table.shape}. Drop words from the table and look them up in the result; "
            f"for noise on vectors that were looked up use dropout, with "
            f"broadcast_dims=(-1,) for whole vectors."
        )
    bits = _check.bits(name, bits, rate)
    return _mask.drop(key, table, rate, (1,), bits)


def look_up(function: str, table: jax.Array, ids: jax.Array) -> jax.Array:
    """The rows of a table, (*ids.shape, features), without or with their noise.

    On an explicit mesh they are split as the ids are, and their features as those of
    the table, unless both take the same devices.
    """
    if not jnp.issubdtype(ids.dtype, jnp.integer):
        raise ValueError(f"{function}: inputs must be integers, got {ids.dtype}.")
    if table.shape[0] == 1:
        return jnp.broadcast_to(table, (*ids.shape, table.shape[1]))
    rows, columns = (_sharding.like(a, a.shape) for a in (ids, table))
    if rows is None or columns is None:
        return _take(table, ids)
    features = columns.spec[-1]
    of_rows = {name for entry in rows.spec for name in _sharding.names(entry)}
    if of_rows & {*_sharding.names(features)}:
        features = None
    whole = NamedSharding(rows.mesh, PartitionSpec(*rows.spec, features))
    return jax.sharding.auto_axes(out_sharding=whole)(_take)(table, ids)


def _take(table, ids):
    return jnp.take(table, ids, axis=0)


def token_dropout(
    key: jax.Array,
    ids: ArrayLike,
    rate: ArrayLike,
    mask_id: int,
    *,
    protected: Sequence[int] = (),
    bits: int = 32,
) -> jax.Array:
    """Replace words of a text by `mask_id` with probability `rate`.

    Law: y = mask_id where b and the id is not protected, else the id,
    b ~ Bernoulli(rate) i.i.d. over the places. E[b] = rate, Var[b] = rate (1 - rate).

    What is not replaced is what `dropout_mask` keeps for the same key.

    Args:
      key: PRNG key, consumed.
      ids: integer array of any shape.
      rate: probability of replacing, in [0, 1]: 0 returns the ids, 1 replaces all that
        is not protected. A traced rate is clipped to [0, 1], nan to 1.
      mask_id: the id to put in, such as that of "unknown" or of a mask token.
      protected: ids that are never replaced: padding, begin, end.
      bits: as in `dropout`; those of the mask of `dropout_mask`.

    Returns:
      Integer array with the shape, dtype and sharding of ids.

    Raises:
      ValueError: a known rate outside [0, 1], a mask_id or a protected id that the
        dtype of ids cannot hold, or a batch of keys.
      TypeError: ids are not integers, or key is not a key.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise as jn
      >>> ids = jnp.array([1, 17, 23, 8, 2, 0, 0])
      >>> y = jn.token_dropout(jax.random.key(0), ids, 1.0, 3, protected=(0, 1, 2))
      >>> y.tolist()
      [1, 3, 3, 3, 2, 0, 0]

    Reference: Dai, Le, Semi-supervised sequence learning, NeurIPS 2015,
    https://arxiv.org/abs/1511.01432; Bowman, Vilnis, Vinyals, Dai, Jozefowicz, Bengio,
    Generating sentences from a continuous space, CoNLL 2016,
    https://arxiv.org/abs/1511.06349.
    """
    name = "token_dropout"
    key = _check.key(name, key)
    ids = _integers.integers(name, "ids", ids)
    rate = _check.rate(name, rate)
    known = _integers.identifier(name, "mask_id", mask_id, ids.dtype)
    spared = tuple(
        _integers.identifier(name, "protected", value, ids.dtype)
        for value in _integers.items(protected)
    )
    if _check.known(rate, 0):
        return ids
    bits = _check.bits(name, bits, rate)
    threshold, _ = _mask.keep_threshold(rate, np.dtype(np.float32), bits)
    options = {"protected": spared, "bits": bits}
    return _replaced(key, ids, threshold, ids.dtype.type(known), **options)


@functools.partial(jax.jit, static_argnames=["protected", "bits"])
def _replaced(key, ids, threshold, mask_id, *, protected, bits):
    kept = _mask.keep_mask(key, threshold, _mask.coins_for(ids, bits=bits))
    for value in protected:
        kept |= ids == ids.dtype.type(value)
    return jnp.where(kept, ids, mask_id)


def neftune_noise(
    key: jax.Array,
    embeddings: ArrayLike,
    alpha: ArrayLike,
    *,
    lengths: ArrayLike | None = None,
) -> jax.Array:
    """Add uniform noise to embeddings, the less the longer the sequence: NEFTune.

    Law: y = embeddings + u alpha / sqrt(L d), u ~ U(-1, 1) i.i.d., L the length of the
    sequence, d the width. E[y] = embeddings, Var[y] = alpha^2 / (3 L d).

    Args:
      key: PRNG key, consumed.
      embeddings: floating array (*batch, time, features).
      alpha: sqrt(3) times the root mean square length of the noise of a sequence,
        finite and at least 0; 0 returns the embeddings. The paper has 5, 10 and 15. A
        traced one is not checked.
      lengths: integer array (*batch), the number of real tokens at the beginning of
        each sequence: L. Noise for the padding behind them is left out. None if every
        sequence is as long as the time dim.

    Returns:
      Array with the shape, dtype and sharding of embeddings.

    Raises:
      ValueError: a known alpha that is negative or not finite, fewer than two dims,
        lengths of another shape than (*batch), or a batch of keys.
      TypeError: embeddings are not floating, lengths are not integers, or key is not a
        key.

    Sharp bits: without lengths, padding counts as text, and a short sequence in a long
    batch gets less noise than alone.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise as jn
      >>> x, lengths = jnp.zeros((2, 8, 4)), jnp.array([8, 2])
      >>> y = jn.neftune_noise(jax.random.key(0), x, 5.0, lengths=lengths)
      >>> bool((y[1, 2:] == 0).all()), bool(abs(y[1]).max() <= 5 / (2 * 4) ** 0.5)
      (True, True)

    Reference: Jain, Chiang, Wen, Kirchenbauer et al., NEFTune: noisy embeddings improve
    instruction finetuning, ICLR 2024, https://arxiv.org/abs/2310.05914.
    """
    name = "neftune_noise"
    key = _check.key(name, key)
    x = _check.floating(name, embeddings, allow_complex=False, name="embeddings")
    alpha = _check.magnitude(name, "alpha", alpha, x)
    if x.ndim < 2:
        raise ValueError(
            f"neftune_noise: embeddings must be (*batch, time, features), got shape "
            f"{x.shape}."
        )
    if lengths is not None:
        lengths = _integers.integers(name, "lengths", lengths)
        if lengths.shape != x.shape[:-2]:
            raise ValueError(
                f"neftune_noise: lengths must have the shape {x.shape[:-2]} of the "
                f"batch, got {lengths.shape}. Give one length for each sequence."
            )
    if _check.known(alpha, 0):
        return x
    return _embedding_noise(key, x, _precision.wide_amount(alpha, x), lengths)


@_random.redrawn
def _embedding_noise(key, x, alpha, lengths):
    wide, (time, width) = _precision.wide_dtype(x), x.shape[-2:]
    u = _random.uniform(key, x.shape, wide, -1, _sharding.like(x, x.shape))
    if lengths is None:
        size = max_dim(1, time * width)
        if _integers.known(size):
            bound = alpha / wide.type(np.sqrt(size))
        else:
            bound = alpha / jnp.sqrt(jnp.asarray(size, wide))
        return _precision.in_wide(lambda real: real + bound * u, x)
    lengths = jnp.expand_dims(lengths.astype(np.int32), (-2, -1))
    # a sequence without tokens gets no noise, but its bound must be finite
    longest = jnp.clip(lengths, 1, time).astype(wide)
    bound = alpha / jnp.sqrt(longest * wide.type(width))
    place = lax.broadcasted_iota(np.int32, (*[1] * (x.ndim - 2), time, 1), x.ndim - 2)
    noisy = _precision.in_wide(lambda real: real + bound * u, x)
    return jnp.where(place < lengths, noisy, x)
