"""Every argument of every layer is given something huge, as in `test_messages.py`."""

import functools
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import pytest
from catalogue import DENSE
from flax import nnx
from oversized import (
    GOOD,
    PASSED_ON,
    SOME,
    Call,
    X,
    assert_short,
    call_of,
    huge,
    refused,
)

import jaxnoise.linen as jnn
import jaxnoise.nnx as jnx

pytestmark = pytest.mark.attack

LAYERS = {
    f"{home}.{name}": layer
    for home, module in (("linen", jnn), ("nnx", jnx))
    for name, layer in vars(module).items()
    if isinstance(layer, type) and hasattr(layer, "function")
}
OPTIONS = ("temperature", "length_scale", "prior_stddev", "threshold", "sigma0")
OPTIONS += ("alpha_per", "in_features", "out_features", "features", "stddev", "rate")


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name):
    """Their own amounts and options, what they are called on, and the key."""
    layer, seen = LAYERS[name], 0
    given = call_of(layer.__init__, self=None, rngs=None)
    own = {p: None for p in inspect.signature(layer.function).parameters}
    own |= dict.fromkeys(OPTIONS)
    taken = inspect.signature(layer.__init__).parameters
    good = {k: v for k, v in given.arguments.items() if k not in ("self", "rngs")}

    def call(inputs, key, **arguments):
        if name.startswith("nnx"):
            rngs = {"rngs": nnx.Rngs(0)} if "rngs" in taken else {}
            return layer(**arguments, **rngs)(inputs, rngs=key)
        made = layer(**arguments)
        return made.init_with_output(
            jax.random.key(0), inputs, deterministic=False, rng=key
        )

    inputs = GOOD["ids"] if name.endswith("TokenDropout") else X
    whole = Call(call, {**good, "inputs": inputs}, [])
    key = jax.random.key(0)
    for position in [*sorted(own.keys() & taken.keys()), "inputs", "key"]:
        for kind in SOME:
            message = refused(whole, position, huge()[kind], key)
            # flax, which says at length where it wants its arrays
            if not message.startswith("Found data on value of type"):
                assert_short(f"{position} is {kind}", message)
            seen += bool(message)
    assert seen


def of_flax() -> set[str]:
    """What is left to flax, which has it too."""
    layers = (nn.Dense, nn.Embed, nn.OptimizedLSTMCell, nn.RNN)
    layers += (nnx.LSTMCell, nnx.RNN, nnx.Embed)
    found = set().union(
        *(inspect.signature(each.__init__).parameters for each in layers)
    )
    sizes = {"features", "in_features", "hidden_features", "num_embeddings", "cell"}
    return found - sizes


def positions_of(function: Callable[..., Any]) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(function).parameters.values()
    others = PASSED_ON | of_flax() | {"self", "rngs", "attention"}
    return [p.name for p in parameters if p.kind in kinds and p.name not in others]


def of_linen(make, /, inputs, key, **options):
    made = make(**options)
    return made.init_with_output(
        jax.random.key(0), inputs, deterministic=False, rng=key
    )


def in_linen_rnn(make, /, inputs, key, **options):
    return of_linen(jnn.RNN, inputs, key, cell=make(**options))


def of_nnx(make, /, inputs, key, **options):
    return make(**options, rngs=nnx.Rngs(0))(inputs, rngs=key)


def in_nnx_rnn(make, /, inputs, key, **options):
    rngs = {} if "cell" in options else {"rngs": nnx.Rngs(0)}
    return jnx.RNN(make(**options, **rngs))(inputs, rngs=key)


def replaced_in_linen(make, /, inputs, key, **options):
    model = nn.Dropout(0.5, deterministic=False)
    with make(**options):
        return model.apply({}, inputs, rngs={"dropout": jax.random.key(1)})


def replaced_in_nnx(make, /, inputs, key, **options):
    options.setdefault("model", nnx.Sequential(nnx.Dropout(0.5)))
    return make(**options)(inputs, rngs=key)


DENSE_OF = {"linen": {"features": 4}, "nnx": {"in_features": 4, "out_features": 4}}
CELL_OF = {"linen": {"features": 4}, "nnx": {"in_features": 4, "hidden_features": 4}}
WRAPPED = {"linen": nn.GRUCell(4), "nnx": jnx.GRUCell(4, 4, rngs=nnx.Rngs(0))}
TABLE = {"num_embeddings": 7, "features": 4, "inputs": GOOD["ids"]}


def wide() -> Iterator[tuple[str, Call]]:
    """Layers with parameters, cells and wrappers in an RNN, and what replaces."""

    def row(api, name, call, **good):
        made = getattr(api, name)
        given = {"inputs": X, **good}
        positions = [*positions_of(made), "inputs", "key"]
        title = f"{api.__name__.removeprefix('jaxnoise.')}.{name}"
        return title, Call(functools.partial(call, made), given, positions)

    for api, of, inside in ((jnn, of_linen, in_linen_rnn), (jnx, of_nnx, in_nnx_rnn)):
        short = api.__name__.removeprefix("jaxnoise.")
        for name in DENSE:
            rate = {"rate": 0.3} if name == "DropConnectDense" else {}
            yield row(api, name, of, **DENSE_OF[short], **rate)
        yield row(api, "ConcreteDropout", of)
        yield row(api, "Embed", of, **TABLE)
        for name in ("LSTMCell", "GRUCell", "SimpleCell"):
            yield row(api, name, inside, **CELL_OF[short])
        for name in ("DropoutWrapper", "ZoneoutWrapper"):
            yield row(api, name, inside, cell=WRAPPED[short])
        replaced = replaced_in_linen if api is jnn else replaced_in_nnx
        yield row(api, "replace_dropout", replaced, fn_or_layer=api.Dropout)
    yield row(jnn, "RNN", of_linen, cell=jnn.LSTMCell(4, input_rate=0.3))
    cell = jnx.LSTMCell(4, 4, input_rate=0.3, rngs=nnx.Rngs(0))
    yield row(jnx, "RNN", of_nnx, cell=cell)


WIDE = dict(wide())
SAID = re.compile(r"[\w.]+(, at [^:]*)?: ")  # the function or layer, and then what


@pytest.mark.parametrize("name", WIDE)
def test_layers_with_parameters(name):
    """Dense and learned layers, `Embed`, cells, wrappers and the layer around them."""
    call, seen = WIDE[name], 0
    for position in call.positions:
        for kind in SOME:
            message = refused(call, position, huge()[kind], jax.random.key(0))
            if message and not message.startswith("Found data on value of type"):
                assert_short(f"{position} is {kind}", message)
                assert SAID.match(message), f"{position} is {kind}: {message}"
            seen += bool(message)
    assert seen
