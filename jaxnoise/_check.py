"""Argument checks: errors that name the function, the argument, the value and the mend.

Only what is known on the host is checked. A traced amount passes through and meets
formulas that are finite at both ends of its range.
"""

import functools
import inspect
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

Amount = float | jax.Array
"""A checked amount: a Python float where it is known, a traced scalar where not."""


def known(amount: Amount, value: float) -> bool:
    """Whether a checked amount is known, and is `value`."""
    return not isinstance(amount, jax.Array) and amount == value


def key(function: str, value: Any) -> jax.Array:
    """A typed scalar PRNG key from a typed key or from legacy uint32 key data."""
    dtype = getattr(value, "dtype", None)
    if dtype is None or isinstance(value, np.generic):
        mend = (
            f"jax.random.key({value})" if isinstance(value, int) else "jax.random.key"
        )
        raise TypeError(
            f"{function}: key must be a PRNG key, got {value!r} of type "
            f"{type(value).__name__}. Make one with {mend}."
        )
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        typed = value
    elif dtype == np.uint32 and value.ndim > 0:
        try:
            typed = jax.random.wrap_key_data(value)
        except TypeError as error:
            raise ValueError(
                f"{function}: key must be a PRNG key, got a uint32 array of shape "
                f"{value.shape}, which is not the key data of the default PRNG "
                f"implementation. Make keys with jax.random.key."
            ) from error
    else:
        raise TypeError(
            f"{function}: key must be a PRNG key (jax.random.key) or uint32 key data "
            f"(jax.random.PRNGKey), got an array of dtype {dtype} and shape "
            f"{value.shape}."
        )
    if typed.shape != ():
        raise ValueError(
            f"{function}: key must be a single key, got a batch of keys of shape "
            f"{typed.shape}. Use jax.vmap for one draw per key."
        )
    return typed


def floating(
    function: str, value: ArrayLike, *, allow_complex: bool = True, name: str = "x"
) -> jax.Array:
    """`value` as a JAX array of floating (or complex) dtype."""
    array = value if isinstance(value, jax.Array) else jnp.asarray(value)
    wanted = jnp.inexact if allow_complex else jnp.floating
    if not jnp.issubdtype(array.dtype, wanted):
        kinds = "floating or complex" if allow_complex else "floating"
        mend = (
            "Apply it to the real and the imaginary part."
            if jnp.issubdtype(array.dtype, jnp.complexfloating)
            else f"Convert it first, for example with {name}.astype(jnp.float32)."
        )
        raise TypeError(
            f"{function}: {name} must have a {kinds} dtype, got {array.dtype}. {mend}"
        )
    return array


def _scalar(function: str, name: str, value: Any) -> Amount:
    """A Python float where the value is known, else a traced real scalar."""
    if isinstance(value, bool | np.bool_) or not (
        isinstance(value, int | float | np.number | np.ndarray | jax.Array)
    ):
        raise TypeError(
            f"{function}: {name} must be a real number, got {value!r} of type "
            f"{type(value).__name__}."
        )
    if isinstance(value, np.ndarray | jax.Array):
        if value.dtype == np.bool_ or jnp.issubdtype(value.dtype, jnp.complexfloating):
            raise TypeError(
                f"{function}: {name} must be a real number, got an array of dtype "
                f"{value.dtype}."
            )
        if value.shape != ():
            raise ValueError(
                f"{function}: {name} must be a scalar, got an array of shape "
                f"{value.shape}. Use jax.vmap for one {name} per example."
            )
        if isinstance(value, Tracer):
            return value
    elif isinstance(value, np.complexfloating):
        raise TypeError(f"{function}: {name} must be a real number, got {value!r}.")
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def rate(
    function: str, value: Any, *, name: str = "rate", below_one: bool = False
) -> Amount:
    """A probability in [0, 1], or in [0, 1) where the law diverges at 1."""
    number = _scalar(function, name, value)
    if not isinstance(number, jax.Array):
        if not 0.0 <= number <= 1.0:
            raise ValueError(
                f"{function}: {name} must be in [0, 1], got {value}. It is the "
                f"probability of dropping, not of keeping."
            )
        if below_one and number == 1.0:
            raise ValueError(
                f"{function}: {name} must be in [0, 1), got {value}: the noise grows "
                f"without bound as {name} goes to 1."
            )
    return number


def positive(function: str, name: str, value: Any) -> Amount:
    """A finite number above 0: a temperature or a length."""
    number = _scalar(function, name, value)
    if not isinstance(number, jax.Array) and not 0.0 < number < math.inf:
        raise ValueError(f"{function}: {name} must be finite and above 0, got {value}.")
    return number


def bits(function: str, value: Any, rate: Amount) -> int:
    """Bits of a decision, in which a known rate can be said to 5 % and better."""
    number = integer(function, "bits", value)
    if number not in (8, 16, 32):
        raise ValueError(f"{function}: bits must be 8, 16 or 32, got {value}.")
    if number == 32 or isinstance(rate, jax.Array) or rate in (0.0, 1.0):
        return number
    steps = 2**number
    nearest = round(rate * steps) / steps
    if nearest == 1.0 or abs(nearest - rate) > 0.05 * rate:
        raise ValueError(
            f"{function}: rate must be near a multiple of 2^-{number} with "
            f"bits={number}, got {rate}, for which the nearest is {nearest:.6g}. Use "
            f"bits={2 * number}{' or 32' if number == 8 else ''}."
        )
    return number


def magnitude(function: str, name: str, value: Any) -> Amount:
    """A finite number that is not negative: a standard deviation or a scale."""
    number = _scalar(function, name, value)
    if not isinstance(number, jax.Array) and not 0.0 <= number < math.inf:
        raise ValueError(
            f"{function}: {name} must be finite and at least 0, got {value}."
        )
    return number


def finite(function: str, name: str, value: Any) -> Amount:
    """A finite number of either sign."""
    number = _scalar(function, name, value)
    if not isinstance(number, jax.Array) and not math.isfinite(number):
        raise ValueError(f"{function}: {name} must be finite, got {value}.")
    return number


def share(function: str, name: str, value: Any) -> Amount:
    """A fraction in [0, 1]."""
    number = _scalar(function, name, value)
    if not isinstance(number, jax.Array) and not 0.0 <= number <= 1.0:
        raise ValueError(f"{function}: {name} must be in [0, 1], got {value}.")
    return number


def slopes(function: str, lower: Any, upper: Any) -> tuple[Amount, Amount]:
    """The two ends of an interval, in order where both are known."""
    ends = finite(function, "lower", lower), finite(function, "upper", upper)
    if not any(isinstance(end, jax.Array) for end in ends) and ends[0] > ends[1]:
        raise ValueError(
            f"{function}: lower must be at most upper, got {lower} and {upper}. "
            f"Swap them."
        )
    return ends


def amounts(layer: Any) -> dict[str, Amount]:
    """The checked amounts among the attributes of a layer, by name."""
    name = type(layer).__name__
    checked: dict[str, Amount] = {}
    if hasattr(layer, "rate"):
        checked["rate"] = rate(name, layer.rate)
    for attribute in ("stddev", "scale", "alpha"):
        if hasattr(layer, attribute):
            checked[attribute] = magnitude(name, attribute, getattr(layer, attribute))
    return checked


def arguments(layer: Any, function: Callable[..., Any]) -> dict[str, Any]:
    """The attributes of a layer that are parameters of its function, by name."""
    return {name: getattr(layer, name) for name in _after_key_and_x(function)}


@functools.cache
def _after_key_and_x(function):
    return tuple(inspect.signature(function).parameters)[2:]


def dims(function: str, name: str, value: Any, ndim: int) -> tuple[int, ...]:
    """Distinct dims as sorted non-negative ints; negative ones count from the end."""
    items = value if isinstance(value, Sequence) else (value,)
    found = set()
    for item in items:
        dim = integer(function, name, item)
        if not -ndim <= dim < ndim:
            raise ValueError(
                f"{function}: {name} must be in [{-ndim}, {ndim}) for an array of "
                f"{ndim} dims, got {value}."
            )
        found.add(dim % ndim)
    if len(found) < len(items):
        raise ValueError(f"{function}: {name} must not repeat a dim, got {value}.")
    return tuple(sorted(found))


def integer(function: str, name: str, value: Any) -> int:
    """A Python int from anything that is one."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise TypeError(
            f"{function}: {name} must be an integer, got {value!r}."
        ) from None


def count(function: str, name: str, value: Any) -> int:
    """A Python int of at least 1."""
    number = integer(function, name, value)
    if number < 1:
        raise ValueError(f"{function}: {name} must be at least 1, got {value}.")
    return number


def integers(function: str, name: str, value: Any) -> jax.Array:
    """A JAX array of integers."""
    array = value if isinstance(value, jax.Array) else jnp.asarray(value)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(
            f"{function}: {name} must have an integer dtype, got {array.dtype}. "
            f"Convert it first, for example with {name}.astype(jnp.int32)."
        )
    return array


def identifier(function: str, name: str, value: Any, dtype: np.dtype) -> int:
    """A Python int that an integer dtype can hold."""
    number, info = integer(function, name, value), jnp.iinfo(dtype)
    if not info.min <= number <= info.max:
        raise ValueError(
            f"{function}: {name} must be in [{info.min}, {info.max}] for ids of dtype "
            f"{dtype}, got {value}. Convert the ids to a wider dtype."
        )
    return number


def mask(function: str, value: ArrayLike, shape: tuple[int, ...]) -> jax.Array:
    """A bool array that broadcasts to `shape`."""
    array = jnp.asarray(value)
    if array.dtype != np.bool_:
        raise TypeError(
            f"{function}: mask must have dtype bool (True = kept), got {array.dtype}."
        )
    try:
        fits = np.broadcast_shapes(array.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"{function}: mask must broadcast to x of shape {shape}, got shape "
            f"{array.shape}."
        )
    return array


def shape(function: str, value: Any) -> tuple[int, ...]:
    """A shape: an int or a sequence of ints that are not negative."""
    items = value if isinstance(value, Sequence) else (value,)
    sizes = tuple(integer(function, "shape", item) for item in items)
    if any(size < 0 for size in sizes):
        raise ValueError(f"{function}: shape must not be negative, got {value}.")
    return sizes


def spatial_dims(
    function: str, x: jax.Array, channel_axis: Any, batch_dims: Any
) -> tuple[int, ...]:
    """The dims of `x` that are neither leading batch dims nor the channel axis."""
    batch = integer(function, "batch_dims", batch_dims)
    (channel,) = dims(function, "channel_axis", channel_axis, x.ndim)
    if not 0 <= batch < x.ndim:
        raise ValueError(
            f"{function}: batch_dims must be in [0, {x.ndim}) for x of shape "
            f"{x.shape}, got {batch}."
        )
    if channel < batch:
        raise ValueError(
            f"{function}: channel_axis must not be one of the {batch} leading batch "
            f"dims, got {channel_axis}. Channels first is channel_axis={batch}."
        )
    spatial = tuple(dim for dim in range(batch, x.ndim) if dim != channel)
    if not spatial:
        raise ValueError(
            f"{function}: x must have spatial dims beside its {batch} batch dims and "
            f"its channels, got shape {x.shape}. For a single example without a batch "
            f"dim pass batch_dims=0."
        )
    return spatial


def shared(shape: tuple[int, ...], dims: tuple[int, ...]) -> tuple[int, ...]:
    """`shape` with size 1 on the dims that share one draw."""
    return tuple(1 if dim in dims else size for dim, size in enumerate(shape))
