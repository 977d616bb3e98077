"""Noise on parameter trees: each leaf against the pure functions."""

import functools
import hashlib
import os
import re
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trees import PARAMS, SHAPE, TWO, again, same

import jaxnoise as jn
from jaxnoise import tree

PATHS = {
    "embed/table",
    "layers/0/bias",
    "layers/0/kernel",
    "layers/1/bias",
    "layers/1/kernel",
}


@pytest.fixture
def key():
    return jax.random.key(23)


def at(params, path):
    """The leaf at a path, walked by hand."""
    for name in path.split("/"):
        params = params[int(name) if isinstance(params, list) else name]
    return params


def test_dropconnect_is_dropout_with_the_key_of_the_leaf(key):
    noisy = tree.dropconnect(key, PARAMS, 0.3)
    for path in PATHS:
        expected = jn.dropout(tree.leaf_key(again(key), path), at(PARAMS, path), 0.3)
        np.testing.assert_array_equal(at(noisy, path), expected)


def test_gaussian_noise_is_that_of_the_key_of_the_leaf(key):
    noisy = tree.gaussian_noise(key, PARAMS, 0.3)
    scaled = tree.gaussian_noise(again(key), PARAMS, 0.3, relative=True)
    for path in PATHS:
        w = at(PARAMS, path)
        expected = jn.gaussian_noise(tree.leaf_key(again(key), path), w, 0.3)
        np.testing.assert_array_equal(at(noisy, path), expected)
        n = jax.random.normal(tree.leaf_key(again(key), path), w.shape)
        np.testing.assert_allclose(at(scaled, path), w * (1 + 0.3 * n), rtol=1e-6)


@pytest.mark.parametrize("rate", [0, 0.3, 1])
def test_dropconnect_is_its_two_halves(key, rate):
    masks = tree.mask(key, PARAMS, rate, where="kernel")
    for path in PATHS:
        if path.endswith("kernel"):
            leaf = tree.leaf_key(again(key), path)
            np.testing.assert_array_equal(
                at(masks, path), jn.dropout_mask(leaf, SHAPE, rate)
            )
        else:
            assert at(masks, path) is None
    whole = tree.dropconnect(again(key), PARAMS, rate, where="kernel")
    noisy = tree.apply_mask(PARAMS, masks, rate)
    same(noisy, whole)
    assert noisy["embed"]["table"] is PARAMS["embed"]["table"]


@pytest.mark.parametrize("impl", ["threefry2x32", "unsafe_rbg"])
def test_leaf_key_is_the_documented_fold(impl):
    """For every implementation, and though all keys of a tree are made at once."""
    key = jax.random.key(5, impl=impl)
    for path in ("a", "b/c", ""):
        digest = hashlib.sha256(path.encode("utf-8")).digest()
        folded = jax.random.split(again(key), 1)[0]
        for word in (digest[:4], digest[4:8]):
            number = int.from_bytes(word, "little")
            folded = jax.random.fold_in(folded, np.uint32(number))
        found = jax.random.key_data(tree.leaf_key(again(key), path))
        np.testing.assert_array_equal(found, jax.random.key_data(folded))
    params = {"a": jnp.ones(9), "b": {"c": jnp.ones(9)}}
    noisy = tree.dropconnect(again(key), params, 0.5)
    leaf = tree.leaf_key(again(key), "b/c")
    np.testing.assert_array_equal(noisy["b"]["c"], jn.dropout(leaf, jnp.ones(9), 0.5))


FINGERPRINT = {
    "": [242147093, 450561728],
    "params/cell/hi/kernel": [1593268337, 4097200451],
    "größe/µ": [1489789577, 3562614978],
}


def test_leaf_keys_are_those_recorded():
    """Once released, noise must not change for the same key and path."""
    found = {}
    for path in FINGERPRINT:
        leaf = tree.leaf_key(jax.random.key(0), path)
        found[path] = jax.random.key_data(leaf).tolist()
    assert found == FINGERPRINT


def test_leaf_keys_are_those_of_another_process_that_has_no_framework():
    """hash() of a string is another one in each process; flax is not imported."""
    code = (
        "import sys, jax, numpy as np\nfrom jaxnoise import tree\n"
        "key = tree.leaf_key(jax.random.key(0), 'params/cell/hi/kernel')\n"
        "print(jax.random.key_data(key).tolist())\n"
        "tree.dropconnect(jax.random.key(1), {'a': np.ones(2, np.float32)}, 0)\n"
        "print([m for m in ('flax', 'equinox', 'haiku') if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "4711"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert found.splitlines() == [str(FINGERPRINT["params/cell/hi/kernel"]), "[]"]


def test_leaf_keys_differ():
    paths = [f"layers/{i}/{name}" for i in range(2000) for name in ("kernel", "bias")]
    params = dict.fromkeys(paths, jnp.zeros(()))
    keys = tree._leaves.leaf_keys(jax.random.key(0), params)
    assert len({row.tobytes() for row in np.asarray(jax.random.key_data(keys))}) == 4000


def test_noise_of_a_leaf_does_not_depend_on_the_others(key):
    whole = tree.dropconnect(key, PARAMS, 0.5)
    for where in ("kernel", "^layers/1", lambda path: path == "embed/table"):
        part = tree.dropconnect(again(key), PARAMS, 0.5, where=where)
        chosen = tree.mask(again(key), PARAMS, 0.5, where=where)
        for path in PATHS:
            source = PARAMS if at(chosen, path) is None else whole
            np.testing.assert_array_equal(at(part, path), at(source, path))
    more = {"a": jnp.ones(5), **PARAMS, "z": {"b": jnp.ones(2)}}
    grown = tree.dropconnect(again(key), more, 0.5)
    same({name: grown[name] for name in PARAMS}, whole)
    fewer = {"layers": PARAMS["layers"][:1]}
    same(tree.dropconnect(again(key), fewer, 0.5)["layers"][0], whole["layers"][0])


def test_noise_does_not_depend_on_the_order_of_the_leaves(key):
    """Fields of a dataclass are flattened in the order in which they are written."""

    class One(eqx.Module):
        a: jax.Array
        b: jax.Array

    class Other(eqx.Module):
        b: jax.Array
        a: jax.Array

    a, b = jnp.ones(20), jnp.full(20, 2.0)
    one = tree.dropconnect(key, One(a=a, b=b), 0.5)
    other = tree.dropconnect(again(key), Other(a=a, b=b), 0.5)
    same((one.a, one.b), (other.a, other.b))
    assert (np.asarray(one.a > 0) != np.asarray(one.b > 0)).any()


def test_where(key):
    def chosen(where):
        masks = tree.mask(again(key), PARAMS, 0.5, where=where)
        return {path for path in PATHS if at(masks, path) is not None}

    assert chosen(None) == PATHS
    assert chosen("layers/0") == {"layers/0/bias", "layers/0/kernel"}
    assert chosen(r"/\d/") == PATHS - {"embed/table"}
    assert chosen(re.compile("KERNEL$", re.IGNORECASE)) == {
        "layers/0/kernel",
        "layers/1/kernel",
    }
    # search, not match; the whole path by anchors or by the method of an expression
    assert chosen("able") == chosen("^embed/table$") == {"embed/table"}
    assert chosen(re.compile("embed/.*").fullmatch) == {"embed/table"}
    assert chosen(lambda path: "bias" in path) == {"layers/0/bias", "layers/1/bias"}


@pytest.mark.parametrize("where", [None, ".*"])
def test_what_is_not_a_floating_array_is_left_alone(key, where):
    leaves = {
        "integer": jnp.arange(3),
        "flag": np.array([True, False]),
        "key": jax.random.key(1),
        "number": 0.5,
        "function": jax.nn.relu,
        "none": None,
        "text": "name",
        "numpy": np.ones(SHAPE, np.float32),
        "complex": jnp.ones(SHAPE, jnp.complex64),
    }
    floating = {"numpy", "complex"}
    noisy = tree.gaussian_noise(again(key), leaves, 1, where=where)
    assert {name for name in leaves if noisy[name] is not leaves[name]} == floating
    masks = tree.mask(again(key), leaves, 0.5, where=where)
    assert {name for name in leaves if masks[name] is not None} == floating
    noisy = tree.apply_mask(leaves, masks, 0.5)
    assert {name for name in leaves if noisy[name] is not leaves[name]} == floating
    dropped = tree.dropconnect(key, leaves, 0.5, where=where)
    assert {name for name in leaves if dropped[name] is not leaves[name]} == floating
    same((dropped["complex"], dropped["numpy"]), (noisy["complex"], noisy["numpy"]))


def test_amount_zero_returns_the_tree(key):
    assert tree.dropconnect(key, PARAMS, 0) is PARAMS
    assert tree.gaussian_noise(key, PARAMS, 0.0) is PARAMS
    assert tree.gaussian_noise(key, PARAMS, 0.0, relative=True) is PARAMS


def test_trees_without_leaves_are_returned(key):
    for empty in ({}, [], None, {"a": {}}):
        assert tree.dropconnect(again(key), empty, 0.5) == empty
        assert tree.apply_mask(empty, tree.mask(again(key), empty, 0.5), 0.5) == empty


def test_bare_array_has_the_empty_path(key):
    w = jnp.ones(9)
    expected = jn.dropout(tree.leaf_key(key, ""), w, 0.5)
    np.testing.assert_array_equal(tree.dropconnect(again(key), w, 0.5), expected)


def test_dtype_and_rounding(key):
    """Drawn and scaled in float32, rounded once, as the pure functions do."""
    narrow = {"a": TWO["a"].astype(jnp.bfloat16)}
    wide = {"a": narrow["a"].astype(jnp.float32)}
    noisy = tree.gaussian_noise(again(key), narrow, 0.1, relative=True)["a"]
    expected = tree.gaussian_noise(again(key), wide, 0.1, relative=True)["a"]
    np.testing.assert_array_equal(noisy, expected.astype(jnp.bfloat16))
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        double = {"a": np.ones(SHAPE, np.float64)}
        for amount in (0.1, np.float32(0.1), jnp.float64(0.1)):
            relative = functools.partial(tree.gaussian_noise, relative=True)
            assert jax.eval_shape(relative, key, double, amount)["a"].dtype == "float64"
