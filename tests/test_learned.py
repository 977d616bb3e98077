"""Learned noise: its law, its gradient, and what it costs, against known answers."""

import itertools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from over_keys import BIAS, DRAWS, KERNEL, X, assert_moments, key
from scipy import integrate, stats

import jaxnoise.linen as jnn
import jaxnoise.nnx as jnx
from jaxnoise import learned
from jaxnoise.testing._statistics import DETECTED, Z

LAYERS = ["VariationalDense", "SparseVariationalDense", "FlipoutDense"]


def sigmoid(a):
    return 1 / (1 + math.exp(-a))


def expected(function):
    """The mean of function(u) over u ~ U(0, 1), in float64."""
    ends = [(0, 0.5), (0.5, 1)]
    return sum(integrate.quad(function, *end, limit=400)[0] for end in ends)


# --- concrete dropout


def concrete(u, logit_rate, temperature):
    z = sigmoid((logit_rate + math.log(u / (1 - u))) / temperature)
    return (1 - z) / (1 - sigmoid(logit_rate))


@pytest.mark.parametrize("rate, temperature", [(0.1, 0.1), (0.6, 0.5)])
def test_concrete_law(rate, temperature):
    """Detects 0.003 in the rate, 0.5 % and 1.5 % of a standard deviation in means."""
    n, logit = 2**21, math.log(rate / (1 - rate))
    draw = jax.jit(learned.concrete_dropout)
    y = np.asarray(draw(key(), jnp.ones(n), logit, temperature), np.float64)
    assert DETECTED * math.sqrt(rate * (1 - rate) / n) < 0.0034
    dropped = int((y * (1 - rate) < 0.5).sum())
    assert stats.binomtest(dropped, n, rate).pvalue > 1e-6

    mean, square = (
        expected(lambda u, p=p: concrete(u, logit, temperature) ** p) for p in (1, 2)
    )
    sd = math.sqrt(square - mean**2)
    assert abs(y.mean() - mean) <= Z * sd / math.sqrt(n)
    centred = (y - y.mean()) ** 2
    relative = Z * (centred**2).mean() ** 0.5 / centred.mean() / math.sqrt(n)
    assert abs(y.var() / sd**2 - 1) <= relative


@pytest.mark.parametrize("rate, mean", [(0.1, 0.9987), (0.5, 1.0), (0.8, 1.0078)])
def test_concrete_mean_is_what_the_docstring_says(rate, mean):
    logit = math.log(rate / (1 - rate))
    assert expected(lambda u: concrete(u, logit, 0.1)) == pytest.approx(mean, abs=5e-5)
    assert f"{mean:g} for" in (learned.concrete_dropout.__doc__ or "")


def test_gradient_of_the_rate_is_that_of_the_expected_loss():
    """E[(y - c)^2] for x = 1.5, differentiated by finite differences of integrals."""
    x, c, logit, t, n, step = 1.5, 0.4, -1.0, 0.3, 2**20, 1e-4

    def loss(logit):
        return expected(lambda u: (x * concrete(u, logit, t) - c) ** 2)

    true = (loss(logit + step) - loss(logit - step)) / (2 * step)

    def sample(logit, key):
        y = learned.concrete_dropout(key, jnp.full(n, x), logit, t)
        return (y - c) ** 2

    _, each = jax.jit(lambda k: jax.jvp(lambda a: sample(a, k), (logit,), (1.0,)))(
        key()
    )
    each = np.asarray(each, np.float64)
    error = each.std() / math.sqrt(n)
    assert abs(each.mean() - true) <= Z * error
    assert DETECTED * error < 0.05 * abs(true)  # what it detects
    mean = jax.jit(jax.grad(lambda a, k: sample(a, k).mean()))(logit, key(0))
    np.testing.assert_allclose(mean, each.mean(), rtol=1e-4)


def test_concrete_is_finite_at_the_ends():
    def total(logit, temperature):
        return learned.concrete_dropout(key(), jnp.ones(999), logit, temperature).sum()

    def price(logit, length_scale):
        return learned.concrete_dropout_regularizer(logit, KERNEL, length_scale)

    for function in (total, price):
        both = jax.jit(jax.value_and_grad(function, (0, 1)))
        for logit in (-80.0, -17.0, 0.0, 17.0, 80.0):
            for leaf in jax.tree.leaves(both(logit, 0.1) + both(logit, 1.0)):
                assert np.isfinite(leaf)
    ones = learned.concrete_dropout(key(), jnp.ones(999), -80.0, 0.1)
    np.testing.assert_array_equal(ones, 1)
    assert not learned.concrete_dropout(key(), jnp.ones(999), 80.0, 0.1).any()


def test_concrete_shares_draws():
    x = jnp.ones((4, 3, 2), jnp.bfloat16)
    y = learned.concrete_dropout(key(), x, 0.0, 0.1, broadcast_dims=(1,))
    assert y.dtype == x.dtype and bool((y == y[:, :1]).all())


def test_concrete_regularizer_is_that_of_the_paper():
    kernel = np.asarray(KERNEL, np.float64)
    for rate in (0.01, 0.3, 0.9):
        entropy = -rate * math.log(rate) - (1 - rate) * math.log(1 - rate)
        true = 0.5**2 * (kernel**2).sum() / (2 * (1 - rate)) - 3 * entropy
        logit = math.log(rate / (1 - rate))
        found = learned.concrete_dropout_regularizer(logit, KERNEL, 0.5)
        assert float(found) == pytest.approx(true, rel=1e-5)


def test_rate_falls_where_units_matter_and_rises_where_they_do_not():
    """A linear fit with Gaussian noise: its inputs are all of the signal, or none."""
    inputs = jax.random.normal(key(5), (256, 4))

    @jax.jit
    def fitted(strength, key):
        targets = strength * inputs.sum(1)

        def loss(params, key):
            kernel, logit = params
            units = learned.concrete_dropout(key, inputs, logit, 0.1)
            error = ((units @ kernel)[:, 0] - targets) ** 2 / (2 * 0.1)
            price = learned.concrete_dropout_regularizer(logit, kernel, 1.0)
            return error.mean() + price / len(inputs)

        optimiser = optax.adam(0.05)
        start = (jnp.full((4, 1), 0.1), jnp.asarray(-2.0))

        def step(state, key):
            params, moments = state
            updates, moments = optimiser.update(jax.grad(loss)(params, key), moments)
            return (optax.apply_updates(params, updates), moments), None

        keys = jax.random.split(key, 300)
        (params, _), _ = jax.lax.scan(step, (start, optimiser.init(start)), keys)
        return jax.nn.sigmoid(params[1])

    needed, useless = (fitted(s, key(6)) for s in (1.0, 0.0))
    assert needed < 0.03 and 0.3 < useless < 0.6


# --- variational dropout


def test_kl_is_the_integral():
    """-KL = log(alpha) / 2 - E log|e| + C, e ~ N(1, alpha), to the 0.01 of the fit."""
    at_infinity = -(np.euler_gamma + math.log(2)) / 2  # E log|n|, n ~ N(0, 1)
    alphas = np.array([1e-3, 0.03, 0.25, 1.0, 4.0, 50.0, 3000.0])

    def integral(alpha):
        sd = math.sqrt(alpha)

        def density(n):
            return math.exp(-n * n / 2) / math.sqrt(2 * math.pi)

        pole = -1 / sd
        points = sorted({-9.0, *((pole,) if pole > -9 else ()), 9.0})
        mean = sum(
            integrate.quad(
                lambda n: math.log(abs(1 + sd * n) + 1e-300) * density(n), *ends
            )[0]
            for ends in itertools.pairwise(points)
        )
        return mean - math.log(alpha) / 2 - at_infinity

    true = np.array([integral(alpha) for alpha in alphas])
    found = learned.variational_kl(jnp.log(alphas.astype(np.float32)))
    np.testing.assert_allclose(found, true, atol=0.01)
    # the polynomial of the first paper, for alpha below 1 and up to a constant
    a = alphas[:4]
    first = -(0.5 * np.log(a) + 1.16145124 * a - 1.50204118 * a**2 + 0.58629921 * a**3)
    difference = np.asarray(found[:4]) - first
    assert np.ptp(difference) < 0.06
    slope = jax.vmap(jax.grad(learned.variational_kl))(jnp.array([-200.0, 0.0, 200.0]))
    assert bool(jnp.isfinite(slope).all()) and slope[0] == -0.5


def test_variational_moments():
    log_alpha = jnp.array([[-2.0], [-1.0], [0.0]])  # one for each input

    def noise(key, log_alpha=log_alpha):
        return learned.variational_dense(key, X, KERNEL, log_alpha, bias=BIAS)

    variance = X**2 @ (jnp.broadcast_to(jnp.exp(log_alpha), (3, 4)) * KERNEL**2)
    y = assert_moments(noise, X @ KERNEL + BIAS[None], variance)
    uncorrelated(y[:, 0, 0], y[:, 1, 0])  # examples
    uncorrelated(y[:, 0, 0], y[:, 0, 1])  # outputs
    one_for_all = noise(key(1), jnp.zeros(()))
    np.testing.assert_array_equal(one_for_all, noise(key(1), jnp.zeros((3, 4))))


def uncorrelated(a, b):
    """At a false-alarm rate of 1e-6; detects r = 0.054."""
    assert abs(np.corrcoef(a, b)[0, 1]) <= Z / math.sqrt(DRAWS)


def test_sparse_moments():
    log_variance = jnp.linspace(-4, 0, 12).reshape(3, 4)

    def noise(key):
        return learned.sparse_variational_dense(key, X, KERNEL, log_variance, bias=BIAS)

    variance = X**2 @ jnp.exp(log_variance)
    y = assert_moments(noise, X @ KERNEL + BIAS[None], variance)
    uncorrelated(y[:, 0, 0], y[:, 1, 0])


def test_log_alpha_prune_and_sparsity():
    kernel = jnp.array([[0.0, 1e-3, -0.1, 1.0, -5e4]])
    log_variance = jnp.full((1, 5), -5.0)
    ratio = learned.sparse_log_alpha(kernel, log_variance)
    exact = -5 - 2 * np.log(np.array([0.1, 1.0]))
    np.testing.assert_allclose(ratio[0, 2:4], exact, rtol=1e-5)
    assert (ratio[0, 0], ratio[0, 4]) == (20, -20)
    pruned = learned.prune(kernel, log_variance)
    np.testing.assert_array_equal(pruned, kernel.at[0, :2].set(0))
    assert learned.sparsity(kernel, log_variance) == np.float32(0.4)
    strict = learned.sparsity(kernel, log_variance, threshold=-6)
    assert strict == np.float32(0.8)


def test_gradients_are_finite_everywhere():
    kernel = KERNEL.at[0].set(0).at[1, 0].set(1e-30)
    x = X.at[0].set(0).at[1].set(jnp.array([1.0, 0.0, 0.0]))

    def variational(x, kernel, a):
        y = learned.variational_dense(key(), x, kernel, a)
        return (y**2).sum() + learned.variational_kl(a).sum()

    def sparse(x, kernel, a):
        y = learned.sparse_variational_dense(key(), x, kernel, a)
        price = learned.variational_kl(learned.sparse_log_alpha(kernel, a))
        return (y**2).sum() + price.sum()

    for function in (variational, sparse):
        both = jax.jit(jax.value_and_grad(function, (0, 1, 2)))
        for a in (-60.0, -10.0, 0.0, 20.0):
            found = both(x, kernel, jnp.full((3, 4), a))
            assert all(np.isfinite(g).all() for g in jax.tree.leaves(found))
    # where there is no variance there is no noise either
    y = learned.variational_dense(key(), 0 * X, KERNEL, jnp.zeros(()))
    assert not y.any()


def test_sparsity_grows_on_inputs_that_do_not_matter():
    """A linear model of 2 inputs is fitted to 12; the other 10 are to be pruned."""
    inputs = jax.random.normal(key(1), (200, 12))
    weights = jnp.zeros((12, 1)).at[:2, 0].set(jnp.array([1.0, -2.0]))
    targets = inputs @ weights
    layer = jnn.SparseVariationalDense(1, use_bias=False, deterministic=False)
    params = {
        "kernel": jnp.full((12, 1), 0.5),
        "log_variance": jnp.full((12, 1), -10.0),
    }
    optimiser = optax.adam(optax.cosine_decay_schedule(0.03, 500))

    def loss(params, key):
        y, state = layer.apply({"params": params}, inputs, rng=key, mutable=["losses"])
        error = ((y - targets) ** 2).sum() / (2 * 0.1**2)
        return (error + state["losses"]["kl"]) / len(inputs)

    @jax.jit
    def train(params, key):
        def step(state, key):
            params, moments = state
            updates, moments = optimiser.update(jax.grad(loss)(params, key), moments)
            return (optax.apply_updates(params, updates), moments), None

        state = params, optimiser.init(params)
        return jax.lax.scan(step, state, jax.random.split(key, 500))[0][0]

    before = learned.sparsity(params["kernel"], params["log_variance"])
    trained = train(params, key(5))
    kernel = learned.prune(trained["kernel"], trained["log_variance"])
    assert before == 0 and int((kernel[2:] == 0).sum()) >= 9
    np.testing.assert_allclose(kernel[:2], weights[:2], atol=0.01)
    # and the others have the variance of the posterior, 0.1^2 / 200
    posterior = math.log(0.1**2 / 200)
    np.testing.assert_allclose(trained["log_variance"][:2], posterior, atol=0.3)
    y = layer.clone(deterministic=True).apply({"params": trained}, inputs)
    np.testing.assert_allclose(y, inputs @ kernel, atol=1e-5)


# --- flipout


def test_flipout_moments_and_decorrelation():
    stddev = jnp.linspace(0.1, 1, 12).reshape(3, 4)
    x = jnp.broadcast_to(X[:1], X.shape)  # where a shared noise would be the same

    def noise(key):
        return learned.flipout_dense(key, x, KERNEL, stddev, bias=BIAS)

    y = assert_moments(noise, x @ KERNEL + BIAS[None], x**2 @ stddev**2)
    uncorrelated(y[:, 0, 0], y[:, 1, 0])
    uncorrelated(y[:, 0, 0], y[:, 0, 1])


def test_flipout_is_one_draw_with_signs_of_inputs_and_outputs():
    x, zero = jnp.ones((64, 2)), jnp.zeros((2, 4))
    noise = np.asarray(learned.flipout_dense(key(), x, zero, 1.0))
    sizes, group = np.unique(np.abs(noise), axis=0, return_inverse=True)
    assert len(sizes) == 2  # |a + b| or |a - b|, for all outputs together
    signs = np.unique(np.sign(noise[group.ravel() == 0]), axis=0)
    assert len(signs) > 8  # of 16, where one sign for a whole row would make 2


def test_flipout_of_nothing_is_dense():
    y = learned.flipout_dense(key(), X, KERNEL, 0.0, bias=BIAS)
    np.testing.assert_array_equal(y, X @ KERNEL + BIAS[None])


def test_gaussian_kl_is_the_integral():
    w, v, s = 0.7, 0.3, 1.5

    def integrand(a):
        log_q, log_p = stats.norm.logpdf(a, w, math.sqrt(v)), stats.norm.logpdf(a, 0, s)
        return math.exp(log_q) * (log_q - log_p)

    true, _ = integrate.quad(integrand, -8, 8)
    found = learned.gaussian_kl(jnp.array([w]), jnp.log(jnp.array([v])), s)
    np.testing.assert_allclose(found, [true], rtol=1e-5)
    slope = jax.vmap(jax.grad(lambda a: learned.gaussian_kl(jnp.float32(0), a, s)))
    assert bool(jnp.isfinite(slope(jnp.array([-200.0, -60.0, 0.0, 20.0]))).all())


# --- what all of them have in common

CALLS = {
    "variational_dense": jnp.zeros(()),
    "sparse_variational_dense": jnp.full((3, 4), -2.0),
    "flipout_dense": jnp.full((3, 4), 0.3),
}


@pytest.mark.parametrize("name", CALLS)
def test_backward_keeps_what_it_was_given(name):
    """The laws of `jaxnoise.testing` have one input; here a kernel of several."""
    function, amount = getattr(learned, name), CALLS[name]
    _, backward = jax.vjp(lambda w, a: function(key(3), X, w, a), KERNEL, amount)
    for leaf in jax.tree.leaves(backward):
        if getattr(leaf, "shape", ()) in ((3, 4), (5, 4)):
            known = (KERNEL, jnp.broadcast_to(amount, (3, 4)))
            assert any(bool((leaf == array).all()) for array in known)


def price(name, params):
    kernel = params["kernel"]
    if name == "VariationalDense":
        shared = jnp.broadcast_to(params["log_alpha"], kernel.shape)
        return learned.variational_kl(shared).sum()
    if name == "SparseVariationalDense":
        ratio = learned.sparse_log_alpha(kernel, params["log_variance"])
        return learned.variational_kl(ratio).sum()
    return learned.gaussian_kl(kernel, params["log_variance"], 1.0).sum()


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name):
    layer = getattr(jnn, name)(4)
    variables = layer.init(key(), X, deterministic=True)
    assert set(variables) == {"params"}  # nothing sown that could be added again
    params = variables["params"]
    dense = {"params": {key: params[key] for key in ("kernel", "bias")}}
    still = layer.apply(variables, X, deterministic=True)
    np.testing.assert_array_equal(still, nn.Dense(4).apply(dense, X))
    y, state = layer.apply(
        variables, X, deterministic=False, rng=key(1), mutable=["losses"]
    )
    np.testing.assert_allclose(state["losses"]["kl"], price(name, params), rtol=1e-5)

    twin = getattr(jnx, name)(3, 4, rngs=nnx.Rngs(0, dropout=1))
    for parameter, value in params.items():
        start = getattr(twin, parameter)[...]
        assert start.shape == value.shape
        if parameter != "kernel":
            np.testing.assert_allclose(start, value, rtol=1e-6)
        getattr(twin, parameter)[...] = value
    np.testing.assert_array_equal(twin(X, rngs=key(1)), y)
    np.testing.assert_array_equal(twin(X, deterministic=True), still)
    np.testing.assert_allclose(twin.kl(), state["losses"]["kl"], rtol=1e-6)
    assert not (twin(X) == twin(X)).any()
    if name == "VariationalDense":  # the way of the gradient is the same for all

        def loss(layer):
            return (layer(X, rngs=key(3)) ** 2).sum() + layer.kl()

        slopes = jax.tree.leaves(nnx.to_pure_dict(nnx.grad(loss)(twin)))
        assert len(slopes) == 3 and all(bool(slope.any()) for slope in slopes)


def test_layers_start_where_they_say():
    def start(layer, name):
        params = layer.init(key(), X, deterministic=True)["params"]
        return float(params[name].ravel()[0])

    log_alpha = start(jnn.VariationalDense(4, 0.2, alpha_per="weight"), "log_alpha")
    assert math.exp(log_alpha) == pytest.approx(0.25)
    stddev = start(jnn.FlipoutDense(4, 0.3), "log_variance") / 2
    assert math.exp(stddev) == pytest.approx(0.3)
    assert start(jnn.SparseVariationalDense(4), "log_variance") == pytest.approx(
        -10, abs=0.02
    )
    rate = start(jnn.ConcreteDropout(0.3), "logit_rate")
    assert sigmoid(rate) == pytest.approx(0.3)
    twins = (
        (jnx.FlipoutDense(3, 4, 0.3, rngs=nnx.Rngs(0)).log_variance, 2 * stddev),
        (jnx.VariationalDense(3, 4, 0.2, rngs=nnx.Rngs(0)).log_alpha, log_alpha),
        (jnx.ConcreteDropout(0.3).logit_rate, rate),
    )
    for parameter, value in twins:
        np.testing.assert_allclose(parameter[...], value, rtol=1e-6)
    sparse = jnx.SparseVariationalDense(3, 4, 5.0, rngs=nnx.Rngs(0))
    assert 0 < sparse.sparsity() <= 1
    pruned = learned.prune(sparse.kernel[...], sparse.log_variance[...])
    np.testing.assert_array_equal(sparse(X, deterministic=True), X @ pruned)


class Twice(nn.Module):
    """One layer that is called twice, and concrete dropout in front of another."""

    @nn.compact
    def __call__(self, x, train):
        layer = jnn.VariationalDense(3, deterministic=not train)
        x = layer(layer(x))
        return jnn.ConcreteDropout(deterministic=not train)(x, followed_by=nn.Dense(4))


def test_costs_are_sown_once_for_a_layer():
    params = Twice().init(key(), X, train=False)
    assert set(params["params"]) == {
        "VariationalDense_0",
        "ConcreteDropout_0",
        "Dense_0",
    }

    @jax.jit
    def apply(params, key):
        rngs = {"dropout": key}
        return Twice().apply(params, X, True, rngs=rngs, mutable=["losses"])

    y, state = apply(params, key(1))
    assert y.shape == (5, 4)
    variational = params["params"]["VariationalDense_0"]
    concrete = learned.concrete_dropout_regularizer(
        params["params"]["ConcreteDropout_0"]["logit_rate"],
        params["params"]["Dense_0"]["kernel"],
        1.0,
    )
    true = price("VariationalDense", variational) + concrete
    np.testing.assert_allclose(sum(jax.tree.leaves(state["losses"])), true, rtol=1e-5)


def test_concrete_layers_are_their_function():
    layer = jnn.ConcreteDropout(0.3, 0.2, deterministic=False)
    logit = jnp.asarray(math.log(0.3 / 0.7), jnp.float32)
    y = layer.apply({"params": {"logit_rate": logit}}, X, rng=key())
    expected = learned.concrete_dropout(key(), X, logit, 0.2)
    np.testing.assert_array_equal(y, expected)
    twin = jnx.ConcreteDropout(0.3, 0.2, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(twin(X, rngs=key()), expected)
    assert twin(X, deterministic=True) is X
    assert not (twin(X) == twin(X)).all()
    linear = nnx.Linear(3, 4, rngs=nnx.Rngs(0))
    for kernel in (linear.kernel, linear.kernel[...]):
        found = twin.kl(kernel)
        true = learned.concrete_dropout_regularizer(logit, linear.kernel[...], 1.0)
        np.testing.assert_allclose(found, true, rtol=1e-6)


def test_errors():
    drop, x = learned.concrete_dropout, jnp.ones(3)
    with pytest.raises(ValueError, match=r"temperature must be .*above 0, got 0"):
        drop(key(), x, 0.0, 0)
    with pytest.raises(ValueError, match=r"concrete_dropout: logit_rate must be fin"):
        drop(key(), x, math.nan, 0.1)
    with pytest.raises(TypeError, match=r"concrete_dropout: x must have a floating"):
        drop(key(), jnp.arange(3), 0.0, 0.1)
    with pytest.raises(ValueError, match=r"regularizer: kernel must be \(..., in, out"):
        learned.concrete_dropout_regularizer(0.0, x, 1.0)
    with pytest.raises(
        ValueError, match=r"variational_dense: log_alpha must broadcast"
    ):
        learned.variational_dense(key(), X, KERNEL, jnp.ones((2, 4)))
    with pytest.raises(ValueError, match=r"flipout_dense: stddev must be.*got -1"):
        learned.flipout_dense(key(), X, KERNEL, -1.0)
    with pytest.raises(ValueError, match=r"gaussian_kl: prior_stddev must be.*got 0"):
        learned.gaussian_kl(KERNEL, 0.0, 0)
    with pytest.raises(ValueError, match=r"prune: threshold must be finite, got nan"):
        learned.prune(KERNEL, KERNEL, threshold=math.nan)
    for module in (jnn, jnx):
        more = {"rngs": nnx.Rngs(0)} if module is jnx else {}
        widths = (3, 4) if module is jnx else (4,)
        for bad in (0.0, 1.0):
            with pytest.raises(ValueError, match=rf"ConcreteDropout: rate.*got {bad}"):
                module.ConcreteDropout(bad)
        with pytest.raises(ValueError, match=r"ConcreteDropout: temperature.*got -1"):
            module.ConcreteDropout(0.1, -1)
        with pytest.raises(ValueError, match=r"alpha_per must be 'layer'.*got 'unit'"):
            module.VariationalDense(*widths, alpha_per="unit", **more)
        for name in ("SparseVariationalDense", "FlipoutDense"):
            with pytest.raises(ValueError, match=f"{name}: stddev must be .*got 0"):
                getattr(module, name)(*widths, 0.0, **more)
        with pytest.raises(ValueError, match="features must be at least 1, got 0"):
            module.FlipoutDense(*widths[:-1], 0, **more)
    with pytest.raises(
        TypeError, match=r"FlipoutDense: stddev is where learning starts"
    ):
        jax.jit(lambda stddev: jnn.FlipoutDense(4, stddev))(0.1)


class Followed(nn.Module):
    follower: nn.Module

    @nn.compact
    def __call__(self, x):
        drop = jnn.ConcreteDropout(deterministic=True)
        return drop(x, followed_by=self.follower)


@pytest.mark.parametrize(
    "follower, got",
    [
        (nn.LayerNorm(), "none"),
        # with K = 2, which are not the 4 units that are dropped
        (nn.Conv(4, (3,), feature_group_count=2), r"one of shape \(3, 2, 4\)"),
        (nn.DenseGeneral((2, 3)), r"one of shape \(4, 2, 3\)"),
    ],
)
def test_concrete_wants_the_kernel_of_its_units(follower, got):
    wanted = rf"followed_by must be .* 'kernel' \(\.\.\., 4, out\), got {got}\. Call"
    with pytest.raises(ValueError, match=wanted):
        jax.eval_shape(Followed(follower).init, key(), jnp.ones((5, 7, 4)))


def test_concrete_takes_kernels_in_a_box():
    """Metadata of partitioning, which flax wraps around a parameter."""
    init = nn.with_partitioning(nn.initializers.ones, (None, "model"))
    model = Followed(nn.Dense(2, kernel_init=init))
    variables = model.init(key(), X)
    _, state = model.apply(variables, X, mutable=["losses"])
    (kl,) = jax.tree.leaves(state["losses"])
    ones, logit = jnp.ones((3, 2)), math.log(0.1 / 0.9)
    expected = learned.concrete_dropout_regularizer(logit, ones, 1.0)
    np.testing.assert_allclose(kl, expected, rtol=1e-6)
