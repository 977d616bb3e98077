"""Keys of names and steps: the documented fold, everywhere, and nothing in silence."""

import hashlib
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnoise import keys, tree
from jaxnoise._core import _names

# for jax.random.key(0); once released, they must not change
NAMED = {
    "": [2321684811, 542991194],
    "encoder/dropout": [881785085, 237632759],
    "größe/µ": [1916538879, 3211730585],
}
STEPS = {
    0: [1797259609, 2579123966],
    1: [928981903, 3453687069],
    2**32 - 1: [743310391, 3789761811],
}


@pytest.fixture
def key():
    return jax.random.key(0)


def data(key):
    return np.asarray(jax.random.key_data(key)).tolist()


def test_keys_are_those_recorded(key):
    """One key serves all names and steps, though JAX's check of key reuse is on."""
    assert {name: data(keys.named_key(key, name)) for name in NAMED} == NAMED
    assert {step: data(keys.step_key(key, step)) for step in STEPS} == STEPS


@pytest.mark.parametrize("seed", ["0", "4711"])
def test_keys_are_those_of_another_process_that_has_no_framework(seed):
    """hash() of a string is another one in each process."""
    code = (
        "import sys, jax\n"
        "from jaxnoise import keys\n"
        "key = keys.named_key(jax.random.key(0), 'encoder/dropout')\n"
        "print(jax.random.key_data(key).tolist())\n"
        "print([m for m in ('flax', 'optax', 'orbax') if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=os.environ | {"PYTHONHASHSEED": seed, "JAX_PLATFORMS": "cpu"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert found.splitlines() == [str(NAMED["encoder/dropout"]), "[]"]


@pytest.mark.parametrize("impl", ["threefry2x32", "unsafe_rbg"])
def test_named_key_is_the_documented_fold(impl):
    key = jax.random.key(5, impl=impl)
    for name in NAMED:
        digest = hashlib.sha256(name.encode("utf-8")).digest()
        folded = key
        for word in (digest[:4], digest[4:8]):
            number = np.uint32(int.from_bytes(word, "little"))
            folded = jax.random.fold_in(folded, number)
        assert data(keys.named_key(key, name)) == data(folded)


def test_leaves_of_a_tree_have_the_keys_of_their_paths(key):
    """Those of a child, as a tree consumes the key that it is given."""
    child = jax.random.split(jax.random.clone(key), 1)[0]
    for name in NAMED:
        leaf = tree.leaf_key(jax.random.clone(key), name)
        assert data(leaf) == data(keys.named_key(child, name))


def test_order_and_company_of_names_do_not_matter(key):
    names = ["params", "noise", "order", "a", "b", "a/b", "ab", "A", "a ", ""]
    alone = {name: data(keys.named_key(key, name)) for name in names}
    assert alone == {name: data(keys.named_key(key, name)) for name in reversed(names)}
    together = _names.fold_words(key, _names.words_of(names))
    assert data(together) == list(alone.values())
    assert len({tuple(pair) for pair in alone.values()}) == len(names)


def test_step_key_is_fold_in_however_the_step_is_counted(key):
    kinds = [7, np.int32(7), np.int64(7), np.uint8(7), np.array(7), jnp.int32(7)]
    for step in kinds:
        assert data(keys.step_key(key, step)) == data(jax.random.fold_in(key, 7))
    traced = jax.jit(keys.step_key)
    assert (
        data(traced(key, 7)) == data(traced(key, jnp.uint32(7))) == data(traced(key, 7))
    )
    assert data(traced(key, 7)) == data(keys.step_key(key, 7))
    roots = jax.random.split(jax.random.key(1), 3)
    steps = jnp.arange(3)
    both = jax.vmap(keys.step_key)(roots, steps)
    assert data(both) == [data(keys.step_key(roots[i], i)) for i in range(3)]


def test_a_resumed_loop_draws_what_the_whole_one_does(key):
    noise = keys.named_key(key, "noise")

    def draws(first, last):
        return [
            jax.random.normal(keys.step_key(noise, step), (3,)).tolist()
            for step in range(first, last)
        ]

    assert draws(0, 6)[4:] == draws(4, 6)


def test_bad_steps(key):
    for step in (-1, 2**32, np.int64(-1), np.int64(2**32 + 1), np.array(-3)):
        with pytest.raises(ValueError, match=r"step must be in \[0, 2\^32\), got"):
            keys.step_key(key, step)
    for step in (1.0, True, "1", None):
        with pytest.raises(TypeError, match=r"keys\.step_key: step must be an integer"):
            keys.step_key(key, step)
    for step in (np.float32(1), jnp.float32(1), np.array(True)):
        with pytest.raises(TypeError, match=r"step must (have|be) an integer"):
            keys.step_key(key, step)
    with pytest.raises(TypeError, match="must have an integer dtype, got float32"):
        jax.jit(keys.step_key)(key, 1.5)
    with pytest.raises(ValueError, match=r"must be a scalar, got shape \(2,\).*vmap"):
        keys.step_key(key, jnp.arange(2))


def test_bad_keys_and_names(key):
    for call, argument in ((keys.step_key, 1), (keys.named_key, "a")):
        with pytest.raises(TypeError, match=r"keys\.\w+: key must be a PRNG key"):
            call(0, argument)
        with pytest.raises(ValueError, match=r"a batch of keys of shape \(2,\)"):
            call(jax.random.split(jax.random.clone(key)), argument)
    for name in (b"a", 3, None, ("a", "b")):
        with pytest.raises(TypeError, match=r"named_key: name must be a string, got"):
            keys.named_key(key, name)


def test_legacy_keys(key):
    with jax.legacy_prng_key("allow"):
        legacy = jax.random.PRNGKey(0)
        assert data(keys.named_key(legacy, "")) == NAMED[""]
        assert data(keys.step_key(legacy, 1)) == STEPS[1]
