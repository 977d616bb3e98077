"""Noise on the parameters of linen, nnx, equinox and haiku."""

import equinox as eqx
import flax
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from trees import SHAPE, again, same

import jaxnoise as jn
import jaxnoise.linen as jnn
from jaxnoise import tree

AWD = r"cell/h[ifgo]/kernel"


@pytest.fixture
def key():
    return jax.random.key(23)


def filled(shapes):
    """Numbers of both signs for shapes: initial values without compiling them."""
    random = np.random.default_rng(3)

    def fill(leaf):
        if isinstance(leaf, jax.ShapeDtypeStruct):
            return jnp.asarray(random.normal(size=leaf.shape), leaf.dtype)
        return leaf

    return jax.tree.map(fill, shapes)


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
