"""From names to keys: a digest of each name, which is folded into a key."""

import hashlib
from collections.abc import Iterable

import jax
import numpy as np
from jax.typing import ArrayLike

from jaxnoise._core import _random


def words_of(names: Iterable[str]) -> np.ndarray:
    """The two words that are folded in for each name, uint32 (names, 2)."""
    # names of files may hold what is no character, a lone surrogate
    encoded = (name.encode("utf-8", "surrogatepass") for name in names)
    digests = b"".join(hashlib.sha256(name).digest()[:8] for name in encoded)
    return np.frombuffer(digests, "<u4").astype(np.uint32).reshape(-1, 2)


def fold_words(key: jax.Array, words: ArrayLike) -> jax.Array:
    """The keys of all names that `words_of` was given, as one array of keys."""

    def fold(pair):
        return jax.random.fold_in(jax.random.fold_in(key, pair[0]), pair[1])

    if _random.is_threefry(key):
        # hundreds of names one by one would compile for a minute
        return jax.vmap(fold)(words)
    # vmap gives other keys than a loop for some implementations, such as unsafe_rbg
    return jax.lax.map(fold, words)
