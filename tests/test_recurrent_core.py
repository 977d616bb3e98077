"""The pure recurrent functions against NumPy in float64 and against autodiff."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells import (
    ALL,
    COMMON,
    GATES,
    STEPS,
    close,
    few,
    gradients,
    masks,
    normal,
    problem,
    reference,
    sample,
    tying,
    weighing,
)

import jaxnoise.recurrent as jr
from jaxnoise.recurrent import _matmul, _scan, _time_layout, _together

pytestmark = pytest.mark.usefixtures("quick_compiler")
beyond = pytest.mark.recurrent


@pytest.mark.parametrize(("cell", "rates"), ALL)
def test_sequence_is_the_equations_of_the_papers(cell, rates):
    weights, carry, xs = problem(cell)
    noise = masks(cell, rates)
    lengths = np.array([[0, 1, 6], [3, 5, 2]])
    expected = reference(cell, weights, carry, xs, noise, rates, lengths)
    with jax.numpy_dtype_promotion("strict"):
        actual = getattr(jr, cell)(
            weights, carry, xs, noise, seq_lengths=lengths, **tying(cell, rates)
        )
    close(actual, expected, 1e-6)


@pytest.mark.parametrize(("cell", "rates"), [case for case in ALL if few(case)])
def test_steps_make_the_sequence(cell, rates):
    weights, carry, xs = problem(cell)
    noise = masks(cell, rates)
    expected = getattr(jr, cell)(weights, carry, xs, noise, **tying(cell, rates))
    ys = []
    for t in range(STEPS):
        now = [
            mask[t] if name in timed(rates) and mask is not None else mask
            for name, mask in noise._asdict().items()
        ]
        carry, y = getattr(jr, f"{cell}_step")(
            weights, carry, xs[t], jr.Noise(*now), **tying(cell, rates)
        )
        ys.append(y)
    close((carry, np.stack(ys)), expected, 1e-6)


@pytest.mark.recurrent
@pytest.mark.parametrize("cell", GATES)
def test_kernels_by_gate_are_those_side_by_side(cell):
    """One of them or all, to the bit, and so their gradients."""
    (rates,) = (case.values[1] for case in ALL if case.id == f"{cell}, all per step")
    weights, carry, xs = problem(cell)
    noise = sample(cell, rates)

    def by_gate(array):
        return tuple(np.split(array, GATES[cell], -1))

    def run(weights):
        options = tying(cell, rates)
        ys, pull = jax.vjp(
            lambda w: getattr(jr, cell)(w, carry, xs, noise, **options)[1], weights
        )
        return ys, *pull(ys)

    names = ("input", "recurrent", "bias")
    ys, gradients = run(weights)
    for chosen in (("recurrent",), names):
        apart = {name: by_gate(getattr(weights, name)) for name in chosen}
        found, found_gradients = run(weights._replace(**apart))
        np.testing.assert_array_equal(found, ys)
        for name in names:
            gradient, value = getattr(found_gradients, name), getattr(gradients, name)
            assert isinstance(gradient, tuple) is (name in chosen)
            whole = np.concatenate(gradient, -1) if name in chosen else gradient
            np.testing.assert_array_equal(whole, value)


def timed(rates):
    every = set(jr.Noise._fields) - {"weight"}
    return every if rates.get("per_step") else {"zoneout_hidden", "zoneout_cell"}


def test_a_step_without_a_batch_and_of_sizes_that_python_has_no_constants_for():
    """Ints above 256 are equal without being one object, as those of shapes are."""
    size = 300
    weights = jr.Weights(normal(1, size, size), normal(2, size, size), normal(3, size))
    weights = jax.tree.map(lambda w: w / np.float32(np.sqrt(size)), weights)
    h, x = normal(4, size), normal(5, size)
    new_h, y = jr.simple_step(weights, h, x)
    expected = np.tanh(x @ weights.input + h @ weights.recurrent + weights.bias)
    close((new_h, y), (expected, expected), 1e-5)


@pytest.mark.parametrize(
    ("form", "case"),
    [
        (_together.FOR_GPU, "simple, all once"),
        (_together.FOR_TPU, "gru, all once"),
        pytest.param(_together.FOR_GPU, "lstm, all once", marks=beyond),
        pytest.param(_together.FOR_GPU, "gru, all per step", marks=beyond),
        pytest.param(_together.FOR_TPU, "lstm, all per step", marks=beyond),
    ],
)
def test_gates_together_are_gates_apart(form, case, monkeypatch):
    """What GPUs and TPUs run gives what the CPU runs: outputs and all gradients."""
    ((cell, rates),) = (chosen.values for chosen in ALL if chosen.id == case)
    with jax.enable_x64(True):
        args = (*problem(cell, np.float64), masks(cell, rates, np.float64))
        lengths, weigh = jnp.array([[0, 1, 6], [3, 5, 2]]), weighing(cell, np.float64)
        tied = tying(cell, rates)
        expected = gradients(cell, args, lengths, weigh, forward_mode=False, **tied)
        forms = []

        def together(function, *args):
            forms.append(function.__name__)
            return function(form, *args)

        monkeypatch.setattr(_scan, "_where_it_runs", together)
        monkeypatch.setattr(_scan, "_run", _scan._run.__wrapped__)

        @jax.jit
        def run(args):
            return gradients.__wrapped__(
                cell, args, lengths, weigh, forward_mode=False, **tied
            )

        close(run(args), expected, 1e-12)
    assert forms == ["_forward_of", "_backward_of"]


@pytest.mark.parametrize(("cell", "matmuls"), [("lstm", 6), ("gru", 7), ("simple", 6)])
def test_on_a_gpu_the_matmuls_of_the_gates_are_one(cell, matmuls):
    """In a step one forward and one backward, where one for each gate is more launches.

    The others: of all inputs, and the gradients of inputs, kernels and kernels of h. A
    GRU has cotangents of its own for the last gate of h.
    """
    weights, carry, xs = problem(cell)
    noise = masks(cell, COMMON)

    def loss(weights, xs):
        return (getattr(jr, cell)(weights, carry, xs, noise)[1] ** 2).sum()

    traced = jax.jit(jax.grad(loss, (0, 1))).trace(weights, xs)
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert text.count("stablehlo.dot_general") == matmuls


def test_zeros_behind_the_units_change_nothing():
    """With these, XLA for GPU need not put them in at each step."""
    h, kernels, dy = normal(1, 2, 130), normal(2, 130, 3, 130), normal(3, 3, 2, 130)
    gpu = _together.FOR_GPU
    given = _together.Kernels((), (), kernels, None)
    forward = gpu.forward_kernels(given, None).recurrent
    assert forward.shape == (136, 3, 130)
    backward = gpu.backward_kernels(kernels, None, h)
    assert backward.shape == (130, 3, 144)
    found = _matmul.project_stacked(h, None, forward)
    close(found, np.einsum("bk,kgh->bgh", h, kernels), 1e-6)
    dh, _ = gpu.unproject_state(tuple(dy), h, None, backward)
    close(dh, np.einsum("gbh,kgh->bk", dy, kernels), 1e-6)


@pytest.mark.parametrize("batch", [(), (2, 3)])
@pytest.mark.parametrize("time_major", [True, False])
@pytest.mark.parametrize("features", [(), (4,), (4, 5)])
def test_reversed_sequences_of_any_rank(batch, time_major, features):
    """Each within its length, and what pads it behind its end, as in flax."""
    back = np.arange(STEPS)[::-1]
    lengths = np.resize([4, 0, 1, 6, 5, 3], batch).astype(np.int32)
    xs = normal(1, STEPS, *batch, *features)
    turned = np.empty_like(xs)
    for row in np.ndindex(*batch):
        order = np.roll(back, lengths[row])
        turned[:, *row] = xs[order][:, *row]
    axis = 0 if time_major else len(batch)
    for keep_order in (False, True):
        seen, ys = _time_layout.over_time(
            lambda xs, lengths: (xs, xs),
            np.moveaxis(xs, 0, axis),
            feature_dims=len(features),
            seq_lengths=lengths,
            time_major=time_major,
            reverse=True,
            keep_order=keep_order,
        )
        np.testing.assert_array_equal(seen, turned)
        expected = xs if keep_order else turned
        np.testing.assert_array_equal(ys, np.moveaxis(expected, 0, axis))
