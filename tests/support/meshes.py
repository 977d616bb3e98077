"""Meshes for the tests: programs on them, and what one device says instead."""

import math

import catalogue
import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

ON_DATA = (PartitionSpec(), PartitionSpec("d"))
ON_TENSOR = (PartitionSpec(None, "d"), PartitionSpec())
KINDS = pytest.mark.parametrize("kind", [AxisType.Explicit, AxisType.Auto], ids=str)


def mesh_of(kind, shape, names=("data", "sequence", "tensor")):
    devices = jax.devices()[: math.prod(shape)]
    return jax.make_mesh(shape, names, axis_types=(kind,) * len(shape), devices=devices)


def with_key(rows, key, x):
    """The outputs of all rows, each with the same key."""
    return {name: row(jax.random.clone(key), x) for name, row in rows.items()}


def together(rows):
    """One function of x with the outputs of all rows."""
    return lambda x: with_key(rows, jax.random.key(0), x)


def assert_equal(found, expected):
    """To the bit, or to 1 ulp (of 1, near 0) where there are normals."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    values = jax.tree.leaves(expected)
    for (path, leaf), value in zip(
        jax.tree.leaves_with_path(found), values, strict=True
    ):
        assert leaf.dtype == value.dtype, path
        a, b = np.asarray(leaf, np.float64), np.asarray(value, np.float64)
        error = np.abs(a - b) / np.maximum(np.abs(b), 1)
        rounded = catalogue.is_rounded(str(path))
        assert error.max() <= (np.finfo(np.float32).eps if rounded else 0), path


def placed_on(mesh, spec, tree):
    """The tree on the mesh: `spec` for its matrices, its end for what has less dims."""
    return jax.tree.map(
        lambda x: jax.device_put(
            x, NamedSharding(mesh, PartitionSpec(*spec[-x.ndim :] if x.ndim else ()))
        ),
        tree,
    )


def applied(layers, off=False):
    """All layers on x: a function of the parameters of all."""

    def program(parameters, x):
        return {
            name: layer.apply(parameters[name], jax.random.key(1), x, off=off)
            for name, layer in layers.items()
        }

    return program


def trained(layers, off=False):
    """A step of gradient descent: a function of the parameters of all layers."""
    program = applied(layers, off)

    def loss(parameters, x):
        return sum((y**2).sum() for y in program(parameters, x).values())

    def step(parameters, x):
        gradients = jax.grad(loss)(parameters, x)
        return jax.tree.map(lambda p, g: p - 1e-3 * g, parameters, gradients)

    return step


def run_on(mesh, specs, layers, x, off=False, program=applied):
    """The outputs of the layers on a mesh, and the text of the program."""
    with jax.set_mesh(mesh):
        parameters = {name: layer.parameters for name, layer in layers.items()}
        parameters = placed_on(mesh, specs[0], parameters)
        x = jax.device_put(x, NamedSharding(mesh, specs[1]))
        compiled = jax.jit(program(layers, off)).lower(parameters, x).compile()
        return compiled(parameters, x), compiled.as_text()


def on_one(layers, x):
    parameters = {name: layer.parameters for name, layer in layers.items()}
    return jax.jit(applied(layers))(parameters, x)


def close(found, expected):
    """Matmuls of shards may add up in another order: 8 ulps of the largest value."""
    for name, value in expected.items():
        error = np.abs(np.asarray(found[name]) - value).max()
        assert error <= 2**-20 * np.abs(value).max(), name
