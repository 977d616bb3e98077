"""Matmuls of masked arrays with the kernels of all gates, and their cotangents."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from jaxnoise._core import _sharding, _wall
from jaxnoise.recurrent._masks import Mask, times


def dot(
    x: jax.Array, kernel: jax.Array, sharding: _sharding.Sharding = None
) -> jax.Array:
    """The matmul over the last dim of `x`, in the dtype of the kernel."""
    dims = (((x.ndim - 1,), (0,)), ((), ()))
    return lax.dot_general(x.astype(kernel.dtype), kernel, dims, out_sharding=sharding)


def project(
    x: jax.Array, mask: Mask, kernels: Sequence[jax.Array]
) -> tuple[jax.Array, ...]:
    """The matmul of `x` under its mask with the kernel of each gate."""
    if isinstance(mask, tuple):
        masked = [times(x, gate) for gate in mask]
    else:
        masked = [times(x, mask)] * len(kernels)
    return tuple(dot(u, kernel) for u, kernel in zip(masked, kernels, strict=True))


def project_state(
    h: jax.Array, mask: Mask, kernels: jax.Array
) -> tuple[jax.Array, ...]:
    """The same for h, with the kernels of all gates in one array: one matmul.

    With units over devices, h then goes from one to the other in one piece.
    """
    return unstacked(project_stacked(h, mask, kernels), stacked_axis(mask))


def project_stacked(x: jax.Array, mask: Mask, kernels: jax.Array) -> jax.Array:
    """The same as one array, with the gates at `stacked_axis`.

    Kernels with more rows than `x` is wide have zeros in them.
    """
    if not isinstance(mask, tuple):
        return dot(widened(times(x, mask), kernels.shape[0]), kernels)
    masked = jnp.stack([times(x, gate) for gate in mask]).astype(kernels.dtype)
    dims = (((x.ndim,), (1,)), ((0,), (0,)))
    return lax.dot_general(widened(masked, kernels.shape[1]), kernels, dims)


def widened(x: jax.Array, size: int, dim: int = -1) -> jax.Array:
    """`x` with zeros behind what it has along one of its dims."""
    if x.shape[dim] == size:
        return x
    widths = [(0, 0)] * x.ndim
    widths[dim] = (0, size - x.shape[dim])
    return jnp.pad(x, widths)


def gate_axis(mask: Mask) -> int:
    """The dim of the gates in the kernels of h: (H, G, H), or (G, H, H)."""
    return 0 if isinstance(mask, tuple) else 1


def stacked_axis(mask: Mask) -> int:
    """The dim of the gates in the matmul of all of them: (*, G, H), or (G, *, H)."""
    return 0 if isinstance(mask, tuple) else -2


def unstacked(array: jax.Array, axis: int) -> tuple[jax.Array, ...]:
    """The arrays of all gates from one with a dim for them."""
    gates = range(array.shape[axis])
    return tuple(lax.index_in_dim(array, gate, axis, keepdims=False) for gate in gates)


def unproject(
    dy: tuple[jax.Array, ...],
    x: jax.Array,
    mask: Mask,
    transposed: tuple[jax.Array, ...],
) -> tuple[jax.Array, Mask]:
    """The cotangents of `x` and of its mask in `project`, from transposed kernels."""
    pairs = zip(dy, transposed, strict=True)
    # said on an explicit mesh, where the units of dy may be split
    like = _sharding.like(x, x.shape)
    parts = [dot(part, kernel, like).astype(x.dtype) for part, kernel in pairs]
    return through(parts, x, mask)


def through(
    parts: Sequence[jax.Array], x: jax.Array, mask: Mask
) -> tuple[jax.Array, Mask]:
    """The cotangents of `x` and of its mask, from those of their product by gate."""
    if not isinstance(mask, tuple):
        return jax.vjp(times, x, mask)[1](functools.reduce(jnp.add, parts))
    pulls = [jax.vjp(times, x, gate)[1] for gate in mask]
    pulled = [pull(part) for pull, part in zip(pulls, parts, strict=True)]
    dxs, dmasks = zip(*pulled, strict=True)
    return functools.reduce(jnp.add, dxs), dmasks


def weight_gradients(
    x: jax.Array,
    mask: Mask,
    kernels: tuple[jax.Array, ...],
    dy: tuple[jax.Array, ...],
) -> tuple[jax.Array, ...]:
    """The cotangents of the kernels in `project`, each a matmul over all of `x`."""
    if jax.typeof(x).sharding.mesh.explicit_axes:
        return jax.vjp(lambda kernels: project(x, mask, kernels), kernels)[1](dy)[0]
    if not isinstance(mask, tuple):
        transposed = [_transposed(x, mask, dy[0].dtype)] * len(dy)
    else:
        transposed = [_transposed(x, gate, dy[0].dtype) for gate in mask]
    rows = tuple(range(x.ndim - 1))
    dims = ((tuple(row + 1 for row in rows), rows), ((), ()))
    pairs = zip(transposed, dy, strict=True)
    return tuple(lax.dot_general(left, right, dims) for left, right in pairs)


def _transposed(x, mask, dtype):
    if mask is not None:
        # by itself: in one loop with the transposition it would read across the rows
        x = _wall.materialised(times, x, mask)
    # in memory, behind the barrier: XLA for CPU has a faster kernel for such a product
    # than for one over the first dims of both
    return lax.optimization_barrier(jnp.moveaxis(x.astype(dtype), -1, 0))
