"""Every layer under the transformations of flax, as a layer of flax's own.

All is traced and nothing compiled: what goes wrong there goes wrong in the trace.
"""

import copy
import functools
import pickle

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from catalogue import DENSE, IDS, LAYERS
from flax import nnx

import jaxnoise.linen as jnn
import jaxnoise.nnx as jnx

IMAGE = jax.ShapeDtypeStruct((2, 4, 4, 3), jnp.float32)
SEQUENCE = jax.ShapeDtypeStruct((2, 4, 3), jnp.float32)
WORDS = jax.ShapeDtypeStruct((2, 4, 3), jnp.int32)
KEYS = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
RATES = {"input_rate": 0.3, "zoneout_hidden": 0.2}


def noise(api, name):
    """A layer of the catalogue without parameters, and what it takes."""
    amounts, options = LAYERS[name]
    make = functools.partial(getattr(api, name), *amounts, **options)
    return make, WORDS if name == "TokenDropout" else IMAGE


def linen_layers():
    found = {name: noise(jnn, name) for name in LAYERS}
    for name, amounts in DENSE.items():
        make = functools.partial(getattr(jnn, name), 4, *amounts)
        found[name] = make, SEQUENCE
    found["ConcreteDropout"] = jnn.ConcreteDropout, SEQUENCE
    found["Embed"] = functools.partial(jnn.Embed, IDS, 4, rate=0.3), WORDS
    lstm = jnn.LSTMCell(4, **RATES)
    cells = {
        "LSTMCell": lstm,
        "GRUCell": jnn.GRUCell(4, **RATES),
        "SimpleCell": jnn.SimpleCell(4, **RATES),
        "DropoutWrapper": jnn.DropoutWrapper(nn.GRUCell(4), 0.3),
        "ZoneoutWrapper": jnn.ZoneoutWrapper(nn.GRUCell(4), 0.3),
        "wrappers": jnn.DropoutWrapper(jnn.ZoneoutWrapper(lstm, 0.3), 0.3),
    }
    for name, cell in cells.items():
        found[f"RNN of {name}"] = functools.partial(jnn.RNN, cell), SEQUENCE
    return found


def nnx_layers():
    found = {name: noise(jnx, name) for name in LAYERS}
    for name, amounts in DENSE.items():
        make = functools.partial(getattr(jnx, name), 3, 4, *amounts)
        found[name] = make, SEQUENCE
    found["ConcreteDropout"] = jnx.ConcreteDropout, SEQUENCE
    found["Embed"] = functools.partial(jnx.Embed, IDS, 4, rate=0.3), WORDS
    cells = {
        "LSTMCell": functools.partial(jnx.LSTMCell, 3, 4, **RATES),
        "GRUCell": functools.partial(jnx.GRUCell, 3, 4, **RATES),
        "SimpleCell": functools.partial(jnx.SimpleCell, 3, 4, **RATES),
        "DropoutWrapper": lambda rngs: jnx.DropoutWrapper(
            nnx.GRUCell(3, 4, rngs=rngs), 0.3
        ),
        "wrappers": lambda rngs: jnx.DropoutWrapper(
            jnx.ZoneoutWrapper(jnx.LSTMCell(3, 4, **RATES, rngs=rngs), 0.3), 0.3
        ),
    }
    for name, cell in cells.items():
        found[f"RNN of {name}"] = functools.partial(nnx_rnn, cell), SEQUENCE
    return found


def nnx_rnn(cell, rngs):
    return jnx.RNN(cell(rngs=rngs), rngs=rngs)


LINEN, NNX = linen_layers(), nnx_layers()


def call(layer, x):
    return layer(x)


SPLIT = {"split_rngs": {"params": False, "dropout": True}}
IN_LINEN = {
    "plain": call,
    "jit": nn.jit(call),
    "remat": nn.remat(call),
    "vmap": nn.vmap(call, variable_axes={"params": None, "losses": 0}, **SPLIT),
    "scan": lambda layer, x: nn.scan(
        lambda layer, carry, x: (carry, layer(x)),
        variable_broadcast="params",
        variable_axes={"losses": 0},
        **SPLIT,
    )(layer, 0, x)[1],
    "vjp": lambda layer, x: nn.vjp(call, layer, x)[0],
}


class Host(nn.Module):
    """A layer that is called under one of the above."""

    layer: nn.Module
    how: str

    def __call__(self, x):
        return IN_LINEN[self.how](self.layer, x)


def shape(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


def assert_same_limit(run, variables, x):
    """`flax.linen.vjp` takes no layer with a cell inside, not that of flax either."""
    theirs = Host(nn.RNN(nn.GRUCell(4)), "vjp")
    for trace in (
        lambda: jax.eval_shape(run, variables, x),
        lambda: jax.eval_shape(theirs.init, KEYS, x),
    ):
        with pytest.raises(NotImplementedError, match="does not yet support Modules"):
            trace()


def pickles(layer):
    """Whether pickle can write it; not the functions of a cell, nor of an Embed."""
    try:
        return bool(pickle.dumps(layer))
    except (AttributeError, pickle.PicklingError):
        return False


@pytest.mark.parametrize("name", LINEN)
def test_linen(name):
    make, x = LINEN[name]
    layer = make(deterministic=False)
    (expected, variables) = jax.eval_shape(
        Host(layer, "plain").init_with_output, KEYS, x
    )
    for how in IN_LINEN:
        xs = (
            jax.ShapeDtypeStruct((5, *x.shape), x.dtype)
            if how in ("vmap", "scan")
            else x
        )
        run = functools.partial(Host(layer, how).apply, rngs=KEYS, mutable=["losses"])
        if how == "vjp" and isinstance(layer, nn.RNN):
            assert_same_limit(run, variables, x)
            continue
        y, _ = jax.eval_shape(run, variables, xs)
        assert y.shape == (*xs.shape[: -len(x.shape)], *expected.shape), how
    found = jax.eval_shape(Host(layer, "remat").init_with_output, KEYS, x)
    assert shape(found) == shape((expected, variables))


@pytest.mark.parametrize("name", LINEN)
def test_what_flax_does_with_a_linen_module(name):
    make, x = LINEN[name]
    layer = make(deterministic=False)
    expected, variables = jax.eval_shape(layer.init_with_output, KEYS, x)
    capture = functools.partial(
        layer.apply,
        rngs=KEYS,
        capture_intermediates=lambda module, method: True,
        mutable=["intermediates"],
    )
    y, captured = jax.jit(capture).eval_shape(variables, x)
    assert shape(captured["intermediates"]["__call__"][0]) == shape(y)
    # of helpers, nothing: those of the layer and of the modules inside
    methods = {"__call__", "setup", "run", "weights"}
    paths = jax.tree_util.tree_leaves_with_path(
        captured, is_leaf=lambda n: isinstance(n, tuple)
    )
    assert {path[-1].key for path, _ in paths} <= methods
    bound = jax.eval_shape(lambda v, x: layer.bind(v, rngs=KEYS)(x), variables, x)
    assert shape(bound) == shape(expected)

    def in_nnx(x):
        bridged = nnx.bridge.ToNNX(layer, rngs=nnx.Rngs(0, dropout=1))
        return nnx.bridge.lazy_init(bridged, x)(x)

    assert shape(jax.eval_shape(in_nnx, x)) == shape(expected)
    table = nn.tabulate(layer, KEYS, console_kwargs={"width": 200})(
        jnp.zeros(x.shape, x.dtype)
    )
    assert type(layer).__name__ in table
    # not ==: copies of compiled functions are others, in the cells of flax, too
    again = jax.eval_shape(copy.deepcopy(layer).init_with_output, KEYS, x)
    assert shape(again) == shape((expected, variables))
    theirs = {"Embed": nn.Embed(IDS, 4)}.get(name, nn.Dropout(0.5))
    if isinstance(layer, nn.RNN):
        theirs = nn.RNN(nn.GRUCell(4))
    assert pickles(layer) == pickles(theirs)
    if pickles(layer):
        assert pickle.loads(pickle.dumps(layer)) == layer


def each(layer, x):
    return jax.tree.map(lambda leaf: leaf[0], layer(x[None]))


IN_NNX = {
    "jit": lambda layer, x: nnx.jit(call)(layer, x),
    "remat": lambda layer, x: nnx.remat(call)(layer, x),
    "vmap": lambda layer, x: nnx.vmap(
        each, in_axes=(nnx.StateAxes({nnx.RngState: 0, ...: None}), 0)
    )(layer, x),
    "scan": lambda layer, x: nnx.scan(
        lambda layer, x: each(layer, x),
        in_axes=(nnx.StateAxes({nnx.RngState: 0, ...: None}), 0),
        out_axes=0,
    )(layer, x),
    "view": lambda layer, x: nnx.view(layer, deterministic=True)(x),
}


@pytest.mark.parametrize("name", NNX)
def test_nnx(name):
    make, x = NNX[name]
    layer = make(rngs=nnx.Rngs(0))
    graph, state = nnx.split(layer)

    def run(how, state, x):
        mine = nnx.merge(graph, state, copy=True)
        if how not in ("vmap", "scan"):
            return IN_NNX[how](mine, x)
        return nnx.split_rngs(splits=x.shape[0])(IN_NNX[how])(mine, x)

    expected = jax.eval_shape(
        lambda state, x: nnx.merge(graph, state, copy=True)(x), state, x
    )
    for how in IN_NNX:
        y = jax.eval_shape(functools.partial(run, how), state, x)
        assert shape(y) == shape(expected), how
    copied, values = nnx.split(copy.deepcopy(layer))
    again = jax.eval_shape(lambda s, x: nnx.merge(copied, s, copy=True)(x), values, x)
    assert shape(again) == shape(expected)
    theirs = nnx.Dropout(0.5, rngs=nnx.Rngs(0))
    if isinstance(layer, nnx.RNN):
        theirs = nnx.RNN(nnx.GRUCell(3, 4, rngs=nnx.Rngs(0)))
    assert pickles(layer) == pickles(theirs)
    if pickles(layer):
        assert nnx.graphdef(pickle.loads(pickle.dumps(layer))) == graph
    bridged = nnx.bridge.ToLinen(make)
    y, _ = jax.eval_shape(bridged.init_with_output, KEYS, x)
    assert shape(y) == shape(expected)
