"""Noise of this and of other libraries behind one signature, (key, x) -> y.

Each entry of a table makes such a function, and raises ImportError where its library is
not installed. The libraries of JAX are called as in a training step; torch has steps of
its own in `_torch.py`.
"""

import importlib
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
from flax import nnx

import jaxnoise as jn
import jaxnoise.linen as jnn
import jaxnoise.nnx as jnx
from benchmarks import _attention, _formulas
from benchmarks._formulas import BLOCK, RATE, STDDEV
from jaxnoise.testing import CASES

Noise = Callable[..., Any]
Noises = dict[str, Callable[[], Noise]]


def ours(function: Callable, *amounts, **options) -> Callable[[], Noise]:
    return lambda: lambda key, x: function(key, x, *amounts, **options)


def linen(
    module: Any, dims: tuple[int, ...] = (), rate: Any = RATE
) -> Callable[[], Noise]:
    """`nn.Dropout` or `jnn.Dropout`, with the stream of a training step."""

    def noise(key, x):
        layer = module.Dropout(rate, broadcast_dims=dims)
        return layer.apply({}, x, deterministic=False, rngs={"dropout": key})

    return lambda: noise


def of_nnx(
    module: Any, dims: tuple[int, ...] = (), rate: Any = RATE
) -> Callable[[], Noise]:
    """`nnx.Dropout` or `jnx.Dropout`, with a key given at the call."""
    layer = module.Dropout(rate, broadcast_dims=dims)
    return lambda: lambda key, x: layer(x, deterministic=False, rngs=key)


def equinox(rate: Any = RATE) -> Noise:
    layer = importlib.import_module("equinox").nn.Dropout(rate)
    return lambda key, x: layer(x, key=key)


def haiku(dims: tuple[int, ...] = (), rate: Any = RATE) -> Callable[[], Noise]:
    def make():
        function = importlib.import_module("haiku").dropout
        return lambda key, x: function(key, rate, x, broadcast_dims=dims)

    return make


def keras(layer_name: str, amount: Any, **options) -> Callable[[], Noise]:
    """A layer of Keras on JAX, its seed state being the key."""

    def make():
        module = importlib.import_module("keras")
        if module.backend.backend() != "jax":
            raise ImportError("the backend of Keras is not JAX")
        # a seed that the layer makes under a trace would outlive it
        with jax.ensure_compile_time_eval():
            layer = getattr(module.layers, layer_name)(amount, **options)
        layer.autocast = False  # bfloat16 stays bfloat16

        def noise(key, x):
            # at rate 0 the layer has no seed
            seeds = [jax.random.key_data(key)] * len(layer.non_trainable_variables)
            return layer.stateless_call([], seeds, x, training=True)[0]

        return noise

    return make


FORMULAS = {case.name: case.formula for case in CASES if case.formula is not None}


def formula(name: str, *amounts: Any) -> Callable[[], Noise]:
    if name in FORMULAS:
        return lambda: lambda key, x: FORMULAS[name](key, x, *amounts)
    return lambda: getattr(_formulas, name)


NONE: Noises = {"none": lambda: lambda key, x: x}
DROPOUT: Noises = {
    "jaxnoise": ours(jn.dropout, RATE),
    "jaxnoise, bits=16": ours(jn.dropout, RATE, bits=16),
    "jaxnoise, bits=8": ours(jn.dropout, RATE, bits=8),
    "jaxnoise.linen": linen(jnn),
    "flax.linen": linen(nn),
    "flax.nnx": of_nnx(nnx),
    "equinox": equinox,
    "haiku": haiku(),
    "keras": keras("Dropout", RATE),
    "jax.random": formula("dropout"),
}

TIED: Noises = {
    "jaxnoise": ours(jn.dropout, RATE, broadcast_dims=(1,)),
    "flax.linen": linen(nn, (1,)),
    "flax.nnx": of_nnx(nnx, (1,)),
    "haiku": haiku((1,)),
    "keras": keras("Dropout", RATE, noise_shape=(None, 1, None)),
    "jax.random": formula("tied_dropout"),
}


def _only(noises: Noises, *names: str) -> Noises:
    return {k: v for k, v in noises.items() if k.split(",")[0] in names}


_FUNCTIONS = ("jaxnoise", "flax.linen", "flax.nnx", "equinox", "haiku")
GRADIENT = _only(DROPOUT, *_FUNCTIONS, "keras")
STACK = NONE | _only(DROPOUT, "jaxnoise", "flax.linen", "equinox", "haiku")
EAGER: dict[str, Noises] = {
    "function": _only(DROPOUT, *_FUNCTIONS),
    "linen": _only(DROPOUT, "jaxnoise.linen", "flax.linen"),
    "nnx": {"jaxnoise.nnx": of_nnx(jnx), "flax.nnx": of_nnx(nnx)},
}


def beside_formula(name: str, *amounts: float, **peers: Callable[[], Noise]) -> Noises:
    function = getattr(jn, name)
    has_bits = "bits" in inspect.signature(function).parameters
    packed = {
        f"jaxnoise, bits={bits}": ours(function, *amounts, bits=bits)
        for bits in (16, 8)
        if has_bits
    }
    own = {"jaxnoise": ours(function, *amounts)} | packed
    return own | {"jax.random": formula(name, *amounts)} | peers


FLAT: dict[str, Noises] = {
    "gaussian_noise": beside_formula(
        "gaussian_noise", STDDEV, keras=keras("GaussianNoise", STDDEV)
    ),
    "gaussian_dropout": beside_formula(
        "gaussian_dropout", RATE, keras=keras("GaussianDropout", RATE)
    ),
    "real_gaussian_dropout": beside_formula("real_gaussian_dropout", RATE, STDDEV),
    "uniform_noise": beside_formula("uniform_noise", STDDEV),
    "laplace_noise": beside_formula("laplace_noise", STDDEV),
    "alpha_dropout": beside_formula(
        "alpha_dropout", RATE, keras=keras("AlphaDropout", RATE)
    ),
    "embedding_dropout": beside_formula("embedding_dropout", RATE),
}
IMAGES: dict[str, Noises] = {
    "spatial_dropout": beside_formula(
        "spatial_dropout", RATE, keras=keras("SpatialDropout2D", RATE)
    ),
    "feature_alpha_dropout": beside_formula("feature_alpha_dropout", RATE),
    "drop_path": beside_formula("drop_path", RATE),
    "drop_block": beside_formula("drop_block", RATE, BLOCK),
}

# functions of a key, queries, keys and values
ATTENTION: Noises = {
    name: partial(lambda attend: attend, attend)
    for name, attend in (
        {"none": _attention.flax_without} | _attention.WHOLE | _attention.BLOCKED
    ).items()
}
