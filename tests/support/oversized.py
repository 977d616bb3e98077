"""Values far too big to print, and calls that are given one of them."""

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.core import FrozenDict

import jaxnoise as jn
from jaxnoise import recurrent

LONGEST = 500
SOME = ("an array of NumPy", "a tree", "a list", "a string", "an integer")


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


class Call(NamedTuple):
    """A function, and the arguments with which it is right."""

    function: Callable[..., Any]
    arguments: dict[str, Any]
    positions: list[str]


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
# what is JAX's or flax's own to check, or may be anything
PASSED_ON = {"dtype", "param_dtype", "precision", "gate_fn", "activation_fn", "unroll"}
PASSED_ON |= {"parent", "name", "rng_collection", "kernel_init", "bias_init"}
PASSED_ON |= {"from_logits", "relative", "linear", "first_zero", "forward_mode"}
PASSED_ON |= {"tied", "per_step", "batch_shared", "residual", "deterministic"}


def call_of(function: Callable[..., Any], **more: Any) -> Call:
    parameters = inspect.signature(function).parameters.values()
    wanted = [p.name for p in parameters if p.default is p.empty and p.kind != 4]
    given = {name: GOOD[name] for name in wanted if name not in ("key", "rngs", *more)}
    names = [p.name for p in parameters if p.kind in (1, 3)]
    return Call(
        function, {**given, **more}, [n for n in names if n not in PASSED_ON - {"name"}]
    )


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
