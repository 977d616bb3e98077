"""Dropped and noisy weights of a dense layer, as functions and as layers."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import errors, nnx
from over_keys import BIAS, KERNEL, X, assert_moments, key

import jaxnoise as jn
import jaxnoise.linen as jnn
import jaxnoise.nnx as jnx
from jaxnoise import weights
from jaxnoise.testing._statistics import DETECTED, Z

BIAS_64 = np.arange(1.0, 5.0)


# --- the functions


def test_dropconnect_drops_the_kernel_as_dropout_does():
    y = weights.dropconnect_dense(key(), jnp.eye(3), KERNEL, 0.4)
    np.testing.assert_array_equal(y, jn.dropout(key(), KERNEL, 0.4))
    whole = weights.dropconnect_dense(key(), X, KERNEL, 0, bias=BIAS)
    np.testing.assert_array_equal(whole, X @ KERNEL + BIAS[None])


def test_dropconnect_has_its_mean_and_variance():
    def noise(key):
        return weights.dropconnect_dense(key, X, KERNEL, 0.3, bias=BIAS)

    variance = X**2 @ KERNEL**2 * 0.3 / 0.7
    assert_moments(noise, X @ KERNEL + BIAS[None], variance)


def test_dropconnect_selects():
    bad = KERNEL.at[0, 0].set(jnp.nan)

    def total(kernel, rate):
        return weights.dropconnect_dense(key(), X, kernel, rate, bias=BIAS).sum()

    gradient = jax.jit(jax.grad(total))
    assert total(bad, 1) == 5 * BIAS.sum()
    assert not gradient(bad, 1.0).any()
    np.testing.assert_allclose(
        gradient(KERNEL, 0.0), jnp.tile(X.sum(0)[:, None], (1, 4)), rtol=1e-5
    )
    assert jax.jit(total)(KERNEL, 1.5) == 5 * BIAS.sum()


def test_noisy_dense_is_that_of_the_paper():
    sigma, shift = jnp.abs(KERNEL) + 0.1, BIAS / 10
    y = weights.noisy_dense(
        key(), X, KERNEL, sigma, bias=BIAS, bias_sigma=jnp.broadcast_to(shift, (4,))
    )
    a, b = jax.random.split(key())
    e, d = (
        np.sign(n) * np.sqrt(np.abs(n))
        for n in (
            np.asarray(jax.random.normal(k, (m,)), np.float64)
            for k, m in ((a, 3), (b, 4))
        )
    )
    close = {"rtol": 2e-5, "atol": 1e-5}
    noisy = np.asarray(KERNEL) + np.asarray(sigma) * np.outer(e, d)
    np.testing.assert_allclose(
        y, np.asarray(X) @ noisy + BIAS_64 + np.asarray(shift) * d, **close
    )


def test_noisy_dense_draws_inputs_plus_outputs_and_not_every_weight():
    """On CPU XLA would fuse the draws into the kernel, and repeat them for a weight."""
    program = jax.jit(lambda k, x, w: weights.noisy_dense(k, x, w, 0.5))
    compiled = program.lower(key(), jnp.ones((2, 64)), jnp.ones((64, 32))).compile()
    # what XLA computes element by element in one go is one paragraph of its text
    fused = (compiled.as_text() or "").split("\n\n")
    rounds = [part for part in fused if " xor(" in part]
    assert rounds and not [part for part in rounds if "[64,32]" in part]


def test_noisy_dense_has_its_mean_and_variance():
    sigma, shift = jnp.abs(KERNEL) + 0.1, BIAS / 10

    def noise(key):
        return weights.noisy_dense(key, X, KERNEL, sigma, bias=BIAS, bias_sigma=shift)

    variance = X**2 @ sigma**2 * 2 / np.pi + shift[None] ** 2 * np.sqrt(2 / np.pi)
    assert_moments(noise, X @ KERNEL + BIAS[None], variance)


def test_noisy_gradients_are_those_of_the_formula():
    sigma = jnp.full(KERNEL.shape, 0.5)

    def total(kernel, sigma, x):
        y = weights.noisy_dense(key(), x, kernel, sigma)
        return (y**2).sum()

    gradient = jax.jit(jax.grad(total, (0, 1, 2)))
    found = gradient(KERNEL, sigma, X)
    noise = weights.noisy_dense(key(), jnp.eye(3), 0 * KERNEL, jnp.ones((3, 4)))

    def plain(kernel, sigma, x):
        return ((x @ (kernel + sigma * noise)) ** 2).sum()

    expected = jax.jit(jax.grad(plain, (0, 1, 2)))(KERNEL, sigma, X)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-4),
        found,
        expected,
    )
    at_zero = gradient(0 * KERNEL, 0 * sigma, 0 * X)
    assert all(bool(jnp.isfinite(g).all()) for g in at_zero)


@pytest.mark.parametrize("name", ["dropconnect", "noisy"])
def test_backward_keeps_the_kernel_and_at_most_a_mask(name):
    calls = {
        "dropconnect": lambda w: weights.dropconnect_dense(key(), X, w, 0.5),
        "noisy": lambda w: weights.noisy_dense(key(), X, w, jnp.ones((3, 4))),
    }
    _, backward = jax.vjp(calls[name], KERNEL)
    for leaf in jax.tree.leaves(backward):
        if getattr(leaf, "shape", None) == (3, 4) and leaf.dtype != bool:
            assert any(bool((leaf == known).all()) for known in (KERNEL, 1.0))


def test_functions_refuse():
    drop, noisy = weights.dropconnect_dense, weights.noisy_dense
    with pytest.raises(ValueError, match=r"dropconnect_dense: rate must be in .*2.0"):
        drop(key(), X, KERNEL, 2.0)
    with pytest.raises(
        ValueError, match=r"dropconnect_dense: x must be.*got.*\(5, 4\)"
    ):
        drop(key(), jnp.ones((5, 4)), KERNEL, 0.5)
    with pytest.raises(
        ValueError, match=r"dropconnect_dense: kernel must be \(in, out"
    ):
        drop(key(), X, jnp.ones(3), 0.5)
    with pytest.raises(ValueError, match=r"bias must broadcast to shape \(4,\)"):
        drop(key(), X, KERNEL, 0.5, bias=jnp.ones(3))
    with pytest.raises(TypeError, match="noisy_dense: kernel_sigma must have a float"):
        noisy(key(), X, KERNEL, 1)
    with pytest.raises(TypeError, match="noisy_dense: x must have a floating dtype"):
        noisy(key(), jnp.ones((2, 3), int), KERNEL, KERNEL)
    with pytest.raises(TypeError, match="noisy_dense: key must be a PRNG key, got 0"):
        noisy(0, X, KERNEL, KERNEL)


# --- the layers


@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
@pytest.mark.parametrize("use_bias", [True, False])
def test_dropconnect_loads_and_equals_dense(dtype, use_bias):
    options = {"dtype": dtype, "use_bias": use_bias}
    dense, layer = nn.Dense(4, **options), jnn.DropConnectDense(4, 0.5, **options)
    variables = dense.init(key(), X)
    mine = layer.init(key(), X, deterministic=True)
    jax.tree.map(np.testing.assert_array_equal, variables, mine)
    y = layer.apply(variables, X, deterministic=True)
    np.testing.assert_array_equal(y, dense.apply(variables, X))
    assert y.dtype == dense.apply(variables, X).dtype

    linear = nnx.Linear(3, 4, **options, rngs=nnx.Rngs(7))
    layer = jnx.DropConnectDense(3, 4, 0.5, **options, rngs=nnx.Rngs(0))
    nnx.update(layer, nnx.state(linear, nnx.Param))
    layer.eval()
    np.testing.assert_array_equal(layer(X), linear(X))
    same = jnx.DropConnectDense(3, 4, 0.5, **options, rngs=nnx.Rngs(7))
    np.testing.assert_array_equal(same(X, deterministic=True), linear(X))


def test_layers_are_their_functions():
    layer = jnn.DropConnectDense(4, 0.5, deterministic=False)
    variables = layer.init({"params": key(), "dropout": key(1)}, X)
    kernel, bias = variables["params"]["kernel"], variables["params"]["bias"]
    y = layer.apply(variables, X, rng=key(2))
    expected = weights.dropconnect_dense(key(2), X, kernel, 0.5, bias=bias)
    np.testing.assert_array_equal(y, expected)
    twin = jnx.DropConnectDense(3, 4, 0.5, rngs=nnx.Rngs(0))
    twin.kernel[...], twin.bias[...] = kernel, bias
    np.testing.assert_array_equal(twin(X, rngs=key(2)), expected)

    layer = jnn.NoisyDense(4, 0.3)
    params = layer.init(key(), X, deterministic=True)["params"]
    sigmas = params["kernel_sigma"], params["bias_sigma"]
    assert all(np.allclose(s, 0.3 / math.sqrt(3)) for s in sigmas)
    y = layer.apply({"params": params}, X, deterministic=False, rng=key(2))
    expected = weights.noisy_dense(
        key(2),
        X,
        params["kernel"],
        sigmas[0],
        bias=params["bias"],
        bias_sigma=sigmas[1],
    )
    np.testing.assert_array_equal(y, expected)
    twin = jnx.NoisyDense(3, 4, 0.3, rngs=nnx.Rngs(0))
    for name, value in params.items():
        assert getattr(twin, name)[...].shape == value.shape
        getattr(twin, name)[...] = value
    np.testing.assert_array_equal(twin(X, rngs=key(2)), expected)
    dense = {"params": {name: params[name] for name in ("kernel", "bias")}}
    still = nn.Dense(4).apply(dense, X)
    np.testing.assert_array_equal(twin(X, deterministic=True), still)


def test_noisy_means_start_as_in_the_paper():
    params = jax.jit(lambda k, x: jnn.NoisyDense(500).init(k, x, True))(
        key(), jnp.ones(400)
    )
    kernel, bias = params["params"]["kernel"], params["params"]["bias"]
    bound = 1 / math.sqrt(400)
    assert abs(kernel).max() <= bound and abs(bias).max() <= bound
    # 200 000 of them: detects 0.5 % of the bound in a mean
    n = kernel.size
    assert abs(float(kernel.mean())) <= Z * bound / math.sqrt(3 * n)
    relative = float(kernel.var()) / (bound**2 / 3) - 1
    assert abs(relative) <= Z * math.sqrt(0.8 / n)
    assert DETECTED / math.sqrt(3 * n) < 0.013
    layer = jnx.NoisyDense(3, 4, use_bias=False, rngs=nnx.Rngs(0))
    assert abs(layer.kernel[...]).max() <= 1 / math.sqrt(3)
    assert layer.bias_sigma is None and layer(X).shape == (5, 4)


@pytest.mark.parametrize("name", ["DropConnectDense", "NoisyDense"])
def test_streams_and_views(name):
    amounts = (0.5,)
    layer = getattr(jnx, name)(3, 4, *amounts, rngs=nnx.Rngs(0, dropout=1))
    assert not (layer(X) == layer(X)).all()
    still = nnx.view(layer, deterministic=True)
    np.testing.assert_array_equal(still(X), still(X))
    merged = nnx.merge(*nnx.split(nnx.clone(layer)))
    np.testing.assert_array_equal(layer(X), merged(X))
    compiled = nnx.jit(lambda layer, x: layer(x))
    assert not (compiled(layer, X) == compiled(layer, X)).all()
    without = getattr(jnx, name)(3, 4, *amounts, rngs=nnx.Rngs(params=0))
    with pytest.raises(ValueError, match=f"{name}: .* no `rngs` argument"):
        without(X)

    model = getattr(jnn, name)(4, *amounts)
    params = model.init(key(), X, deterministic=True)
    y, z = (
        model.apply(params, X, deterministic=False, rngs={"dropout": key(k)})
        for k in (1, 2)
    )
    assert not (y == z).all()
    with pytest.raises(errors.InvalidRngError):
        model.apply(params, X, deterministic=False)


def test_rate_zero_needs_no_key():
    layer = jnn.DropConnectDense(4, 0.0)
    params = layer.init(key(), X, deterministic=False)
    y = layer.apply(params, X, deterministic=False)
    np.testing.assert_array_equal(y, nn.Dense(4).apply(params, X))
    assert jnx.DropConnectDense(3, 4, 0.0, rngs=nnx.Rngs(params=0))(X).shape == (5, 4)


def test_layers_refuse():
    for module in (jnn, jnx):
        more = {"rngs": nnx.Rngs(0)} if module is jnx else {}
        widths, name = ((3, 4), "out_") if module is jnx else ((4,), "")
        none = (*widths[:-1], 0)
        with pytest.raises(ValueError, match=r"DropConnectDense: rate must be.*got -1"):
            module.DropConnectDense(*widths, -1, **more)
        with pytest.raises(ValueError, match=f"NoisyDense: {name}features must.*got 0"):
            module.NoisyDense(*none, **more)
        with pytest.raises(ValueError, match=r"NoisyDense: sigma0 must be.*got -1"):
            module.NoisyDense(*widths, -1.0, **more)
    with pytest.raises(ValueError, match=r"DropConnectDense: deterministic is missing"):
        jnn.DropConnectDense(4, 0.5).init(key(), X)
    with pytest.raises(TypeError, match=r"NoisyDense: rngs must be nnx.Rngs.*got 0"):
        jnx.NoisyDense(3, 4, rngs=0)  # pyright: ignore[reportArgumentType]
