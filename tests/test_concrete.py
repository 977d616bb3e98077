"""Concrete dropout: its law, its gradients and the rate that it learns."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from data import normal
from expected import expected, sigmoid
from over_keys import KERNEL, key
from scipy import stats

from jaxnoise import learned
from jaxnoise.testing._statistics import DETECTED, Z


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
    inputs = normal(5, 256, 4)

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
