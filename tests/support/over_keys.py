"""Mean and variance of a dense layer over keys, and the arrays that it takes."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from data import normal

from jaxnoise.testing._statistics import DETECTED, Z

DRAWS = 2**15
X = normal(10, 5, 3)
KERNEL = normal(11, 3, 4)
BIAS = jnp.arange(1.0, 5.0)


def key(number=0):
    return jax.random.key(number)


def assert_moments(function, mean, variance, seed=0):
    """Mean and variance over keys at a false-alarm rate of 1e-6 for each test.

    What is detected: 0.054 standard deviations in a mean, DETECTED sqrt((k - 1) / n)
    of a variance with k the kurtosis: 7.5 % for the normal law.
    """
    assert DETECTED / math.sqrt(DRAWS) < 0.054
    keys = jax.random.split(key(seed), DRAWS)
    y = np.asarray(jax.jit(jax.vmap(function))(keys), np.float64)
    size = math.prod(y.shape[1:])
    z = Z + math.log10(size)  # many elements, one false-alarm rate
    mean, variance = (np.broadcast_to(m, y.shape[1:]) for m in (mean, variance))
    error = z * np.sqrt(variance / DRAWS) + 1e-6
    assert (np.abs(y.mean(0) - mean) <= error).all()
    kurtosis = ((y - y.mean(0)) ** 4).mean(0) / y.var(0) ** 2
    relative = z * np.sqrt((kurtosis - 1) / DRAWS) + 1e-5
    assert (np.abs(y.var(0) / variance - 1) <= relative).all()
    return y
