"""Every argument of every function and layer is given something huge.

A call is refused in fewer than 500 characters, in which there is no array and no tree,
or it is none that is refused.
"""

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from flax.core import FrozenDict

import jaxnoise as jn
import jaxnoise.linen as jnn
import jaxnoise.nnx as jnx
from jaxnoise import keys, learned, losses, mc, recurrent, schedules, tree, weights

pytestmark = pytest.mark.attack

LONGEST = 500
MODULES = {
    "": jn,
    "keys": keys,
    "learned": learned,
    "losses": losses,
    "mc": mc,
    "recurrent": recurrent,
    "schedules": schedules,
    "tree": tree,
    "weights": weights,
}


class Parameters(nnx.Module):
    """A module of nnx with many arrays, as one may pass for its parameters."""

    def __init__(self, array):
        self.layers = nnx.List([nnx.Param(array) for _ in range(40)])


@functools.cache
def huge() -> dict[str, Any]:
    array = np.arange(14_400, dtype=np.float32).reshape(120, 120) / 7
    params = {f"layer_{i}": {"kernel": array, "bias": array[0]} for i in range(200)}
    deep: list[Any] = [array]
    for _ in range(50):
        deep = [deep]
    return {
        "an array of NumPy": array,
        "an array of JAX": jnp.asarray(array),
        "integers": np.arange(14_400).reshape(120, 120),
        "many dims": np.ones((1,) * 30 + (2, 3), bool),
        "a tree": params,
        "a frozen tree": FrozenDict(params),
        "a module": Parameters(jnp.asarray(array[:9])),
        "a list": list(range(1000)),
        "a list of arrays": [array] * 50,
        "a deep list": deep,
        "a set": set(range(1000)),
        "a string": "[" + "kernel" * 10_000,
        "bytes": b"kernel" * 10_000,
        "an integer": 10**4000,
        "a printable integer": -(10**600),
        "a function": functools.partial(np.add, array),
        "keys": jax.random.split(jax.random.key(0), 3000),
    }


X = np.ones((2, 3, 4), np.float32)
KERNEL = np.ones((4, 4), np.float32)
GOOD = {
    "x": X,
    "q": X[:, :, None],
    "k": X[:, :, None],
    "v": X[:, :, None],
    "ids": np.ones((2, 3), np.int32),
    "table": KERNEL,
    "embeddings": X,
    "params": {f"layer_{i}": KERNEL for i in range(300)},
    "masks": {f"layer_{i}": None for i in range(300)},
    "samples": np.full((3, 2, 4), 0.25, np.float32),
    "predictions": np.full((2, 4), 0.25, np.float32),
    "labels": np.ones((2,), np.int32),
    "logits1": X,
    "logits2": X,
    "h1": X,
    "h2": X,
    "outputs": X,
    "alpha": 0.5,
    "beta": 0.5,
    "rate": 0.5,
    "stddev": 0.5,
    "scale": 0.5,
    "lower": 0.1,
    "upper": 0.5,
    "shape": (2, 3),
    "input_shape": (2, 3),
    "features": 4,
    "gates": 4,
    "block_size": 2,
    "mask": np.ones((2, 3, 4), bool),
    "mask_id": 3,
    "path": "a",
    "name": "a",
    "step": 3,
    "steps": 3,
    "depth": 3,
    "n": 3,
    "fn": jax.random.normal,
    "kernel": KERNEL,
    "kernel_sigma": KERNEL,
    "log_variance": KERNEL,
    "log_alpha": KERNEL,
    "logit_rate": np.float32(0.5),
    "temperature": 0.1,
    "length_scale": 1.0,
    "prior_stddev": 1.0,
    "weights": recurrent.Weights(np.ones((4, 4)), np.ones((4, 4)), np.ones(4)),
    "carry": np.ones((3, 4)),
    "xs": np.ones((2, 3, 4)),
    "noise": None,
    "in_features": 4,
    "out_features": 4,
    "num_embeddings": 4,
    "fn_or_layer": jn.dropout,
}
INTERNAL = {"symmetric_uniform", "fold_words", "words_of"}
# what is JAX's or flax's own to check, or may be anything
PASSED_ON = {"dtype", "param_dtype", "precision", "gate_fn", "activation_fn", "unroll"}
PASSED_ON |= {"parent", "name", "rng_collection", "kernel_init", "bias_init"}
PASSED_ON |= {"from_logits", "relative", "linear", "first_zero", "forward_mode"}
PASSED_ON |= {"tied", "per_step", "batch_shared", "residual", "deterministic"}


class Call(NamedTuple):
    """A function, and the arguments with which it is right."""

    function: Callable[..., Any]
    arguments: dict[str, Any]
    positions: list[str]


def call_of(function: Callable[..., Any], **more: Any) -> Call:
    parameters = inspect.signature(function).parameters.values()
    wanted = [p.name for p in parameters if p.default is p.empty and p.kind != 4]
    given = {name: GOOD[name] for name in wanted if name not in ("key", "rngs", *more)}
    names = [p.name for p in parameters if p.kind in (1, 3)]
    return Call(
        function, {**given, **more}, [n for n in names if n not in PASSED_ON - {"name"}]
    )


def functions() -> dict[str, Call]:
    found = {}
    for home, module in MODULES.items():
        for name, function in vars(module).items():
            public = getattr(function, "__module__", "").startswith("jaxnoise")
            plain = inspect.isfunction(function) and name not in INTERNAL
            if public and plain and not name.startswith("_"):
                found[f"{home}.{name}".lstrip(".")] = call_of(function)
    lstm = recurrent.Weights(np.ones((4, 16)), np.ones((4, 16)), np.ones(16))
    gru = recurrent.Weights(np.ones((4, 12)), np.ones((4, 12)), np.ones(12), np.ones(4))
    carry = np.ones((3, 4))
    for name in ("recurrent.lstm", "recurrent.lstm_step"):
        found[name].arguments.update(weights=lstm, carry=(carry, carry))
    for name in ("recurrent.gru", "recurrent.gru_step"):
        found[name].arguments.update(weights=gru)
    for name in ("lstm", "gru", "simple"):
        found[f"recurrent.{name}_step"].arguments.update(x=np.ones((3, 4)))
    return found


FUNCTIONS = functions()


def refused(call: Call, position: str, value: Any, key: Any) -> str:
    """The message of the error, or nothing where there is none."""
    arguments = dict(call.arguments)
    if "key" in inspect.signature(call.function).parameters:
        arguments["key"] = key
    arguments[position] = value
    try:
        # what is right is traced, and not computed
        jax.eval_shape(lambda: [call.function(**arguments)] and None)
    except Exception as error:
        return f"{error}"
    return ""


def assert_short(what: str, message: str):
    assert len(message) < LONGEST, f"{what}: {len(message)} characters: {message[:900]}"
    printed = re.search(r"rray\(\[|\[\[\d|1.14285|\.14285", message)
    assert not printed, f"{what}: prints an array: {message}"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    call, key, seen = FUNCTIONS[name], jax.random.key(0), 0
    for position in call.positions:
        for kind, value in huge().items():
            message = refused(call, position, value, key)
            assert_short(f"{position} is {kind}", message)
            seen += bool(message)
    assert seen


SOME = ("an array of NumPy", "a tree", "a list", "a string", "an integer")
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
