"""A training step of a transformer, with each dropout: what it costs beside no noise.

Four blocks on 8 x 1024 x 1024 in bfloat16; dropout after attention, in the middle and
at the end of the MLP, and in a table of its own on the attention weights too. What it
sends on 2 x 2 chips is counted for one block.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

import jaxnoise.linen as jnn
from benchmarks._formulas import RATE
from benchmarks.compiled._tables import RBG, Program, Table, key_of

BATCH, TIME, WIDTH, HEADS, DEPTH = 8, 1024, 1024, 16, 4
DTYPE = jnp.bfloat16
OURS = {
    "jaxnoise": {},
    "jaxnoise, bits=16": {"bits": 16},
    "jaxnoise, bits=8": {"bits": 8},
}

Layer = Callable[[jax.Array], jax.Array]


def tables() -> Iterator[Table]:
    """One table without dropout on the attention weights, one with it."""
    for attention in (False, True):
        programs = dict(_programs(attention))
        name = "transformer with attention noise" if attention else "transformer"
        yield Table(name, programs, "flax.linen", BATCH * TIME * WIDTH)


def _programs(attention: bool) -> Iterator[tuple[str, Callable[[], Program]]]:
    def row(drop: Layer, rate: float, key: str | None = None, **options: Any):
        if attention and rate:
            options |= {"dropout_rate": rate, "deterministic": False}
        return lambda: _step(partial(_network, drop, **options), key)

    yield "none", row(lambda h: h, 0.0)
    yield "flax.linen", row(_flax, RATE)
    yield f"flax.linen{RBG}", row(_flax, RATE, "rbg")
    own = getattr(jnn, "dot_product_attention", None)
    for name, options in OURS.items():
        drop = partial(_ours, **options)
        if not attention:
            yield name, row(drop, RATE)
        elif own is not None:
            yield name, row(drop, RATE, attention_fn=partial(own, **options))


def _flax(h: jax.Array) -> jax.Array:
    return nn.Dropout(RATE, deterministic=False)(h)


def _ours(h: jax.Array, **options: Any) -> jax.Array:
    return jnn.Dropout(RATE, deterministic=False, **options)(h)


def _network(drop: Layer, depth: int = DEPTH, **options: Any) -> nn.Module:
    options = {"deterministic": True} | options

    class Block(nn.Module):
        @nn.compact
        def __call__(self, x):
            h = nn.LayerNorm(dtype=DTYPE)(x)
            h = nn.MultiHeadDotProductAttention(
                HEADS, dtype=DTYPE, broadcast_dropout=False, **options
            )(h)
            x = x + drop(h)
            h = nn.LayerNorm(dtype=DTYPE)(x)
            h = drop(nn.gelu(nn.Dense(4 * WIDTH, dtype=DTYPE)(h)))
            return x + drop(nn.Dense(WIDTH, dtype=DTYPE)(h))

    class Network(nn.Module):
        @nn.compact
        def __call__(self, x):
            for _ in range(depth):
                x = Block()(x)
            return x

    return Network()


def _step(make: Callable[..., nn.Module], key: str | None) -> Program:
    """The gradient for the parameters; on 2 x 2 chips that of one block."""
    return _gradient(make(), DEPTH, key)._replace(smaller=_gradient(make(1), 1, key))


def _gradient(model: nn.Module, depth: int, key: str | None) -> Program:
    x = jax.ShapeDtypeStruct((BATCH, TIME, WIDTH), DTYPE)
    plain = _network(lambda h: h, depth)
    parameters = jax.eval_shape(lambda x: plain.init(jax.random.key(0), x), x)

    def loss(parameters, x, key):
        y = jnp.asarray(model.apply(parameters, x, rngs={"dropout": key}))
        return jnp.square(y.astype(jnp.float32)).mean()

    split = jax.tree.map(
        lambda p: PartitionSpec(*[None] * (p.ndim - 1), "tensor"), parameters
    )
    specs = (split, PartitionSpec("data"), PartitionSpec())
    return Program(jax.grad(loss), (parameters, x, key_of(key)), specs)
