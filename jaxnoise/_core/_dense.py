"""Parts of dense layers with noise: checks, the product, initial means.

Noise on a kernel is drawn and added in the precision of the kernel's noise (float32,
float64 for a float64 kernel), rounded once to the dtype of x, and multiplied in it.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jaxnoise._core import _check, _random, _sharding


def operands(
    function: str, x: ArrayLike, kernel: ArrayLike, bias: ArrayLike | None
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Checked x (*batch, in), kernel (in, out) and bias (out,)."""
    x = _check.floating(function, x, allow_complex=False)
    kernel = _check.floating(function, kernel, allow_complex=False, name="kernel")
    if kernel.ndim != 2:
        raise ValueError(
            f"{function}: kernel must be (in, out), got shape {kernel.shape}."
        )
    if x.ndim == 0 or x.shape[-1] != kernel.shape[0]:
        raise ValueError(
            f"{function}: x must be (*batch, {kernel.shape[0]}) for a kernel of shape "
            f"{kernel.shape}, got shape {x.shape}."
        )
    if bias is not None:
        bias = of_shape(function, "bias", bias, kernel.shape[1:])
    return x, kernel, bias


def of_kernel(function: str, name: str, value: Any, kernel: jax.Array) -> jax.Array:
    """A floating array that is broadcast to the shape of a kernel, where that is."""
    sharding = _sharding.like(kernel, kernel.shape)
    return of_shape(function, name, value, kernel.shape, sharding)


def of_shape(
    function: str,
    name: str,
    value: Any,
    shape: _random.Shape,
    sharding: _sharding.Sharding = None,
) -> jax.Array:
    """A floating array that is broadcast to `shape`."""
    array = _check.floating(function, value, allow_complex=False, name=name)
    if array.shape == shape:
        return array
    try:
        return jnp.broadcast_to(array, shape, out_sharding=sharding)
    except ValueError as error:
        raise ValueError(
            f"{function}: {name} must broadcast to shape {shape}, got shape "
            f"{array.shape}."
        ) from error


def dense(
    x: jax.Array, kernel: jax.Array, bias: jax.Array | None, precision: Any
) -> jax.Array:
    """x kernel + bias in the dtype of x, to the bit as in `flax.linen.Dense`."""
    over_inputs = (((x.ndim - 1,), (0,)), ((), ()))
    y = lax.dot_general(x, kernel.astype(x.dtype), over_inputs, precision=precision)
    if bias is None:
        return y
    return y + jnp.reshape(bias.astype(x.dtype), (1,) * (y.ndim - 1) + (-1,))


def normal_around(
    key: jax.Array, mean: jax.Array, variance: jax.Array, dtype: Any
) -> jax.Array:
    """mean + sqrt(variance) n, drawn for each element of `mean`.

    Where the variance is 0 there is no noise, and no gradient to the variance: that of
    the root would be infinite.
    """
    wide = variance.dtype
    n = _random.normal(key, mean.shape, wide, _sharding.like(mean, mean.shape))
    noisy = variance > jnp.finfo(wide).tiny
    stddev = jnp.where(noisy, jnp.sqrt(jnp.where(noisy, variance, 1)), 0)
    return (mean.astype(wide) + stddev * n).astype(dtype)


def symmetric_uniform(bound: float) -> jax.nn.initializers.Initializer:
    """The initial means of NoisyNet: uniform on [-bound, bound)."""

    def init(
        key: jax.Array, shape: Any, dtype: Any = None, out_sharding: Any = None
    ) -> jax.Array:
        drawn = _random.uniform(key, shape, np.dtype(np.float32), -1, out_sharding)
        return (np.float32(bound) * drawn).astype(dtype or np.float32)

    return init
