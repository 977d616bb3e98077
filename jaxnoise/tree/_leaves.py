"""The leaves of a tree: their paths, which of them are chosen, and their keys."""

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_flatten_with_path

from jaxnoise._core import _check, _names, _shown

Where = str | re.Pattern[str] | Callable[[str], object] | None


def leaf_key(key: jax.Array, path: str) -> jax.Array:
    """The key with which the functions of this module draw the noise of a leaf.

    Law: `keys.named_key(split(key, 1)[0], path)`, two `fold_in` of a SHA-256 digest of
    the path. It is the same in every process, on every machine, with every version of
    Python. Among n leaves some two have the same key with a probability below
    n^2 2^-64: 6e-12 for 10,000 leaves.

    Args:
      key: PRNG key, consumed.
      path: the names on the way to the leaf, joined by "/"; "" for a bare array.

    Returns:
      A typed PRNG key.

    Raises:
      ValueError: a batch of keys.
      TypeError: key is not a key, or path is not a string.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise as jn
      >>> from jaxnoise import tree
      >>> params = {"cell": {"kernel": jnp.ones((4, 4))}}
      >>> noisy = tree.dropconnect(jax.random.key(0), params, 0.5)
      >>> key = tree.leaf_key(jax.random.key(0), "cell/kernel")
      >>> same = jn.dropout(key, params["cell"]["kernel"], 0.5)
      >>> bool((noisy["cell"]["kernel"] == same).all())
      True
    """
    key = _check.key("tree.leaf_key", key)
    if not isinstance(path, str):
        raise TypeError(
            f"tree.leaf_key: path must be a string, got {_shown.shown(path)}. Join the "
            f'names on the way to the leaf by "/".'
        )
    return leaf_keys(key, [path])[0]


def leaf_keys(key: jax.Array, paths: Iterable[str]) -> jax.Array:
    """The keys of several leaves, as one array of keys."""
    return _folded(key, _names.words_of(paths))


@jax.jit
def _folded(key, words):
    # unlike fold_in, split marks the key as used for JAX's check of key reuse
    return _names.fold_words(jax.random.split(key, 1)[0], words)


def flatten(params: Any) -> tuple[list[str], list[Any], Any]:
    """The path of every leaf, the leaves, and the structure."""
    boxes = _boxes()
    nodes, _ = tree_flatten_with_path(params, lambda node: isinstance(node, boxes))
    paths = []
    for outer, node in nodes:
        inner = [()]
        if isinstance(node, boxes):
            # the first name inside is the "value" of the box, which no model spells out
            inner = [path[1:] for path, _ in tree_flatten_with_path(node)[0]]
        paths += [keystr((*outer, *p), simple=True, separator="/") for p in inner]
    leaves, structure = jax.tree.flatten(params)
    return paths, leaves, structure


def _boxes():
    """The types of flax that hold an array as their `value`, if flax is in use.

    A type whose module was never imported is in no tree: flax is not imported for it.
    """
    names = (("flax.nnx", "Variable"), ("flax.core.meta", "AxisMetadata"))
    modules = ((sys.modules.get(module), name) for module, name in names)
    return tuple(getattr(module, name) for module, name in modules if module)


def choose(
    function: str, params: Any, where: Where
) -> tuple[list[Any], Any, dict[int, str]]:
    """The leaves, the structure, and the paths of the chosen leaves by their index."""
    matches = _predicate(function, where)
    paths, leaves, structure = flatten(params)
    floating = {i: path for i, path in enumerate(paths) if _is_floating(leaves[i])}
    chosen = {i: path for i, path in floating.items() if matches(path)}
    if not chosen and where is not None:
        raise ValueError(
            f"{function}: where must match the path of a floating array, got "
            f"{_shown.shown(where)}, which matches none of: "
            f"{_listed(floating.values())}."
        )
    if not chosen and leaves:
        raise ValueError(
            f"{function}: params must have a floating array, got other leaves only: "
            f"{_listed(paths)}."
        )
    twice = [path for path, n in Counter(chosen.values()).items() if n > 1]
    if twice:
        raise ValueError(
            f"{function}: paths must differ, got several leaves at: {_listed(twice)}. "
            f"They would have the same noise; rename them."
        )
    return leaves, structure, chosen


def _predicate(function: str, where: Any) -> Callable[[str], object]:
    if where is None:
        return lambda path: True
    if isinstance(where, str):
        try:
            return re.compile(where).search
        except re.error as error:
            raise ValueError(
                f"{function}: where must be a regular expression, got "
                f"{_shown.shown(where)}: {_shown.short(str(error))}. Escape plain text "
                f"with re.escape."
            ) from error
    if isinstance(where, re.Pattern) and isinstance(where.pattern, str):
        return where.search
    if callable(where):
        return where
    raise TypeError(
        f"{function}: where must be None, a regular expression or a function of the "
        f"path, got {_shown.shown(where)}. Join several expressions with |."
    )


def _is_floating(leaf: Any) -> bool:
    array = isinstance(leaf, jax.Array | np.ndarray)
    return array and jnp.issubdtype(leaf.dtype, jnp.inexact)


def _listed(paths: Iterable[str]) -> str:
    return _shown.listed(map(repr, paths))
