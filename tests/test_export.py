"""All that draws as an artefact for four platforms, and its bits when it is loaded.

`jax.export` lowers for platforms that this machine does not have. The artefact is
written out and read again, and what it computes here is what the function computes.
"""

from typing import Any

import catalogue
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from jaxnoise.testing._transforms import PLATFORMS

X = np.linspace(0.5, 2, 4 * 6 * 5 * 8, dtype=np.float32).reshape(4, 6, 5, 8)
WIDTH = X.shape[-1]
RUN = ("LSTMCell, all untied, per step", "DropoutWrapper")
LOWERED = ("LSTMCell, all batch shared", "GRUCell, all untied, per step")
LOWERED += ("SimpleCell, all per step", "DropoutWrapper, variational", "ZoneoutWrapper")
LOWERED += ("nnx.LSTMCell, all per sequence", "nnx.GRUCell, all per sequence")
FAMILIES = {
    "functions": (catalogue.functions, X),
    "linen, with parameters": (lambda: catalogue.dense(WIDTH, "linen"), X[:, 0, 0]),
    "sequences": (lambda: catalogue.sequences(WIDTH, RUN), X[:, 0]),
}
ONLY_LOWERED = {
    "linen": (lambda: catalogue.layers("linen"), X),
    "nnx": (lambda: catalogue.layers("nnx"), X),
    "nnx, with parameters": (lambda: catalogue.dense(WIDTH, "nnx"), X[:, 0, 0]),
    "sequences": (lambda: catalogue.sequences(WIDTH, LOWERED), X[:, 0]),
}


def output_and_gradients(row, parameters, key, x):
    """The output, and the gradient of the sum of its squares by all that has one."""

    def loss(parameters, x):
        if isinstance(row, catalogue.Parametric):
            y = row.apply(parameters, key, x)
        else:
            y = row(key, x)
        return jnp.sum(y.astype(np.float32) ** 2), y

    gradients, y = jax.grad(loss, argnums=(0, 1), has_aux=True)(parameters, x)
    return y, gradients


def program_of(rows):
    """One function with the outputs and gradients of all rows, and its parameters."""
    parameters = {
        name: jax.tree.leaves(row.parameters)
        for name, row in rows.items()
        if isinstance(row, catalogue.Parametric)
    }

    # leaves and key data: the format of an artefact knows no classes but JAX's own
    @jax.jit
    def program(parameters, data, x):
        found = {}
        for name, row in rows.items():
            own: Any = ()
            if isinstance(row, catalogue.Parametric):
                structure = jax.tree.structure(row.parameters)
                own = jax.tree.unflatten(structure, parameters[name])
            key = jax.random.wrap_key_data(data)
            y, gradients = output_and_gradients(row, own, key, x)
            found[name] = [y, *jax.tree.leaves(gradients)]
        return found

    return program, parameters


@pytest.mark.parametrize("family", FAMILIES)
def test_an_artefact_for_all_platforms_gives_the_same_bits(family):
    make, x = FAMILIES[family]
    program, parameters = program_of(make())
    arguments = parameters, np.asarray([1, 2], np.uint32), x
    artefact = export.export(program, platforms=PLATFORMS)(*arguments).serialize()
    loaded = export.deserialize(artefact)
    assert loaded.platforms == PLATFORMS
    found, expected = loaded.call(*arguments), program(*arguments)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        for ours, value in zip(found[name], values, strict=True):
            assert_equal(ours, value, name)


def assert_equal(found, expected, name):
    """To the bit; what is rounded as in the laws, to 4 ulps of the largest value."""
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape), name
    error = np.abs(np.asarray(found) - np.asarray(expected)).max(initial=0)
    size = np.abs(np.asarray(expected)).max(initial=1)
    bound = 4 * np.finfo(np.float32).eps * size if catalogue.is_rounded(name) else 0
    assert error <= bound, (name, error)


@pytest.mark.parametrize("family", ONLY_LOWERED)
def test_the_others_lower_for_all_platforms(family):
    """Layers over the same functions, and the other cells and ways of sharing."""
    make, x = ONLY_LOWERED[family]
    rows = make()
    program, parameters = program_of(rows)
    arguments = parameters, np.asarray([1, 2], np.uint32), x
    exported = export.export(program, platforms=PLATFORMS)(*arguments)
    assert exported.platforms == PLATFORMS
    # an output for each row, and the gradient of x with it
    assert len(exported.out_avals) >= 2 * len(rows)
