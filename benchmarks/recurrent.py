"""Gradient step of a whole LSTM layer: ours with noise, flax without, torch and Keras.

    python benchmarks/recurrent.py [--repetitions N] [--shape B,T,D,H] [--json FILE]

All candidates of a shape are timed in turn, as `_harness.py` says. A time is the least
over the rounds; a ratio is the median over the rounds of flax' time over the
candidate's, so above 1 is faster than flax. Gradients are taken for the parameters and
for the inputs. "to the limit" is the time over that of the matmuls alone (6 of them,
2 T B D 4 H operations each with D = H) at the rate of a large matmul measured here.
torch and Keras take part where they are installed, Keras on the JAX backend.

What each decision of the implementation was worth is in `benchmarks/RECURRENT.md`.
"""

import argparse
import importlib
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import jaxnoise.linen as jnn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks._harness import MIB, Candidate, compiled, interleaved, prepared

SHAPES = (
    (20, 35, 650, 650),
    (32, 100, 256, 256),
    (20, 35, 200, 200),
    (64, 50, 128, 128),
)


Layer = tuple[Callable[..., jax.Array], Callable[[], tuple]]


def gradient_step(loss, *args) -> Candidate:
    """A gradient step of JAX for the first two arguments."""
    return compiled(jax.grad(loss, argnums=(0, 1)), *args)


def our_layer(shape, cell: Any = jnn.LSTMCell, dtype: Any = None, **options) -> Layer:
    """The loss of a layer with noise, and what makes its arguments."""
    _, _, _, features = shape
    rates: dict[str, Any] = {"input_rate": 0.5, "recurrent_rate": 0.3} | options
    rnn = jnn.RNN(cell(features, dtype=dtype, **rates))

    def loss(variables, x, key):
        y = rnn.apply(variables, x, deterministic=False, rng=key)
        return (jnp.asarray(y) ** 2).sum()

    def arguments():
        x = inputs(shape, dtype)
        variables: Any = rnn.init(jax.random.key(0), x, deterministic=True)
        return variables, x, jax.random.key(1)

    return loss, arguments


def flax_layer(shape, cell: Any = nn.OptimizedLSTMCell, dtype: Any = None) -> Layer:
    _, _, _, features = shape
    rnn: Any = nn.RNN(cell(features, dtype=dtype))

    def loss(variables, x):
        return (jnp.asarray(rnn.apply(variables, x)) ** 2).sum()

    def arguments():
        x = inputs(shape, dtype)
        return rnn.init(jax.random.key(0), x), x

    return loss, arguments


def ours(shape, **options: Any) -> Candidate:
    loss, arguments = our_layer(shape, **options)
    return gradient_step(loss, *arguments())


def flax(shape) -> Candidate:
    loss, arguments = flax_layer(shape)
    return gradient_step(loss, *arguments())


def keras_layer(shape, **options) -> Candidate:
    keras: Any = importlib.import_module("keras")
    _, _, _, features = shape
    layer = keras.layers.LSTM(features, return_sequences=True, **options)
    x = inputs(shape)
    layer.build(x.shape)
    trained = [v.value for v in layer.trainable_variables]
    rest = [v.value for v in layer.non_trainable_variables]

    def loss(trained, x):
        y = layer.stateless_call(trained, rest, x, training=True)[0]
        return (y**2).sum()

    return gradient_step(loss, trained, x)


def torch_layer(shape) -> Candidate:
    torch: Any = importlib.import_module("torch")
    torch.set_num_threads(2)
    _, _, width, features = shape
    layer = torch.nn.LSTM(width, features, batch_first=True)
    x = torch.from_numpy(np.array(inputs(shape))).requires_grad_()

    def step():
        layer.zero_grad(set_to_none=True)
        x.grad = None
        y, _ = layer(x)
        y.square().sum().backward()

    return Candidate(step)


CANDIDATES: dict[str, Callable[..., Candidate]] = {
    "flax, no noise": flax,
    "ours, no noise": lambda shape: ours(shape, input_rate=0.0, recurrent_rate=0.0),
    "ours, tied": ours,
    "ours, untied": lambda shape: ours(shape, tied=False),
    "ours, zoneout": lambda shape: ours(shape, zoneout_hidden=0.1, zoneout_cell=0.1),
    "torch, no noise": torch_layer,
    "keras, no noise": keras_layer,
    "keras, both": lambda shape: keras_layer(shape, dropout=0.5, recurrent_dropout=0.3),
}


def inputs(shape, dtype: Any = None) -> jax.Array:
    batch, time_steps, width, _ = shape
    return jax.random.normal(jax.random.key(2), (batch, time_steps, width), dtype)


def large_matmul() -> Candidate:
    """The candidate by which the speed of a large float32 matmul is measured."""
    a = jax.random.normal(jax.random.key(0), (1024, 1024))
    return compiled(jnp.matmul, a, a)


def measure(shape, repetitions: int) -> list[dict]:
    factories = {name: partial(make, shape) for name, make in CANDIDATES.items()}
    ready = prepared(factories, own="ours")
    times = interleaved(ready | {"matmul": large_matmul()}, repetitions)
    rate = 2 * 1024**3 / times["matmul"].min()
    batch, steps, width, features = shape
    operations = 2 * batch * steps * 4 * features * 3 * (width + features)
    base = times["flax, no noise"]
    base_memory = ready["flax, no noise"].temporary_bytes
    rows = []
    for name, candidate in ready.items():
        memory = candidate.temporary_bytes
        ratio = memory / base_memory if memory and base_memory else None
        rows.append(
            {
                "shape": shape,
                "name": name,
                "ms": 1e3 * times[name].min(),
                "median_ms": 1e3 * float(np.median(times[name])),
                "flax_over_this": float(np.median(base / times[name])),
                "flax_over_this_least": float(base.min() / times[name].min()),
                "to_the_limit": times[name].min() * rate / operations,
                "memory_mib": None if memory is None else memory / MIB,
                "memory_over_flax": ratio,
            }
        )
    print(f"matmul rate {rate / 1e9:.0f} GFLOP/s, {operations / 1e9:.1f} GFLOP a step")
    return rows


def table(rows: list[dict]) -> str:
    head = "| | ms, least | ms, median | flax / this | to the limit | MiB | / flax |"
    lines = [head, "|---|---|---|---|---|---|---|"]
    for row in rows:
        memory, ratio = row["memory_mib"], row["memory_over_flax"]
        lines.append(
            f"| {row['name']} | {row['ms']:.1f} | {row['median_ms']:.1f} | "
            f"{row['flax_over_this']:.2f} | {row['to_the_limit']:.2f} | "
            f"{'' if memory is None else f'{memory:.1f}'} | "
            f"{'' if ratio is None else f'{ratio:.2f}'} |"
        )
    return "\n".join(lines)


def parse_shape(text: str) -> tuple[int, ...]:
    shape = tuple(int(part) for part in text.split(","))
    if len(shape) != 4 or min(shape) < 1:
        raise argparse.ArgumentTypeError(f"must be batch,time,in,hidden, got {text!r}")
    return shape


def main(argv: list[str] | None = None):
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--shape", type=parse_shape, action="append", metavar="B,T,D,H")
    parser.add_argument("--json", type=Path, help="write all the numbers here")
    flags = parser.parse_args(argv)
    everything = []
    for shape in flags.shape or SHAPES:
        print(f"\nbatch, time, in, hidden = {shape}, {flags.repetitions} rounds")
        rows = measure(shape, flags.repetitions)
        print(table(rows), flush=True)
        everything += rows
    if flags.json:
        flags.json.write_text(json.dumps(everything, indent=1) + "\n")


if __name__ == "__main__":
    main()
