"""Noise on trees under the transformations of JAX, and its laws.

False alarms of the statistical tests: 1e-6 each, over fresh keys.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trees import PARAMS, SHAPE, TWO, again, same

from jaxnoise import tree
from jaxnoise.testing._statistics import DETECTED, Z


@pytest.fixture
def key():
    return jax.random.key(23)


def test_one_compilation_serves_a_schedule(key):
    traces = []

    @jax.jit
    def noisy(key, amount):
        traces.append(None)
        dropped = tree.dropconnect(again(key), TWO, amount, where="b")
        return dropped, tree.gaussian_noise(key, TWO, amount, relative=True)

    for amount in (0.25, 0.5):  # exact in float32: known and traced rates agree
        dropped, added = noisy(again(key), amount)
        same(dropped, tree.dropconnect(again(key), TWO, amount, where="b"))
        expected = tree.gaussian_noise(again(key), TWO, amount, relative=True)
        for name in TWO:
            np.testing.assert_allclose(added[name], expected[name], rtol=2e-6)
    assert len(traces) == 1
    same(noisy(key, 0.0), (TWO, TWO))


def test_vmap_over_keys_is_a_loop(key):
    keys = jax.random.split(key, 3)

    @jax.jit
    @jax.vmap
    def batched(key):
        return tree.apply_mask(TWO, tree.mask(key, TWO, 0.5), 0.5)

    whole = batched(again(keys))
    for i in range(3):
        alone = tree.dropconnect(keys[i], TWO, 0.5)
        same({name: leaf[i] for name, leaf in whole.items()}, alone)


def test_gradients_are_pathwise(key):
    """To weights and to traced amounts; relative noise is not detached."""
    masks = tree.mask(again(key), TWO, 0.5)
    leaf_keys = {name: tree.leaf_key(again(key), name) for name in TWO}
    n = {name: jax.random.normal(leaf_keys[name], SHAPE) for name in TWO}

    @jax.jit
    @functools.partial(jax.grad, argnums=(0, 1, 2))
    def gradients(params, rate, stddev):
        dropped = tree.dropconnect(again(key), params, rate)
        added = tree.gaussian_noise(key, params, stddev, relative=True)
        return sum(dropped[name].sum() + added[name].sum() for name in TWO)

    weights, rate, stddev = gradients(TWO, 0.5, 0.25)
    assert rate == 0
    expected = sum((n[name] * TWO[name]).sum() for name in TWO)
    np.testing.assert_allclose(stddev, expected, rtol=1e-5)
    for name in TWO:
        expected = np.where(masks[name], 2, 0) + 1 + 0.25 * n[name]
        np.testing.assert_allclose(weights[name], expected, rtol=1e-6)


@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
def test_sharding_is_kept_and_changes_no_bit(key, kind):
    axes = (getattr(jax.sharding.AxisType, kind),)
    mesh = jax.make_mesh((4,), ("d",), axis_types=axes, devices=jax.devices()[:4])
    placed = jax.NamedSharding(mesh, jax.P(None, "d"))
    sharded = {"a": jax.device_put(TWO["a"], placed), "b": TWO["b"]}
    noisy = tree.dropconnect(key, sharded, 0.5)
    same(noisy, tree.dropconnect(again(key), TWO, 0.5))
    masks = tree.mask(again(key), sharded, 0.5)
    same(tree.apply_mask(sharded, masks, 0.5), noisy)
    if kind == "Explicit":  # where it is Auto the compiler decides
        assert masks["a"].sharding.is_equivalent_to(placed, 2)
    added = tree.gaussian_noise(again(key), sharded, 0.5, relative=True)
    whole = tree.gaussian_noise(again(key), TWO, 0.5, relative=True)
    np.testing.assert_allclose(added["a"], whole["a"], rtol=1e-6)
    for result in (noisy, added):
        assert result["a"].sharding.is_equivalent_to(placed, 2)


def test_keys_used_twice_are_seen_by_jax(key):
    tree.dropconnect(key, PARAMS, 0.5)
    with pytest.raises(jax.errors.KeyReuseError):
        tree.gaussian_noise(key, PARAMS, 0.5)


def test_legacy_keys(key):
    with jax.legacy_prng_key("allow"):
        legacy = tree.dropconnect(jax.random.PRNGKey(23), PARAMS, 0.5)
    same(legacy, tree.dropconnect(key, PARAMS, 0.5))


def test_relative_noise_follows_its_law(key):
    """Detects 1.9% of a standard deviation in the mean, and 2.7% in the variance."""
    n, w, stddev = 2**18, -2.0, 0.25
    y = tree.gaussian_noise(key, jnp.full(n, w), stddev, relative=True)
    y = np.asarray(y, np.float64)
    assert DETECTED / np.sqrt(n) < 0.019 and DETECTED * np.sqrt(2 / n) < 0.027
    assert abs(y.mean() - w) <= Z * stddev * abs(w) / np.sqrt(n) + 2**-22
    relative = y.var() / (stddev * w) ** 2 - 1
    assert abs(relative) <= Z * np.sqrt(2 / n) + Z**2 / n


def test_leaves_are_independent(key):
    """Correlation of each pair of 5 leaves: detects r = 0.019."""
    names = ("0", "1", "layers/0/w", "layers/1/w", "layers/10/w")
    n = 2**18
    assert DETECTED / np.sqrt(n) < 0.019
    masks = tree.mask(key, dict.fromkeys(names, jnp.ones(n)), 0.5)
    correlation = np.corrcoef([np.asarray(masks[name]) for name in names])
    off = correlation[np.triu_indices(len(names), 1)]
    assert (np.abs(off) <= Z / np.sqrt(n)).all()
