"""The pure recurrent functions against NumPy in float64 and against autodiff."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnoise.recurrent as jr
from jaxnoise.recurrent import _masks, _scan, _sequence, _together

pytestmark = pytest.mark.usefixtures("quick_compiler")

GATES = {"lstm": 4, "gru": 3, "simple": 1}
STEPS, BATCH, WIDTH, FEATURES = 6, (2, 3), 4, 5
COMMON = {"input_rate": 0.5, "recurrent_rate": 0.3}
METHODS = {
    "none": {},
    "gal tied": COMMON,
    "gal untied": {**COMMON, "tied": False},
    "gal per step": {**COMMON, "per_step": True},
    "semeniuta": {"candidate_rate": 0.4},
    "semeniuta per step": {"candidate_rate": 0.4, "per_step": True},
    "moon": {"cell_rate": 0.2},
    "zoneout": {"zoneout_hidden": 0.3, "zoneout_cell": 0.4},
    "weight drop": {"weight_rate": 0.5},
    "output": {"output_rate": 0.4},
    "batch shared": {**COMMON, "candidate_rate": 0.4, "batch_shared": True},
    "all once": {
        **COMMON,
        "candidate_rate": 0.2,
        "cell_rate": 0.1,
        "zoneout_hidden": 0.3,
        "weight_rate": 0.3,
        "output_rate": 0.4,
    },
    "all per step": {
        **COMMON,
        "candidate_rate": 0.2,
        "cell_rate": 0.1,
        "zoneout_hidden": 0.3,
        "zoneout_cell": 0.2,
        "weight_rate": 0.3,
        "output_rate": 0.4,
        "tied": False,
        "per_step": True,
    },
}
PLACES = {
    "lstm": set(jr.Noise._fields),
    "gru": set(jr.Noise._fields) - {"cell", "zoneout_cell"},
    "simple": set(jr.Noise._fields) - {"cell", "zoneout_cell", "candidate"},
}


def methods(cell):
    """The methods that a cell has, without the places that it lacks."""
    seen = []
    for name, rates in METHODS.items():
        lacking = {f"{place}_rate" for place in set(jr.Noise._fields) - PLACES[cell]}
        lacking |= {"zoneout_cell"} - PLACES[cell]
        lacking |= {"tied"} if cell == "simple" else set()
        kept = {k: v for k, v in rates.items() if k not in lacking}
        if (set(kept) - {"per_step"} or name == "none") and kept not in seen:
            seen.append(kept)
            yield pytest.param(cell, kept, id=f"{cell}, {name}")


def few(case):
    return case.id.split(", ")[1] in ("none", "all once", "all per step")


ALL = [case for cell in GATES for case in methods(cell)]


def normal(number, *shape, dtype=np.float32):
    rng = np.random.default_rng(number)
    return (rng.normal(size=shape) * 0.6).astype(dtype)


def problem(cell, dtype=np.float32):
    wide = GATES[cell] * FEATURES
    weights = jr.Weights(
        normal(1, WIDTH, wide, dtype=dtype),
        normal(2, FEATURES, wide, dtype=dtype),
        normal(3, wide, dtype=dtype),
        normal(4, FEATURES, dtype=dtype) if cell == "gru" else None,
    )
    carry = normal(5, *BATCH, FEATURES, dtype=dtype)
    if cell == "lstm":
        carry = (carry, normal(6, *BATCH, FEATURES, dtype=dtype))
    return weights, carry, normal(7, STEPS, *BATCH, WIDTH, dtype=dtype)


def sample(cell, rates, seed=0, steps=STEPS, dtype=np.float32, batch=BATCH):
    return jr.sample_noise(
        jax.random.key(seed),
        (*batch, WIDTH),
        FEATURES,
        gates=GATES[cell],
        num_steps=steps,
        dtype=dtype,
        **rates,
    )


def tying(cell, rates):
    return {} if cell == "simple" else {"tied": rates.get("tied", True)}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def reference(cell, weights, carry, xs, noise, rates, lengths=None):
    """The equations of the papers, gate by gate and step by step, in float64."""
    weights, carry, xs, noise = jax.tree.map(
        functools.partial(np.asarray, dtype=np.float64), (weights, carry, xs, noise)
    )
    tied, count, rank = rates.get("tied", True), GATES[cell], len(BATCH) + 1

    def masked(value, place, t, gate=None):
        mask = getattr(noise, place)
        if mask is None:
            return value
        dims = rank + (gate is not None and not tied)
        if mask.ndim > dims:
            mask = mask[t]
        return value * (mask if gate is None or tied else mask[gate])

    kernels = np.split(weights.recurrent, count, -1)
    if noise.weight is not None:
        kernels = [k * m for k, m in zip(kernels, noise.weight, strict=True)]
    inputs, biases = np.split(weights.input, count, -1), np.split(weights.bias, count)
    c, h = carry if cell == "lstm" else (None, carry)
    last, ys = (c, h), []
    for t, x in enumerate(xs):
        ax = [masked(x, "input", t, k) @ inputs[k] + biases[k] for k in range(count)]
        ah = [masked(h, "recurrent", t, k) @ kernels[k] for k in range(count)]
        new_c = None
        if cell == "lstm":
            i, f, o = (sigmoid(ax[k] + ah[k]) for k in (0, 1, 3))
            g = masked(np.tanh(ax[2] + ah[2]), "candidate", t)
            new_c = masked(f * c + i * g, "cell", t)
            new_h = o * np.tanh(new_c)
        elif cell == "gru":
            r, z = sigmoid(ax[0] + ah[0]), sigmoid(ax[1] + ah[1])
            n = np.tanh(ax[2] + r * (ah[2] + weights.recurrent_bias))
            new_h = (1 - z) * masked(n, "candidate", t) + z * h
        else:
            new_h = np.tanh(ax[0] + ah[0])
        if noise.zoneout_cell is not None:
            u = masked(1.0, "zoneout_cell", t)
            new_c = u * new_c + (1 - u) * c
        if noise.zoneout_hidden is not None:
            u = masked(1.0, "zoneout_hidden", t)
            new_h = u * new_h + (1 - u) * h
        c, h = new_c, new_h
        ys.append(masked(h, "output", t))
        if lengths is not None:
            valid = (t < lengths)[..., None]
            last = tuple(
                None if new is None else np.where(valid, new, old)
                for new, old in zip((c, h), last, strict=True)
            )
    c, h = (c, h) if lengths is None else last
    return (c, h) if cell == "lstm" else h, np.stack(ys)


def close(actual, expected, tolerance):
    """Relative to the largest value of each array."""
    flat = zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True)
    for number, (a, b) in enumerate(flat):
        error, size = np.abs(np.asarray(a) - np.asarray(b)).max(), np.abs(b).max()
        assert error <= tolerance * size, (number, error / size)


@pytest.mark.parametrize(("cell", "rates"), ALL)
def test_sequence_is_the_equations_of_the_papers(cell, rates):
    weights, carry, xs = problem(cell)
    noise = sample(cell, rates)
    lengths = np.array([[0, 1, 6], [3, 5, 2]])
    expected = reference(cell, weights, carry, xs, noise, rates, lengths)
    with jax.numpy_dtype_promotion("strict"):
        actual = getattr(jr, cell)(
            weights, carry, xs, noise, seq_lengths=lengths, **tying(cell, rates)
        )
    close(actual, expected, 1e-6)


def test_a_sequence_of_float64_is_of_float64_throughout():
    (rates,) = (case.values[1] for case in ALL if case.id == "lstm, all per step")
    with jax.enable_x64(True):
        weights, carry, xs = problem("lstm", np.float64)
        noise = sample("lstm", rates, dtype=np.float64)
        expected = reference("lstm", weights, carry, xs, noise, rates)
        actual = jr.lstm(weights, carry, xs, noise, tied=False)
        close(actual, expected, 1e-14)


@pytest.mark.parametrize(("cell", "rates"), [case for case in ALL if few(case)])
def test_steps_make_the_sequence(cell, rates):
    weights, carry, xs = problem(cell)
    noise = sample(cell, rates)
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


@functools.partial(jax.jit, static_argnames=("cell", "forward_mode", "tied"))
def gradients(cell, args, lengths, weigh, *, forward_mode, **tied):
    def loss(args):
        carry, ys = getattr(jr, cell)(
            *args, seq_lengths=lengths, forward_mode=forward_mode, **tied
        )
        parts = zip(jax.tree.leaves((carry, ys)), weigh, strict=True)
        return sum((part * weight).sum() for part, weight in parts)

    return jax.grad(loss)(args)


def weighing(cell, dtype):
    carries = [
        normal(8 + n, *BATCH, FEATURES, dtype=dtype)
        for n in range(1 + (cell == "lstm"))
    ]
    return [*carries, normal(10, STEPS, *BATCH, FEATURES, dtype=dtype)]


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
    jax.tree.map(np.testing.assert_array_equal, wide[0], narrow[0])
    close(wide[1:], narrow[1:], 1e-6)


@pytest.mark.parametrize(
    ("form", "case"),
    [
        (_together.FOR_GPU, "lstm, all once"),
        (_together.FOR_GPU, "gru, all per step"),
        (_together.FOR_GPU, "simple, all once"),
        (_together.FOR_TPU, "lstm, all per step"),
        (_together.FOR_TPU, "gru, all once"),
    ],
)
def test_gates_together_are_gates_apart(form, case, monkeypatch):
    """What GPUs and TPUs run gives what the CPU runs: outputs and all gradients."""
    ((cell, rates),) = (chosen.values for chosen in ALL if chosen.id == case)
    with jax.enable_x64(True):
        args = (*problem(cell, np.float64), sample(cell, rates, dtype=np.float64))
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
    noise = sample(cell, COMMON)

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
    found = _masks.project_stacked(h, None, forward)
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
        seen, ys = _sequence.over_time(
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
