"""The precision of noise: float32, or float64 where the data are, rounded once."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnoise._core import _check


def wide_dtype(*arrays: Any) -> np.dtype:
    """The real dtype in which noise for arrays, or dtypes, is drawn and scaled."""
    # a scalar type such as np.float32 has a `dtype` that is none
    dtypes = (a if isinstance(a, type | np.dtype) else a.dtype for a in arrays)
    wide = any(jnp.finfo(dtype).bits == 64 for dtype in dtypes)
    return np.dtype(np.float64 if wide else np.float32)


def in_wide(function: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """A real function of `x` in the precision of its noise, rounded once.

    A complex `x` meets the same noise in its real and its imaginary part.
    """
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        return lax.complex(function(x.real), function(x.imag))
    return function(x.astype(wide_dtype(x))).astype(x.dtype)


def wide_amount(amount: _check.Amount, x: jax.Array) -> Any:
    """An amount as a number of the dtype in which noise for `x` is drawn."""
    wide = wide_dtype(x)
    if isinstance(amount, jax.Array):
        return jnp.asarray(amount, wide)
    return wide.type(amount)
