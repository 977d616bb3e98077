"""Numbers to try noise on."""

import math

import jax
import jax.numpy as jnp
import numpy as np


def normal(seed: int, *shape: int, dtype=jnp.float32) -> jax.Array:
    """Standard normal numbers, by NumPy: JAX would compile a draw for each shape."""
    numbers = np.random.default_rng(seed).standard_normal(shape)
    return jnp.asarray(numbers.astype(dtype))


def some_kernel(key, shape, *dtype):
    """An initializer of kernels of the usual size, for the same reason not drawn."""
    size = int(np.prod(shape))
    return jnp.asarray(0.4 * np.sin(np.arange(size, dtype=np.float32)).reshape(shape))


def bernoulli(key: jax.Array, keep: float, shape: tuple[int, ...]) -> np.ndarray:
    """`jax.random.bernoulli`, as one program for all shapes of up to 1024 elements.

    JAX draws an element from its place in the flat array, whatever the shape. The key
    stays good for another draw.
    """
    size = math.prod(shape)
    assert size <= 1024
    numbers = np.asarray(jax.random.uniform(jax.random.clone(key), (1024,)))
    return (numbers < np.float32(keep))[:size].reshape(shape)
