"""Recurrent noise under the transformations of JAX: jit, vmap, x64 and derivatives."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sequences import BATCH, EVERY, FEATURES, STEPS, problem, run, sample

import jaxnoise.recurrent as jr

pytestmark = pytest.mark.recurrent


def test_masks_are_the_same_compiled_vmapped_and_under_x64():
    key = jax.random.key(2)
    eager = sample(jax.random.clone(key), **EVERY)
    keys = jax.random.split(jax.random.key(9), 3)
    draw = functools.partial(sample, **EVERY)
    compiled = jax.jit(draw)(jax.random.clone(key))
    batched = jax.vmap(draw)(jax.random.clone(keys))
    with jax.enable_x64(True):
        wide = draw(jax.random.clone(key))
    for name in jr.Noise._fields:
        mask = getattr(eager, name)
        np.testing.assert_array_equal(mask, getattr(compiled, name))
        np.testing.assert_array_equal(mask, getattr(wide, name))
        assert getattr(wide, name).dtype == np.float32
        for row in range(3):
            alone = getattr(draw(jax.random.clone(keys)[row]), name)
            np.testing.assert_array_equal(getattr(batched, name)[row], alone)


def test_vmap_over_noise_is_a_loop_over_keys():
    weights, carry, xs = problem()
    keys = jax.random.split(jax.random.key(1), 3)
    noise = jax.vmap(functools.partial(sample, **EVERY))(keys)
    gradient = jax.jit(jax.grad(lambda w, noise: run(w, carry, xs, noise)[1].sum()))
    batched = jax.jit(jax.vmap(gradient, (None, 0)))(weights, noise)
    for row in range(3):
        alone = gradient(weights, jax.tree.map(lambda m, row=row: m[row], noise))
        for a, b in zip(batched[:3], alone[:3], strict=True):
            np.testing.assert_allclose(a[row], b, rtol=1e-5, atol=1e-6)


def test_traced_rates_compile_once_and_are_those_of_numbers():
    weights, carry, xs = problem()
    traces = []

    @jax.jit
    def loss(rate, key):
        traces.append(rate)
        noise = sample(key, **{name: rate for name in EVERY})
        return sum(part.sum() for part in run(weights, carry, xs, noise))

    for rate in (0.0, 0.5, 0.25, 1.0):
        known = sample(7, **{name: rate for name in EVERY})
        expected = sum(part.sum() for part in run(weights, carry, xs, known))
        actual = loss(rate, jax.random.key(7))
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)
    assert len(traces) == 1


def test_rate_one_gives_zeros_and_finite_gradients():
    weights, carry, xs = problem()
    key = jax.random.key(3)
    for name, mask in sample(**dict.fromkeys(EVERY, 1.0))._asdict().items():
        assert (mask == 0).all(), name

    @jax.jit
    def both(rates):
        noise = sample(jax.random.clone(key), **rates)

        def loss(weights, xs):
            h, ys = run(weights, carry, xs, noise)
            return (h**2).sum() + (ys**2).sum(), ys

        return jax.grad(loss, argnums=(0, 1), has_aux=True)(weights, xs)

    zeros = dict.fromkeys(EVERY, 0.0)
    for name in EVERY:
        gradient, ys = both({**zeros, name: 1.0})
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient)), name
        if name == "output_rate":
            assert (ys == 0).all()
        if name == "input_rate":
            assert (gradient[1] == 0).all()
        if name in ("recurrent_rate", "weight_rate"):
            assert (gradient[0].recurrent == 0).all()
        if name == "zoneout_hidden":
            np.testing.assert_array_equal(ys, jnp.broadcast_to(carry[1], ys.shape))
    gradient, _ = both(dict.fromkeys(EVERY, 1.0))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_what_a_mask_drops_is_zero_nan_included():
    weights, carry, xs = problem()
    noise = sample(**EVERY)
    dropped = jnp.broadcast_to(noise.input == 0, xs.shape)
    bad = jnp.where(dropped, jnp.nan, xs)

    def loss(xs, weights):
        return run(weights, carry, xs, noise)[1].sum()

    np.testing.assert_array_equal(loss(bad, weights), loss(xs, weights))
    for gradient in (jax.grad(loss), jax.grad(loss, argnums=1)):
        a, b = gradient(bad, weights), gradient(xs, weights)
        jax.tree.map(np.testing.assert_array_equal, a, b)
    assert (jax.grad(loss)(xs, weights)[dropped] == 0).all()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_low_precision_weights_keep_a_float32_state(dtype):
    weights, carry, xs = problem()
    noise = sample(**EVERY)
    small = jax.tree.map(lambda w: w.astype(dtype), weights)

    def loss(weights, carry, xs):
        (c, h), ys = jr.lstm(weights, carry, xs, noise)
        return ys.sum() + h.sum(), (c, h, ys)

    with jax.numpy_dtype_promotion("strict"):
        gradient, outputs = jax.grad(loss, argnums=(0, 1, 2), has_aux=True)(
            small, carry, xs
        )
    assert {str(leaf.dtype) for leaf in outputs} == {"float32"}
    assert gradient[0].recurrent.dtype == dtype
    assert gradient[2].dtype == np.float32
    exact, (_, _, ys) = jax.grad(loss, has_aux=True)(weights, carry, xs)
    np.testing.assert_allclose(outputs[2], ys, atol=0.06)
    np.testing.assert_allclose(gradient[0].bias, exact.bias, atol=0.4, rtol=0.1)


def scans(jaxpr):
    """The bodies of all scans in a jaxpr, however deep."""
    for equation in jaxpr.eqns:
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple) else (value,):
                closed = getattr(inner, "jaxpr", inner)
                if hasattr(closed, "eqns"):
                    if equation.primitive.name == "scan":
                        yield closed
                    yield from scans(closed)


def test_the_scan_draws_nothing_and_has_no_matmul_too_many():
    weights, carry, xs = problem()

    def loss(weights, key):
        return run(weights, carry, xs, sample(key, **EVERY))[1].sum()

    jaxpr = jax.make_jaxpr(jax.grad(loss))(weights, jax.random.key(0))
    bodies = list(scans(jaxpr.jaxpr))
    # forward and backward, each for CPU, TPU and GPU: one for all gates, but backward
    # one for each on the CPU
    for body, matmuls in zip(bodies, (1, 1, 1, 4, 1, 1), strict=True):
        text = str(body)
        assert not any(word in text for word in ("random", "threefry", "shift"))
        assert text.count("dot_general[") == matmuls


def test_forward_mode():
    weights, carry, xs = problem()
    noise = sample(**EVERY)
    weigh = jnp.cos(jnp.arange(xs.shape[0] * 6 * FEATURES, dtype=np.float32))
    weigh = weigh.reshape(STEPS, *BATCH, FEATURES)

    def loss(xs, forward_mode):
        ys = run(weights, carry, xs, noise, forward_mode=forward_mode)[1]
        return (ys * weigh).sum()

    direction = jnp.sin(xs * 3)
    gradient = jax.grad(loss)(xs, False)
    _, tangent = jax.jvp(lambda xs: loss(xs, True), (xs,), (direction,))
    np.testing.assert_allclose(tangent, (gradient * direction).sum(), rtol=1e-5)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda xs: loss(xs, False), (xs,), (direction,))


def test_second_derivatives_through_the_backward_pass():
    weights, carry, xs = problem(steps=3)
    noise = sample(steps=3, recurrent_rate=0.3, zoneout_cell=0.2)

    def curvature(forward_mode):
        def loss(h):
            state = (carry[0], h)
            return run(weights, state, xs, noise, forward_mode=forward_mode)[1].sum()

        gradient = jax.grad(loss)
        return jax.jit(jax.grad(lambda h: (gradient(h) ** 2).sum()))(carry[1])

    np.testing.assert_allclose(curvature(False), curvature(True), rtol=1e-4, atol=1e-6)


def growth(keep, steps, forward, **rates):
    """Largest |state| of a cell of 128 units, orthogonal kernels, forget bias 1."""
    features, batch = 128, 32
    gates = 4 if forward is jr.lstm else 3
    rng = np.random.default_rng(0)
    square = rng.normal(size=(gates, features, features))
    orthogonal = np.concatenate([np.linalg.qr(m)[0] for m in square], axis=-1)
    kernel = rng.normal(size=(features, gates * features)) / np.sqrt(features)
    bias = np.zeros(gates * features)
    if gates == 4:
        bias[features : 2 * features] = 1
    weights = jr.Weights(*(jnp.float32(w) for w in (kernel, orthogonal, bias)))
    zeros = jnp.zeros((batch, features))
    xs = jnp.float32(rng.normal(size=(steps, batch, features)))
    rates = {name: 1 - keep for name in rates}
    noise = jr.sample_noise(
        jax.random.key(1), xs.shape[1:], features, gates=gates, num_steps=steps, **rates
    )
    carry, _ = forward(weights, (zeros, zeros) if gates == 4 else zeros, xs, noise)
    return float(max(jnp.abs(leaf).max() for leaf in jax.tree.leaves(carry)))


def test_dropout_of_matmul_inputs_stays_bounded_and_of_the_cell_does_not():
    for keep in (0.9, 0.75, 0.5):
        for steps in (35, 200):
            assert growth(keep, steps, jr.lstm, recurrent_rate=...) < 4
            assert growth(keep, steps, jr.gru, recurrent_rate=...) < 1
    for keep, low, high in ((0.9, 2, 30), (0.75, 20, 1e3), (0.5, 1e7, 1e11)):
        assert low < growth(keep, 35, jr.lstm, cell_rate=...) < high
    assert growth(0.75, 200, jr.lstm, cell_rate=...) > 1e4
    assert not np.isfinite(growth(0.5, 200, jr.lstm, cell_rate=...))


def test_masks_are_drawn_once_for_all_steps_and_both_passes():
    """Drawing is cheap to XLA, which would do it anew for each element under a mask."""
    steps, rows, width = 9, 4, 8
    weights = jr.Weights(*(jnp.ones(shape) for shape in ((8, 32), (8, 32), (32,))))
    start = jnp.zeros((rows, width)), jnp.zeros((rows, width))

    def loss(weights, xs, key):
        rates = {"input_rate": 0.5, "recurrent_rate": 0.3, "output_rate": 0.2}
        noise = jr.sample_noise(key, (rows, width), width, gates=4, **rates)
        return (jr.lstm(weights, start, xs, noise)[1] ** 2).sum()

    args = weights, jnp.ones((steps, rows, width)), jax.random.key(0)
    text = jax.jit(jax.grad(loss, (0, 1))).lower(*args).compile().as_text()
    drawing = [part for part in text.split("\n\n") if part.count(" xor(") > 4]
    assert drawing  # the rounds of threefry are somewhere
    for computation in drawing:
        shapes = re.findall(r"= [a-z]+\d*\[([\d,]+)\]", computation)
        sizes = [np.prod([int(dim) for dim in shape.split(",")]) for shape in shapes]
        assert max(sizes) <= rows * width, computation
