"""Trees, masks and amounts that are refused."""

import re

import jax
import jax.numpy as jnp
import pytest
from trees import PARAMS, again

from jaxnoise import tree


@pytest.fixture
def key():
    return jax.random.key(23)


@pytest.mark.parametrize("name", ["dropconnect", "gaussian_noise", "mask"])
def test_bad_input(key, name):
    call = getattr(tree, name)
    amount = "stddev" if name == "gaussian_noise" else "rate"
    for bad in (-0.1, float("nan")):
        with pytest.raises(ValueError, match=rf"tree\.{name}: {amount} must be .*got"):
            call(key, PARAMS, bad)
    with pytest.raises(TypeError, match=rf"tree\.{name}: key must be a PRNG key"):
        call(0, PARAMS, 0.5)
    with pytest.raises(ValueError, match=r"got a batch of keys of shape \(2,\)"):
        call(jax.random.split(again(key)), PARAMS, 0.5)
    with pytest.raises(ValueError) as error:
        call(key, PARAMS, 0, where="kernal")
    assert str(error.value) == (
        f"tree.{name}: where must match the path of a floating array, got 'kernal', "
        f"which matches none of: 'embed/table', 'layers/0/bias', 'layers/0/kernel', "
        f"'layers/1/bias', 'layers/1/kernel'."
    )
    with pytest.raises(ValueError, match="matches none of"):
        call(key, PARAMS, 0.5, where=lambda path: False)
    with pytest.raises(ValueError, match=r"none of: \(there is none\)"):
        call(key, {}, 0.5, where="a")
    with pytest.raises(ValueError, match=r"'n/0', 'n/1', .* and \d+ more\.$"):
        numbered = {"n": [jnp.ones(1)] * 59, "kernal": jnp.arange(2)}
        call(key, numbered, 0.5, where="kernal")
    with pytest.raises(ValueError, match=r"floating array, got other .*: 'i', 'p'\."):
        call(key, {"i": jnp.arange(3), "p": 0.5}, 0.5)
    with pytest.raises(ValueError, match=r"got '\(a': missing \).*re\.escape"):
        call(key, PARAMS, 0.5, where="(a")
    for bad in (["kernel"], 3, re.compile(b"kernel")):
        with pytest.raises(TypeError, match="where must be None, a regular expression"):
            call(key, PARAMS, 0.5, where=bad)


def test_two_leaves_of_one_path_are_refused(key):
    params = {"a/b": jnp.ones(2), "a": {"b": jnp.ones(2), "c": jnp.ones(2)}}
    with pytest.raises(ValueError, match=r"paths must differ, got several .*: 'a/b'"):
        tree.dropconnect(key, params, 0.5)
    tree.dropconnect(key, params, 0.5, where="c")


def test_bad_masks(key):
    masks = tree.mask(key, PARAMS, 0.5)
    with pytest.raises(
        ValueError, match="must have the structure of params, with None"
    ):
        tree.apply_mask(PARAMS, masks["layers"], 0.5)
    params = {"w": jnp.ones((2, 3)), "i": jnp.arange(2)}
    with pytest.raises(ValueError, match="at 'w': mask must broadcast"):
        tree.apply_mask(params, {"w": jnp.ones((4, 3), bool), "i": None}, 0.5)
    with pytest.raises(TypeError, match="at 'w': mask must have dtype bool"):
        tree.apply_mask(params, {"w": jnp.ones((2, 3)), "i": None}, 0.5)
    with pytest.raises(TypeError, match="at 'i': x must have a floating"):
        tree.apply_mask(params, {"w": None, "i": jnp.ones(2, bool)}, 0.5)
    with pytest.raises(ValueError, match=r"tree\.apply_mask: rate must be in"):
        tree.apply_mask(PARAMS, masks, 1.5)


def test_leaf_key_wants_a_string(key):
    with pytest.raises(TypeError, match=r"path must be a string, got \('a', 'b'\)"):
        tree.leaf_key(key, ("a", "b"))
