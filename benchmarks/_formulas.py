"""Noise as one writes it with `jax.random`: the same law, no care for cost.

The formula of a noise of one amount on each element is in its row of
`jaxnoise.testing.CASES`; here are the others.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

RATE = 0.1
STDDEV = 0.5
BLOCK = 7  # the block size of the DropBlock paper
PHOTON = 1 / 32  # the intensity of one photon, for images in [0, 1]
SLOPES = (1 / 8, 1 / 3)
ALPHA = 5.0  # of NEFTune
MASK_ID = 3
LOGIT, TEMPERATURE = -2.0, 0.1
LOG_VARIANCE = -2.0  # of weights that are about 1


def _masked(key, x, shape):
    mask = jax.random.bernoulli(key, 1 - RATE, shape)
    return jnp.where(mask, x / (1 - RATE), 0)


def dropout(key, x):
    return _masked(key, x, x.shape)


def tied_dropout(key, x):
    """The steps of (batch, time, features) share one mask."""
    return _masked(key, x, (x.shape[0], 1, x.shape[2]))


def spatial_dropout(key, x):
    return _masked(key, x, (x.shape[0], 1, 1, x.shape[3]))


def drop_path(key, x):
    return _masked(key, x, (x.shape[0], 1, 1, 1))


def embedding_dropout(key, x):
    return _masked(key, x, (x.shape[0], 1))


def drop_block(key, x):
    batch, height, width, channels = x.shape
    grid = (batch, height - BLOCK + 1, width - BLOCK + 1, channels)
    gamma = RATE / BLOCK**2 * height * width / (grid[1] * grid[2])
    seeds = ~jax.random.bernoulli(key, 1 - gamma, grid)
    window, padding = (1, BLOCK, BLOCK, 1), (BLOCK - 1, BLOCK - 1)
    pads = ((0, 0), padding, padding, (0, 0))
    ones = (1, 1, 1, 1)
    keep = ~lax.reduce_window(seeds, False, lax.bitwise_or, window, ones, pads)
    kept = keep.mean((1, 2, 3), keepdims=True, dtype=x.dtype)
    return jnp.where(keep, x / kept, 0)


def _alpha(key, x, shape):
    floor = -1.7580993408473766
    slope = ((1 - RATE) * (1 + RATE * floor**2)) ** -0.5
    mask = jax.random.bernoulli(key, 1 - RATE, shape)
    return slope * jnp.where(mask, x, floor) - slope * RATE * floor


def alpha_dropout(key, x):
    return _alpha(key, x, x.shape)


def feature_alpha_dropout(key, x):
    return _alpha(key, x, (x.shape[0], 1, 1, x.shape[3]))


def real_gaussian_dropout(key, x):
    key_mask, key_noise = jax.random.split(key)
    untouched = jax.random.bernoulli(key_mask, 1 - RATE, x.shape)
    noise = STDDEV * jax.random.normal(key_noise, x.shape, x.dtype)
    return jnp.where(untouched, x, x + noise)


def salt_and_pepper(key, x):
    u = jax.random.uniform(key, x.shape)
    return jnp.where(u < 1 - RATE, x, jnp.where(u < 1 - RATE / 2, 0.0, 1.0))


def poisson_noise(key, x):
    return PHOTON * jax.random.poisson(key, x / PHOTON).astype(x.dtype)


def rrelu(key, x):
    slope = jax.random.uniform(key, x.shape, x.dtype, *SLOPES)
    return jnp.where(x < 0, slope * x, x)


def neftune_noise(key, x):
    time, width = x.shape[-2:]
    noise = jax.random.uniform(key, x.shape, x.dtype, -1, 1)
    return x + ALPHA / math.sqrt(time * width) * noise


def token_dropout(key, ids):
    return jnp.where(jax.random.bernoulli(key, 1 - RATE, ids.shape), ids, MASK_ID)


def concrete_dropout(key, x):
    logit_u = jax.random.logistic(key, x.shape, x.dtype)
    dropped = jax.nn.sigmoid((LOGIT + logit_u) / TEMPERATURE)
    return x * (1 - dropped) / (1 - jax.nn.sigmoid(LOGIT))


def for_leaves(noise):
    """The noise on a pytree, a key for each leaf."""

    def noisy(key, params):
        leaves, structure = jax.tree.flatten(params)
        keys = jax.random.split(key, len(leaves))
        drawn = [noise(k, leaf) for k, leaf in zip(keys, leaves, strict=True)]
        return structure.unflatten(drawn)

    return noisy


def dropconnect_dense(key, kernel, x):
    return x @ _masked(key, kernel, kernel.shape)


def noisy_dense(key, kernel, x):
    key_in, key_out = jax.random.split(key)
    e = jax.random.normal(key_in, (kernel.shape[0], 1), x.dtype)
    d = jax.random.normal(key_out, (1, kernel.shape[1]), x.dtype)
    f_e, f_d = (jnp.sign(n) * jnp.sqrt(jnp.abs(n)) for n in (e, d))
    return x @ (kernel + STDDEV * f_e * f_d)


def variational_dense(key, kernel, x):
    return _around(key, x @ kernel, x**2 @ (STDDEV**2 * kernel**2))


def sparse_variational_dense(key, kernel, x):
    return _around(key, x @ kernel, x**2 @ jnp.exp(LOG_VARIANCE + kernel))


def _around(key, mean, variance):
    n = jax.random.normal(key, mean.shape, mean.dtype)
    return mean + jnp.sqrt(variance) * n


def flipout_dense(key, kernel, x):
    key_weights, key_in, key_out = jax.random.split(key, 3)
    n = jax.random.normal(key_weights, kernel.shape, kernel.dtype)
    s = jax.random.rademacher(key_in, x.shape, x.dtype)
    y = x @ kernel
    t = jax.random.rademacher(key_out, y.shape, y.dtype)
    return y + t * ((s * x) @ (STDDEV * n))
