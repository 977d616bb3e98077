"""The recurrent cells: their methods of noise, and their equations in NumPy."""

import functools

import jax
import numpy as np
import pytest

import jaxnoise.recurrent as jr

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


def masks(cell, rates, dtype=np.float32):
    """Noise that `sample` could give, drawn by NumPy: there is nothing to compile."""
    shapes = jax.eval_shape(lambda: sample(cell, rates, dtype=dtype))
    rng = np.random.default_rng(0)
    drawn = {}
    for place, mask in shapes._asdict().items():
        if mask is not None:
            zoneout = place.startswith("zoneout")
            rate = rates[place if zoneout else f"{place}_rate"]
            scale = 1.0 if zoneout else 1 / (1 - rate)
            kept = rng.random(mask.shape) >= rate
            drawn[place] = np.where(kept, scale, 0).astype(mask.dtype)
    return shapes._replace(**drawn)


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
