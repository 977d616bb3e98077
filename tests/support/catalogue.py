"""All that draws: each function, layer and recurrent method, for tests over them all.

What has no parameters is a function of (key, x). What has some is a `Parametric`: the
parameters, and a function of (parameters, key, x).
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import jaxnoise.linen as jnn
import jaxnoise.nnx as jnx
from jaxnoise.testing import CASES
from jaxnoise.testing._weight_cases import WEIGHT_CASES

IDS = 50
# what a layer of a function is made with: these options, and a value for each parameter
# that has no default
OPTIONS = {
    "Dropout": {"broadcast_dims": (1,)},
    "SpatialDropout": {"channel_axis": 1},
    "DropPath": {"batch_dims": 2},
    "DropBlock": {"channel_axis": 1},
    "AlphaDropout": {"broadcast_dims": (0,)},
    "FeatureAlphaDropout": {"channel_axis": 1},
    "SaltAndPepper": {"low": -1.0, "broadcast_dims": (3,)},
}
VALUES = {"rate": 0.3, "stddev": 0.5, "scale": 0.3, "alpha": 0.3, "block_size": 2}


def required(function: Callable[..., Any]) -> tuple[Any, ...]:
    """The values of the parameters after the key and x that have no default."""
    _, _, *parameters = inspect.signature(function).parameters.values()
    return tuple(VALUES[p.name] for p in parameters if p.default is p.empty)


FUNCTIONS = {
    name: layer.function
    for name in jnn.__all__
    if "function" in vars(layer := getattr(jnn, name))
    # which are never off, and take integers
    and name not in ("RReLU", "TokenDropout")
}
AMOUNTS = {
    name: (required(function), OPTIONS.get(name, {}))
    for name, function in FUNCTIONS.items()
}
LAYERS = {
    **AMOUNTS,
    "RReLU": ((0.1, 0.4), {}),
    "TokenDropout": ((0.3, 0), {"protected": (1,)}),
}
DENSE = {
    "DropConnectDense": (0.3,),
    "NoisyDense": (),
    "VariationalDense": (),
    "SparseVariationalDense": (),
    "FlipoutDense": (),
}
PLACES = {
    "input": {"input_rate": 0.3},
    "recurrent": {"recurrent_rate": 0.3},
    "candidate": {"candidate_rate": 0.3},
    "cell": {"cell_rate": 0.1},
    "zoneout": {"zoneout_hidden": 0.2, "zoneout_cell": 0.3},
    "weight": {"weight_rate": 0.3},
    "output": {"output_rate": 0.3},
}
LACKING = {
    "LSTMCell": (),
    "GRUCell": ("cell",),
    "SimpleCell": ("cell", "candidate"),
}
SHARING = {
    "per sequence": {},
    "per step": {"per_step": True},
    "untied": {"tied": False},
    "untied, per step": {"tied": False, "per_step": True},
    "batch shared": {"batch_shared": True},
}
OF_WRAPPERS: dict[str, dict[str, Any]] = {
    "DropoutWrapper": {"input_rate": 0.3, "state_rate": 0.2, "output_rate": 0.1},
    "ZoneoutWrapper": {"zoneout_hidden": 0.2, "zoneout_cell": 0.3},
}
FEATURES = 16


# words of the names of what has normals, or sums that XLA may fuse: never masks alone
ROUNDED = ("gaussian", "laplace", "poisson", "speckle", "alpha", "block", "concrete")


def is_rounded(name: str) -> bool:
    """Whether the output may differ in its last bits from program to program."""
    return any(word in name.lower() for word in ROUNDED)


class Parametric(NamedTuple):
    """Something with parameters: `apply(parameters, key, x)`, without noise if off."""

    parameters: Any
    apply: Callable[..., jax.Array]


def ids_of(x):
    """Tokens from 0 to 49 in the place of numbers."""
    return (x * 100).astype(jnp.int32) % IDS


def functions() -> dict[str, Callable[..., Any]]:
    """The functions of (key, x) for any floating x of 3 dims or more."""
    # those of weights are in the layers below, which have an x and a kernel; attention
    # by blocks has the last dim of x as time, and tests of its own in each file
    out = ("_dense", "attention, blocks")
    cases = [
        case
        for case in (*CASES, *WEIGHT_CASES)
        if not any(words in case.name for words in out)
    ]
    return {case.name: functools.partial(_call, case) for case in cases}


def _call(case, key, x):
    noise = case.noise
    if case.name == "embedding_dropout":
        # a table has two dims: one for each of the dims in between
        for _ in range(x.ndim - 2):
            noise = jax.vmap(noise, in_axes=(None, 1, None), out_axes=1)
    return noise(key, x, case.amounts[-1])


def layers(api: str) -> dict[str, Callable[..., Any]]:
    """The layers of "linen" or "nnx" without parameters, on x of 4 dims."""
    call = {"linen": _linen, "nnx": _nnx}[api]
    return {
        f"{api}.{name}": functools.partial(call, name, *arguments)
        for name, arguments in LAYERS.items()
    }


def _linen(name, amounts, options, key, x):
    layer = getattr(jnn, name)(*amounts, **options, deterministic=False)
    return layer.apply({}, ids_of(x) if name == "TokenDropout" else x, rng=key)


def _nnx(name, amounts, options, key, x):
    layer = getattr(jnx, name)(*amounts, **options)
    return layer(ids_of(x) if name == "TokenDropout" else x, rngs=key)


def dense(width: int, api: str) -> dict[str, Parametric]:
    """The layers with parameters of "linen" or "nnx", on x (*batch, width)."""
    found, x = {}, jnp.ones((1, width))
    if api == "nnx":
        for name, amounts in DENSE.items():
            layer = getattr(jnx, name)(width, FEATURES, *amounts, rngs=nnx.Rngs(0))
            found[name] = nnx_layer(layer)
        found["ConcreteDropout"] = nnx_layer(jnx.ConcreteDropout(rngs=nnx.Rngs(0)))
        embed = nnx_layer(jnx.Embed(IDS, FEATURES, rate=0.3, rngs=nnx.Rngs(0)))
    else:
        for name, amounts in DENSE.items():
            found[name] = linen(getattr(jnn, name)(FEATURES, *amounts), x)
        found["ConcreteDropout"] = linen(jnn.ConcreteDropout(), x)
        embed = linen(jnn.Embed(IDS, FEATURES, rate=0.3), jnp.zeros(1, jnp.int32))
    apply = functools.partial(_look_up, embed.apply)
    return found | {"Embed": Parametric(embed.parameters, apply)}


def _look_up(apply, parameters, key, x, off=False):
    return apply(parameters, key, ids_of(x), off=off)


def linen(layer: Any, x: jax.Array) -> Parametric:
    """A layer of linen, with parameters for x."""
    # values that are none in particular: initializers would be compiled one by one
    init = functools.partial(layer.init, deterministic=True)
    shapes = jax.eval_shape(init, jax.random.key(0), x)
    parameters = jax.tree.map(_some_values, shapes)

    def apply(parameters, key, x, off=False):
        return layer.apply(parameters, x, deterministic=off, rng=key)

    return Parametric(parameters, apply)


def _some_values(leaf):
    values = np.sin(np.arange(leaf.size, dtype=np.float32)) / 4
    return jnp.asarray(values.reshape(leaf.shape))


def nnx_layer(layer: Any) -> Parametric:
    """A layer of nnx, with its own parameters."""
    graph, parameters, rest = nnx.split(layer, nnx.Param, ...)

    def apply(parameters, key, x, off=False):
        # a copy: the count of a stream may be changed in the trace that made it alone
        copy = jax.tree.map(lambda leaf: leaf, rest)
        return nnx.merge(graph, parameters, copy)(x, deterministic=off, rngs=key)

    return Parametric(parameters, apply)


def rates(cell: str, places: Any = PLACES, sharing: str = "per sequence"):
    """The arguments of a cell for noise at those of `places` that it has."""
    found = {}
    for place in places:
        if place not in LACKING[cell]:
            found |= PLACES[place]
    if cell != "LSTMCell":
        found.pop("zoneout_cell", None)
    options = dict(SHARING[sharing])
    if cell == "SimpleCell":
        options.pop("tied", None)
    return found | options


def cells() -> dict[str, Any]:
    """Unbound cells: each place alone, and all places with each way of sharing."""
    found = {}
    for cell in LACKING:
        make = functools.partial(getattr(jnn, cell), FEATURES)
        for place in PLACES:
            if place not in LACKING[cell]:
                found[f"{cell}, {place}"] = make(**rates(cell, [place]))
        for sharing, options in SHARING.items():
            if cell != "SimpleCell" or "tied" not in options:
                found[f"{cell}, all {sharing}"] = make(**rates(cell, PLACES, sharing))
    return found | wrappers()


def wrappers() -> dict[str, Any]:
    """Unbound wrappers around cells of flax."""
    dropout, zoneout = OF_WRAPPERS["DropoutWrapper"], OF_WRAPPERS["ZoneoutWrapper"]
    lstm = functools.partial(nn.OptimizedLSTMCell, FEATURES)
    variational = jnn.DropoutWrapper(lstm(), **dropout, variational=True)
    return {
        "DropoutWrapper": jnn.DropoutWrapper(lstm(), **dropout),
        "DropoutWrapper, variational": variational,
        "ZoneoutWrapper": jnn.ZoneoutWrapper(lstm(), **zoneout),
    }


def sequences(width: int, names: Sequence[str]) -> dict[str, Parametric]:
    """RNN layers over x (batch, time, width), by name; "nnx." for cells of nnx."""
    x, made, found = jnp.ones((1, 2, width)), cells(), {}
    for name in names:
        if not name.startswith("nnx."):
            found[name] = linen(jnn.RNN(made[name]), x)
            continue
        cell, _, sharing = name.removeprefix("nnx.").partition(", all ")
        if cell.endswith("Wrapper"):
            lstm = nnx.OptimizedLSTMCell(width, FEATURES, rngs=nnx.Rngs(0))
            layer = getattr(jnx, cell)(lstm, *OF_WRAPPERS[cell].values())
        else:
            options = rates(cell, PLACES, sharing)
            layer = getattr(jnx, cell)(width, FEATURES, **options, rngs=nnx.Rngs(0))
        found[name] = nnx_layer(jnx.RNN(layer))
    return found
