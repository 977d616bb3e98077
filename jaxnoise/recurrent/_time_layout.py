"""The layout of sequences: time in front, in the order in which they are processed."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from jaxnoise._core import _sharding
from jaxnoise.recurrent import _cell


def over_time(
    run: Callable[[jax.Array, Any], tuple[Any, Any]],
    inputs: jax.Array,
    *,
    feature_dims: int,
    seq_lengths: Any,
    time_major: bool,
    reverse: bool,
    keep_order: bool,
) -> tuple[Any, Any]:
    """`run(xs, lengths)` with time in front, and its outputs in the layout of `inputs`.

    `inputs` are (*batch, time, *features), or have time in front if `time_major`.
    """
    if inputs.ndim < feature_dims + 1:
        raise ValueError(
            f"RNN: inputs must have time and {feature_dims} feature dim(s), got shape "
            f"{inputs.shape}."
        )
    time_axis = 0 if time_major else inputs.ndim - feature_dims - 1
    xs = jnp.moveaxis(inputs, time_axis, 0)
    if xs.shape[0] == 0:
        raise ValueError(
            f"RNN: inputs must have at least one step, got shape {inputs.shape}."
        )
    batch = xs.shape[1 : xs.ndim - feature_dims]
    lengths = _cell.check_lengths("RNN", seq_lengths, xs.shape[0], batch)
    carry, ys = run(_flip(xs, lengths) if reverse else xs, lengths)
    if reverse and keep_order:
        ys = jax.tree.map(lambda y: _flip(y, lengths), ys)
    return carry, jax.tree.map(lambda y: jnp.moveaxis(y, 0, time_axis), ys)


def of_step(sharding: NamedSharding) -> _sharding.Sharding:
    """On an explicit mesh, the sharding of a step of what has time in front."""
    if not sharding.mesh.explicit_axes:
        return None
    return NamedSharding(sharding.mesh, PartitionSpec(*sharding.spec[1:]))


def beside(carry: Any, xs: jax.Array, batch: int) -> Any:
    """On an explicit mesh, the rows of the carry where those of the steps are."""
    step = of_step(jax.typeof(xs).sharding)
    if step is None:
        return carry

    def move(leaf):
        return jax.sharding.reshard(leaf, _sharding.by_rows(step, batch, leaf.ndim))

    return jax.tree.map(move, carry)


def where(chosen: jax.Array, new: Any, old: Any) -> Any:
    """Rows of the arrays of `new` where they are chosen, else those of `old`."""

    def select(a, b):
        shape = chosen.shape + (1,) * (a.ndim - chosen.ndim)
        return jnp.where(chosen.reshape(shape), a, b)

    return jax.tree.map(select, new, old)


def _flip(xs, lengths):
    """Reverse time, each sequence within its length; what pads it stays at the end."""
    if lengths is None:
        return jnp.flip(xs, 0)
    steps = xs.shape[0]
    shape = (steps, *lengths.shape)
    count = jnp.asarray(steps, np.int32)
    back = count - 1 - lax.broadcasted_iota(np.int32, shape, 0)
    index = (back + jnp.broadcast_to(lengths, shape)) % count
    index = index.reshape(index.shape + (1,) * (xs.ndim - index.ndim))
    return jnp.take_along_axis(xs, index, axis=0)
