"""Learned noise: its law, its gradient, and what it costs, against known answers."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
from data import normal
from over_keys import BIAS, DRAWS, KERNEL, X, assert_moments, key
from scipy import integrate, stats

import jaxnoise.linen as jnn
from jaxnoise import learned
from jaxnoise.testing._statistics import Z


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
    inputs = normal(1, 200, 12)
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
