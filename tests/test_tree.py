"""Noise on parameter trees: the noise of each leaf against that of the pure functions.

False alarms of the statistical tests: 1e-6 each, over fresh keys.
"""

import functools
import hashlib
import os
import re
import subprocess
import sys

import equinox as eqx
import flax
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxnoise as jn
import jaxnoise.linen as jnn
from jaxnoise import tree
from jaxnoise.testing._statistics import DETECTED, Z

SHAPE = (3, 4)
PARAMS = {
    "embed": {"table": jnp.linspace(-1.0, 2.0, 12).reshape(SHAPE)},
    "layers": [
        {"kernel": jnp.full(SHAPE, 2.0), "bias": jnp.full(SHAPE, 3.0)},
        {"kernel": jnp.full(SHAPE, -1.0), "bias": jnp.full(SHAPE, 0.5)},
    ],
}
PATHS = {
    "embed/table",
    "layers/0/bias",
    "layers/0/kernel",
    "layers/1/bias",
    "layers/1/kernel",
}
# compiled code is for shapes: two leaves where five would show no more
TWO = {"a": jnp.linspace(1.0, 3.0, 12).reshape(SHAPE), "b": jnp.full(SHAPE, -2.0)}
AWD = r"cell/h[ifgo]/kernel"


@pytest.fixture
def key():
    return jax.random.key(23)


def again(key):
    """The same key a second time, on purpose."""
    return jax.random.clone(key)


def at(params, path):
    """The leaf at a path, walked by hand."""
    for name in path.split("/"):
        params = params[int(name) if isinstance(params, list) else name]
    return params


def same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def filled(shapes):
    """Numbers of both signs for shapes: initial values without compiling them."""
    random = np.random.default_rng(3)

    def fill(leaf):
        if isinstance(leaf, jax.ShapeDtypeStruct):
            return jnp.asarray(random.normal(size=leaf.shape), leaf.dtype)
        return leaf

    return jax.tree.map(fill, shapes)


# what is drawn


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


# transformations


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


# laws


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


# frameworks


def test_linen(key):
    """A dict and a FrozenDict, and metadata of partitioning that is no name."""

    class Net(nn.Module):
        boxed: bool = False

        @nn.compact
        def __call__(self, x):
            init = nn.initializers.ones
            boxed = nn.with_partitioning(init, (None, "model"))
            return nn.Dense(4, kernel_init=boxed if self.boxed else init)(x)

    x = jnp.ones((2, 3))
    params = Net().init(jax.random.key(0), x)
    noisy = tree.dropconnect(key, params, 0.5, where="^params/Dense_0/kernel$")
    assert noisy["params"]["Dense_0"]["bias"] is params["params"]["Dense_0"]["bias"]
    kernel = noisy["params"]["Dense_0"]["kernel"]
    np.testing.assert_array_equal(Net().apply(noisy, x), x @ kernel)

    frozen = flax.core.freeze(params)
    from_frozen = tree.dropconnect(again(key), frozen, 0.5, where="kernel$")
    assert isinstance(from_frozen, flax.core.FrozenDict)
    same(from_frozen.unfreeze(), noisy)

    boxed = Net(boxed=True).init(jax.random.key(0), x)
    assert isinstance(boxed["params"]["Dense_0"]["kernel"], nn.Partitioned)
    from_boxed = tree.dropconnect(again(key), boxed, 0.5, where="kernel$")
    assert isinstance(from_boxed["params"]["Dense_0"]["kernel"], nn.Partitioned)
    same(nn.unbox(from_boxed), noisy)


class NNXNet(nnx.Module):
    def __init__(self, rngs):
        ones = nnx.initializers.ones
        linear = nnx.Linear(3, 4, use_bias=False, kernel_init=ones, rngs=rngs)
        self.layers = nnx.List([linear])
        self.value = nnx.Param(jnp.ones(SHAPE))
        self.groups = nnx.Param({"a": jnp.ones(SHAPE), "value": jnp.ones(SHAPE)})
        self.norm = nnx.BatchNorm(4, use_bias=False, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.layers[0](x)


def test_nnx(key):
    """The names of a state are those of the model: the same as in its pure dict."""
    model = NNXNet(nnx.Rngs(0))
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    noisy = tree.dropconnect(key, params, 0.5)
    assert isinstance(noisy, nnx.State)
    pure = tree.dropconnect(again(key), nnx.to_pure_dict(params), 0.5)
    same(nnx.to_pure_dict(noisy), pure)
    with pytest.raises(ValueError) as error:
        tree.dropconnect(key, params, 0.5, where="x")
    paths = "'groups/a', 'groups/value', 'layers/0/kernel', 'norm/scale', 'value'."
    assert str(error.value).endswith(f"none of: {paths}")

    masks = tree.mask(again(key), params, 0.5, where="kernel")
    assert len(jax.tree.leaves(masks)) == 1
    part = tree.apply_mask(params, masks, 0.5)
    x = jnp.ones((2, 3))
    expected = x @ pure["layers"][0]["kernel"]
    np.testing.assert_array_equal(nnx.merge(graph, part, rest)(x), expected)
    # the model itself has the weights that it had
    assert model.layers[0].kernel[...] is params["layers"][0]["kernel"][...]
    # in the whole state there are running statistics, and keys and counts of streams
    whole = nnx.state(model)
    noisy = nnx.to_pure_dict(tree.mask(again(key), whole, 0.5, where="norm|rngs"))
    assert set(noisy["norm"]) == {"scale", "mean", "var"}
    assert all(leaf.dtype == bool for leaf in noisy["norm"].values())
    assert jax.tree.leaves(noisy["dropout"]) == []


def test_equinox(key):
    """Only arrays: activation functions and the rate of a Dropout are leaves too."""

    class Net(eqx.Module):
        mlp: eqx.nn.MLP
        dropout: eqx.nn.Dropout
        value: jax.Array

        def __init__(self, key):
            self.mlp = eqx.nn.MLP(4, 3, 3, 1, use_final_bias=False, key=key)
            self.dropout = eqx.nn.Dropout(0.25)
            self.value = jnp.ones(SHAPE)

    net = filled(eqx.filter_eval_shape(Net, jax.random.key(0)))
    noisy = tree.dropconnect(key, net, 0.5)
    assert noisy.mlp.activation is net.mlp.activation
    assert noisy.dropout.p == 0.25 and noisy.mlp.layers[1].bias is None
    for path, new, old in (
        ("mlp/layers/0/weight", noisy.mlp.layers[0].weight, net.mlp.layers[0].weight),
        ("mlp/layers/0/bias", noisy.mlp.layers[0].bias, net.mlp.layers[0].bias),
        ("value", noisy.value, net.value),
    ):
        expected = jn.dropout(tree.leaf_key(again(key), path), old, 0.5)
        np.testing.assert_array_equal(new, expected)
    masks = tree.mask(again(key), net, 0.5)
    applied = tree.apply_mask(net, masks, 0.5)
    assert eqx.tree_equal(applied, noisy)


def test_haiku(key):
    net = hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP([4, 3])(x)))
    x = jnp.ones((2, 3))
    params = filled(jax.eval_shape(net.init, jax.random.key(0), x))
    noisy = tree.dropconnect(key, params, 0.5, where="^mlp/~/linear_0/w$")
    leaf = tree.leaf_key(again(key), "mlp/~/linear_0/w")
    expected = jn.dropout(leaf, params["mlp/~/linear_0"]["w"], 0.5)
    np.testing.assert_array_equal(noisy["mlp/~/linear_0"]["w"], expected)
    assert noisy["mlp/~/linear_1"]["w"] is params["mlp/~/linear_1"]["w"]
    assert net.apply(noisy, x).shape == (2, 3)


def test_awd_weight_drop_is_that_of_the_recurrent_cell(key):
    """flax's own LSTM on dropped weights, and our cell with the same masks as noise."""
    features, rate = 4, 0.5
    x = filled(jax.ShapeDtypeStruct((2, 5, 3), jnp.float32))
    theirs = nn.RNN(nn.OptimizedLSTMCell(features))
    variables = filled(jax.eval_shape(theirs.init, jax.random.key(0), x))
    masks = tree.mask(key, variables, rate, where=AWD)
    assert len(jax.tree.leaves(masks)) == 4
    noisy = tree.dropconnect(again(key), variables, rate, where=AWD)

    cell = jnn.LSTMCell(features, weight_rate=rate)
    noise = jax.eval_shape(lambda: cell.sample_noise(again(key), (2, 3), 5))
    kernels = [masks["params"]["cell"][f"h{gate}"]["kernel"] for gate in "ifgo"]
    weight = np.stack(kernels) / np.float32(1 - rate)
    assert noise.weight.shape == weight.shape and 0 < weight.mean() < 2
    ours = jnn.RNN(cell).apply(variables, x, noise=noise._replace(weight=weight))
    np.testing.assert_allclose(theirs.apply(noisy, x), ours, rtol=1e-5, atol=1e-6)


# errors


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
