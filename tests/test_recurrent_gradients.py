"""Gradients of the recurrent cells beside autodiff, and what is traced and promoted."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells import (
    ALL,
    GATES,
    close,
    few,
    gradients,
    problem,
    reference,
    sample,
    tying,
    weighing,
)

import jaxnoise.recurrent as jr

pytestmark = pytest.mark.usefixtures("quick_compiler")


def test_a_sequence_of_float64_is_of_float64_throughout():
    (rates,) = (case.values[1] for case in ALL if case.id == "lstm, all per step")
    with jax.enable_x64(True):
        weights, carry, xs = problem("lstm", np.float64)
        noise = sample("lstm", rates, dtype=np.float64)
        expected = reference("lstm", weights, carry, xs, noise, rates)
        actual = jr.lstm(weights, carry, xs, noise, tied=False)
        close(actual, expected, 1e-14)


@pytest.mark.parametrize("cell", GATES)
def test_the_backward_pass_of_its_own_is_for_the_default_activations(cell):
    weights, carry, xs = problem(cell)
    others = {"activation_fn": jax.nn.relu, "gate_fn": jax.nn.hard_sigmoid}
    if cell == "simple":
        del others["gate_fn"]

    def program(**options):
        run = functools.partial(getattr(jr, cell), **options)
        return str(jax.make_jaxpr(run)(weights, carry, xs))

    assert "custom_vjp_call" in program()
    assert "custom_vjp_call" not in program(forward_mode=True)
    for name, other in others.items():
        assert "custom_vjp_call" not in program(**{name: other})


@pytest.mark.parametrize("cell", GATES)
def test_a_second_call_traces_nothing_again(cell):
    """Of a sequence, and of a step: functions that are equal are one static value."""
    weights, carry, xs = problem(cell)
    traces = []

    def activation(x):
        traces.append(x.shape)
        return jnp.tanh(x)

    for name, inputs in ((cell, xs), (f"{cell}_step", xs[0])):
        run, before = getattr(jr, name), len(traces)
        run(weights, carry, inputs, activation_fn=activation)
        once = len(traces)
        assert once > before
        run(weights, carry, inputs, activation_fn=activation)
        assert len(traces) == once


GRADIENTS = [("float64", 1e-12, *case.values) for case in ALL if few(case)]
GRADIENTS += [
    ("float32", 1e-6, *case.values) for case in ALL if case.id.endswith("all once")
]


@pytest.mark.recurrent
@pytest.mark.parametrize(("dtype", "tolerance", "cell", "rates"), GRADIENTS)
def test_gradients_are_those_of_autodiff(cell, rates, dtype, tolerance):
    """For weights, initial carry and inputs; with ragged sequences for masks too."""
    with jax.enable_x64(dtype == "float64"):
        args = (*problem(cell, dtype), sample(cell, rates, dtype=dtype))
        ragged = dtype == "float64"
        lengths = jnp.array([[0, 1, 6], [3, 5, 2]]) if ragged else None
        weigh, tied = weighing(cell, dtype), tying(cell, rates)
        ours, plain = (
            gradients(cell, args, lengths, weigh, forward_mode=mode, **tied)
            for mode in (False, True)
        )
        assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(ours))
        count = 4 if ragged else 3
        close(ours[:count], plain[:count], tolerance)


EVERYWHERE = [case for case in ALL if case.id.endswith("all once")]


@pytest.mark.recurrent
@pytest.mark.parametrize(("cell", "rates"), EVERYWHERE)
def test_x64_changes_nothing_for_float32(cell, rates):
    """Masks to the bit; outputs and gradients in float32, and equal to rounding."""
    tied, weigh = tying(cell, rates), weighing(cell, np.float32)

    def everything():
        weights, carry, xs = problem(cell)
        noise = sample(cell, rates)
        outputs = getattr(jr, cell)(weights, carry, xs, noise, **tied)
        arrays = tuple(jax.tree.map(jnp.asarray, (weights, carry, xs, noise)))
        return (
            noise,
            outputs,
            gradients(cell, arrays, None, weigh, forward_mode=False, **tied),
        )

    narrow = everything()
    with jax.enable_x64(True):
        wide = everything()
    assert {leaf.dtype.name for leaf in jax.tree.leaves(wide)} == {"float32"}
    chex.assert_trees_all_equal(wide[0], narrow[0])
    close(wide[1:], narrow[1:], 1e-6)
