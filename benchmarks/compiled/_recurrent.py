"""Gradient steps of whole LSTM and GRU layers: ours with noise, flax without."""

from collections.abc import Iterator

import flax.linen as nn
import jax
from jax.sharding import PartitionSpec

import jaxnoise.linen as jnn
from benchmarks import recurrent
from benchmarks.compiled._tables import DTYPES, Program, Table

CELLS = {
    "LSTM": (jnn.LSTMCell, nn.OptimizedLSTMCell),
    "GRU": (jnn.GRUCell, nn.GRUCell),
}
FLAX = "flax.linen, no noise"


def tables() -> Iterator[Table]:
    for name, (own, flax) in CELLS.items():
        for shape in recurrent.SHAPES:
            for dtype in DTYPES:
                yield _table(name, own, flax, shape, dtype)


def _table(name: str, own: type, flax: type, shape, dtype: str) -> Table:
    batch, steps, width, _ = shape
    off = {"input_rate": 0.0, "recurrent_rate": 0.0}

    def ours(**rates):
        return lambda: _step(recurrent.our_layer(shape, own, dtype, **rates), steps)

    programs = {
        FLAX: lambda: _step(recurrent.flax_layer(shape, flax, dtype), steps),
        "jaxnoise, no noise": ours(**off),
        "jaxnoise": ours(),
    }
    sizes = "x".join(map(str, shape))
    return Table(f"{name} {sizes} {dtype}", programs, FLAX, batch * steps * width)


def _step(layer: recurrent.Layer, steps: int) -> Program:
    """The gradient for the parameters and the inputs, the batch over the chips."""
    loss, make = layer
    arguments = jax.eval_shape(make)
    variables, *others = (jax.tree.map(lambda _: PartitionSpec(), a) for a in arguments)
    specs = (variables, PartitionSpec(("data", "tensor")), *others[1:])
    return Program(jax.grad(loss, (0, 1)), arguments, specs, steps)
