"""Every variant as one writes it with `jax.random`: the same law, no care for cost."""

import jax
import jax.numpy as jnp
from jax import lax

RATE = 0.1
STDDEV = 0.5
BLOCK = 7  # the block size of the DropBlock paper


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


def gaussian_noise(key, x):
    return x + STDDEV * jax.random.normal(key, x.shape, x.dtype)


def gaussian_dropout(key, x):
    n = jax.random.normal(key, x.shape, x.dtype)
    return x * (1 + (RATE / (1 - RATE)) ** 0.5 * n)


def real_gaussian_dropout(key, x):
    key_mask, key_noise = jax.random.split(key)
    untouched = jax.random.bernoulli(key_mask, 1 - RATE, x.shape)
    noise = STDDEV * jax.random.normal(key_noise, x.shape, x.dtype)
    return jnp.where(untouched, x, x + noise)


def uniform_noise(key, x):
    return x + jax.random.uniform(key, x.shape, x.dtype, -STDDEV, STDDEV)


def laplace_noise(key, x):
    return x + STDDEV * jax.random.laplace(key, x.shape, x.dtype)
