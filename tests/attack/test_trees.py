"""Attacks on trees of parameters, on the choice of their leaves, and on names."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hostile import EXAMPLES, assert_clear, attack, hostile_keys, one_of
from hypothesis import strategies as st

import jaxnoise as jn
from jaxnoise import keys, tree

pytestmark = pytest.mark.attack

NAMES = [
    "kernel",
    "bias",
    "a/b",
    "a",
    "b",
    "",
    ".",
    "/",
    "0",
    "é",
    "\ud800",
    "k\n",
    "*",
]
WHERE = [None, "kernel", "^a$", "/", "", "(", "[", "*", ".", re.compile("bias"), 3]
WHERE += [re.compile(b"a"), b"a", lambda path: True, lambda path: "a" in path, ["a"]]
LEAVES = [None, 1, 0.5, "text", True, np.float32(1), np.ones(2, np.int32)]


def arrays():
    floating = [jnp.ones((2,)), jnp.ones((2,), jnp.bfloat16), np.ones((2,), np.float32)]
    return [*floating, *floating, jnp.ones((2, 0)), jnp.array(1.0), jnp.ones((2,), int)]


def trees():
    """Dicts, lists and tuples of arrays and of other things, none deeper than 3."""
    leaves = one_of([*arrays(), *arrays(), *LEAVES]).map(lambda shown: shown.value)
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
            st.lists(inner, max_size=3),
            st.tuples(inner, inner),
        ),
        max_leaves=5,
    )


def is_chosen(leaf, path, where):
    array = isinstance(leaf, jax.Array | np.ndarray)
    if not array or not jnp.issubdtype(leaf.dtype, jnp.floating):
        return False
    if where is None or callable(where):
        return where is None or where(path)
    return re.search(where, path) is not None


def test_trees():
    """Each chosen leaf is the noise of its own key, each other is itself."""

    def call(params, where, noise):
        paths, leaves, structure = tree._leaves.flatten(params)
        names = ["tree.dropconnect", "tree.gaussian_noise", "tree.mask"]
        try:
            if noise == "apply_mask":
                masks = tree.mask(jax.random.key(5), params, 0.5, where=where)
                noisy = tree.apply_mask(params, masks, 0.5)
            else:
                function = getattr(tree, noise)
                noisy = function(jax.random.key(5), params, 0.5, where=where)
        except Exception as error:
            assert_clear(error, names, {"where", "params", "paths"})
            return
        assert jax.tree.structure(noisy) == structure
        single = jn.gaussian_noise if noise == "gaussian_noise" else jn.dropout
        for path, leaf, found in zip(
            paths, leaves, jax.tree.leaves(noisy), strict=True
        ):
            if is_chosen(leaf, path, where):
                key = tree.leaf_key(jax.random.key(5), path)
                expected = single(key, leaf, 0.5)
                assert expected.dtype == found.dtype
                np.testing.assert_array_equal(found, expected)
            else:
                assert found is leaf

    attack(
        "trees",
        call,
        EXAMPLES["trees"],
        params=trees(),
        where=one_of([*WHERE, *WHERE[:5], None, None]),
        noise=one_of(["dropconnect", "gaussian_noise", "apply_mask"]),
    )


def test_names():
    """Any string is a name, different ones have different keys; a step is 32 bits."""
    right, wrong = hostile_keys()
    seen: dict[bytes, str] = {}
    steps = [0, 1, 7, 2**32 - 1, np.int64(5), np.uint32(3), -1, 2**32, 10**5000, 1.0]
    steps += [True, None, "1", (1,), np.array([1]), np.array(1.0), jnp.int32(-1)]

    def call(name, step, key, good):
        key, named = (right if good else wrong)[key % 4], not isinstance(step, float)
        try:
            found = keys.named_key(key, name)
            assert good and found.shape == () and found.dtype == jax.random.key(0).dtype
            data = np.asarray(jax.random.key_data(found)).tobytes()
            if key is right[0]:
                assert seen.setdefault(data, name) == name
        except (ValueError, TypeError) as error:
            assert not good, error
            assert_clear(error, ["keys.named_key"], {"key"})
        try:
            found = keys.step_key(key, step)
            assert good and named and 0 <= int(step) < 2**32 and step is not True
        except (ValueError, TypeError) as error:
            assert_clear(error, ["keys.step_key"], {"step"} if good else {"key"})

    attack(
        "names",
        call,
        EXAMPLES["names"],
        name=st.one_of(st.sampled_from(NAMES), st.text(st.characters(), max_size=8)),
        step=one_of(steps),
        key=st.integers(0, 2),
        good=st.sampled_from([True, True, False]),
    )
