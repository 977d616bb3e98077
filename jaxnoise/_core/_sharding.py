"""Where a draw belongs on an explicit mesh: on the devices of what it is for.

On an automatic mesh, and without one, there is nothing to say: the compiler decides.
"""

from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxnoise._core import _shown

Shape = tuple[int, ...]
Sharding = NamedSharding | None


def like(x: jax.Array, shape: Shape) -> Sharding:
    """The sharding of `x` for a draw of `shape`, as `aligned` has it."""
    return aligned(jax.typeof(x).sharding, x.shape, shape)


def aligned(sharding: Sharding, of: Shape, shape: Shape) -> Sharding:
    """The sharding of an array of shape `of` for a draw of `shape`, last dim to last.

    The draw is whole on the dims that it shares, those of another size, and on those
    that it has in front. None on a mesh without explicit axes.
    """
    if sharding is None or not sharding.mesh.explicit_axes:
        return None
    axes = (*sharding.spec, *[None] * (len(of) - len(sharding.spec)))
    pairs = zip(axes, of, shape[len(shape) - len(of) :], strict=True)
    spec = [None if size != wanted else axis for axis, size, wanted in pairs]
    front = [None] * (len(shape) - len(of))
    return NamedSharding(sharding.mesh, PartitionSpec(*front, *spec))


def by_rows(sharding: Sharding, batch: int, ndim: int) -> Sharding:
    """The same for the first `batch` dims of an array of `ndim`, the others whole."""
    if sharding is None:
        return None
    rows = (*sharding.spec, *[None] * batch)[:batch]
    spec = PartitionSpec(*rows, *[None] * (ndim - batch))
    return NamedSharding(sharding.mesh, spec)


def of_dims(sharding: NamedSharding, dims: Sequence[int]) -> NamedSharding:
    """The sharding of an array without its other dims."""
    spec = dict(enumerate(sharding.spec))
    return NamedSharding(sharding.mesh, PartitionSpec(*[spec.get(d) for d in dims]))


def names(entry: Any) -> tuple[Any, ...]:
    """The axes of the mesh in one entry of a PartitionSpec."""
    if entry is None:
        return ()
    return entry if isinstance(entry, tuple) else (entry,)


def checked(function: str, name: str, value: Any, shape: Shape) -> Sharding:
    """The sharding that an argument asks for, of an array of that shape."""
    if value is None:
        return None
    if isinstance(value, PartitionSpec):
        mesh = jax.sharding.get_abstract_mesh()
        if mesh.empty:
            raise ValueError(
                f"{function}: {name} must be a NamedSharding where no mesh is set, got "
                f"{_shown.shown(value)}. Set one with jax.set_mesh."
            )
        value = NamedSharding(mesh, value)
    if not isinstance(value, NamedSharding):
        raise TypeError(
            f"{function}: {name} must be a NamedSharding, a PartitionSpec or None, got "
            f"{_shown.shown(value)}. That of an array is jax.typeof(x).sharding."
        )
    mesh, spec = value.mesh.abstract_mesh, value.spec
    if len(spec) > len(shape):
        raise ValueError(
            f"{function}: {name} must have at most {len(shape)} dims for shape "
            f"{shape}, got {spec}."
        )
    sizes, types = mesh.shape, dict(zip(mesh.axis_names, mesh.axis_types, strict=True))
    for axes, size in zip(spec, shape, strict=False):
        parts = 1
        for axis in names(axes):
            if types.get(axis) is not AxisType.Explicit:
                kind = f"of type {types[axis].name}" if axis in types else "free"
                raise ValueError(
                    f"{function}: {name} must name explicit axes of the mesh, got "
                    f"{spec} with {axis!r} {kind}. Pass None there: the compiler "
                    f"decides, or shard_map does."
                )
            parts *= sizes[axis]
        if size % parts:
            raise ValueError(
                f"{function}: {name} must split dims evenly, got {spec}, which splits "
                f"a dim of {size} into {parts} for shape {shape}."
            )
    return aligned(NamedSharding(mesh, spec), shape, shape)
