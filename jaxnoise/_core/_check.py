"""Argument checks: errors that name the function, the argument, the value and the mend.

Only what is known on the host is checked here. A traced amount meets formulas that are
finite at both ends of its range, and is checked where the caller's `checkify` asks.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.typing import ArrayLike

from jaxnoise._core import _arrays, _dims, _integers, _shown

Amount = float | jax.Array
"""A checked amount: a Python float where it is known, a traced scalar where not."""

_FLOAT32_MAX = float(np.finfo(np.float32).max)


def known(amount: Any, value: float) -> bool:
    """Whether an amount is known, and is `value`; what is no number is not."""
    number = isinstance(amount, int | float | np.number | np.ndarray | jax.Array)
    if not number or isinstance(amount, Tracer) or np.ndim(amount):
        return False
    # a float, since == of an array is traced where anything is
    return float(amount) == value


def key(function: str, value: Any, *, name: str = "key") -> jax.Array:
    """A typed scalar PRNG key from a typed key or from legacy uint32 key data."""
    dtype = getattr(value, "dtype", None)
    if dtype is None or isinstance(value, np.generic | jax.ShapeDtypeStruct):
        mend = f"({value})" if type(value) is int and 0 <= value < 2**32 else ""
        raise TypeError(
            f"{function}: {name} must be a PRNG key, got {_shown.shown(value)} of type "
            f"{type(value).__name__}. Make one with jax.random.key{mend}."
        )
    _arrays.alive(function, name, value)
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        typed = value
    elif dtype == np.uint32 and value.ndim > 0:
        try:
            typed = jax.random.wrap_key_data(value)
        except TypeError as error:
            raise ValueError(
                f"{function}: {name} must be a PRNG key, got a uint32 array of shape "
                f"{value.shape}, which is not the key data of the default PRNG "
                f"implementation. Make keys with jax.random.key."
            ) from error
    else:
        raise TypeError(
            f"{function}: {name} must be a PRNG key (jax.random.key) or uint32 key "
            f"data (jax.random.PRNGKey), got an array of dtype {dtype} and shape "
            f"{value.shape}."
        )
    if typed.shape != ():
        raise ValueError(
            f"{function}: {name} must be a single key, got a batch of keys of shape "
            f"{typed.shape}. Use jax.vmap for one draw per key, with in_axes=None for "
            f"a rate, or what else all of them share."
        )
    return typed


def floating(
    function: str, value: ArrayLike, *, allow_complex: bool = True, name: str = "x"
) -> jax.Array:
    """`value` as a JAX array of floating (or complex) dtype."""
    array = _arrays.array(function, name, value)
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
    if array.dtype == jnp.float8_e8m0fnu:
        raise TypeError(
            f"{function}: {name} must have a dtype with a 0 and a sign, got "
            f"{array.dtype}. Convert it first, for example with "
            f"{name}.astype(jnp.float32)."
        )
    return array


class _Range(NamedTuple):
    """Where a number has to be."""

    words: str
    low: float
    high: float
    above_low: bool = False
    below_high: bool = False

    def holds(self, number: Any) -> Any:
        """Whether the number is there, or of each of an array; nan is not."""
        low = self.low < number if self.above_low else self.low <= number
        high = number < self.high if self.below_high else number <= self.high
        return low & high


class _Order(NamedTuple):
    """That two numbers are in order."""

    words: str = "at most upper"

    def holds(self, lower: Any, upper: Any) -> Any:
        return lower <= upper


_UNIT = _Range("in [0, 1]", 0, 1)
_BELOW_ONE = _Range("in [0, 1)", 0, 1, below_high=True)
_POSITIVE = _Range("finite and above 0", 0, math.inf, True, True)
_MAGNITUDE = _Range("finite and at least 0", 0, math.inf, below_high=True)
_FINITE = _Range("finite", -math.inf, math.inf, True, True)


def _within(
    function: str, name: str, number: Amount, where: _Range, mend: str = "."
) -> Amount:
    """The number, if it is known to be in its range; if traced, to be watched there."""
    message = f"{function}: {name} must be {where.words}, got {{}}{mend}"
    if isinstance(number, jax.Array):
        return _watched(where, message, number)
    if not where.holds(number):
        raise ValueError(message.format(number))
    return number


def _watched(law: Any, message: str, *numbers: jax.Array) -> jax.Array:
    # here: jax.extend takes a tenth of a second, which only traced amounts need
    from jaxnoise._core import _traced

    return _traced.watched(law, message, *numbers)


def _scalar(function: str, name: str, value: Any) -> Amount:
    """A Python float where the value is known, else a traced real scalar."""
    if isinstance(value, bool | np.bool_) or not (
        isinstance(value, int | float | np.number | np.ndarray | jax.Array)
    ):
        mend = f" If it is a schedule, call it: {name}=schedule(step)."
        raise TypeError(
            f"{function}: {name} must be a real number, got {_shown.shown(value)} of "
            f"type {type(value).__name__}.{mend if callable(value) else ''}"
        )
    if isinstance(value, np.ndarray | jax.Array):
        real = any(jnp.issubdtype(value.dtype, k) for k in (jnp.integer, jnp.floating))
        if not real or isinstance(value, np.ma.MaskedArray):
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
        _arrays.alive(function, name, value)
    elif isinstance(value, np.complexfloating | np.timedelta64):
        raise TypeError(
            f"{function}: {name} must be a real number, got {_shown.shown(value)}."
        )
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def rate(
    function: str,
    value: Any,
    *,
    name: str = "rate",
    below_one: bool = False,
    mend: str = "It is a probability: 5 % is 0.05.",
) -> Amount:
    """A probability in [0, 1], or in [0, 1) where the law diverges at 1."""
    number = _scalar(function, name, value)
    at_one = f": the noise grows without bound as {name} goes to 1."
    if below_one and (isinstance(number, jax.Array) or number == 1.0):
        return _within(function, name, number, _BELOW_ONE, at_one)
    return _within(function, name, number, _UNIT, f". {mend}")


def positive(function: str, name: str, value: Any) -> Amount:
    """A finite number above 0: a temperature or a length."""
    return _within(function, name, _scalar(function, name, value), _POSITIVE)


def bits(function: str, value: Any, rate: Amount) -> int:
    """Bits of a decision, in which a known rate can be said to 5 % and better."""
    number = _integers.integer(function, "bits", value)
    if number not in (8, 16, 32):
        raise ValueError(
            f"{function}: bits must be 8, 16 or 32, got {_shown.shown(value)}."
        )
    if number == 32 or isinstance(rate, jax.Array) or rate == 1.0:
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


def magnitude(
    function: str, name: str, value: Any, x: jax.Array | None = None
) -> Amount:
    """A finite number that is not negative: a standard deviation or a scale.

    Finite in the precision of the noise for `x`, where there is one.
    """
    number = _within(function, name, _scalar(function, name, value), _MAGNITUDE)
    return _no_overflow(function, name, number, x)


def finite(function: str, name: str, value: Any, x: jax.Array | None = None) -> Amount:
    """A finite number of either sign, in the precision of the noise for `x`."""
    number = _within(function, name, _scalar(function, name, value), _FINITE)
    return _no_overflow(function, name, number, x)


def _no_overflow(function: str, name: str, number: Amount, x: jax.Array | None):
    if x is None or jnp.finfo(x.dtype).bits == 64:
        return number
    words = f"finite in float32, in which the noise of a {x.dtype} array is drawn"
    if isinstance(number, jax.Array) and jnp.finfo(number.dtype).bits < 64:
        return number
    return _within(function, name, number, _Range(words, -_FLOAT32_MAX, _FLOAT32_MAX))


def share(function: str, name: str, value: Any) -> Amount:
    """A fraction in [0, 1]."""
    return _within(function, name, _scalar(function, name, value), _UNIT)


def slopes(
    function: str, lower: Any, upper: Any, x: jax.Array | None = None
) -> tuple[Amount, Amount]:
    """The two ends of an interval, in order."""
    ends = finite(function, "lower", lower, x), finite(function, "upper", upper, x)
    order = _Order()
    message = f"{function}: lower must be {order.words}, got {{}} and {{}}. Swap them."
    if any(isinstance(end, jax.Array) for end in ends):
        low, high = map(jnp.asarray, ends)
        return _watched(order, message, low, high), ends[1]
    if not order.holds(*ends):
        raise ValueError(message.format(*ends))
    return ends


def unit_interval(rate: jax.Array, *, below_one: bool = False) -> jax.Array:
    """A traced rate as a float32 in [0, 1], without gradient.

    The gradient that would reach a rate through the scale alone is biased: the mask
    depends on the rate too, and has none. Below one, the largest rate is 1 - 2^-24.
    """
    top = np.nextafter(np.float32(1), np.float32(0)) if below_one else np.float32(1)
    return jnp.clip(jnp.asarray(lax.stop_gradient(rate), np.float32), 0, top)


def mask(function: str, value: ArrayLike, shape: tuple[int, ...]) -> jax.Array:
    """A bool array that broadcasts to `shape`."""
    array = _arrays.array(function, "mask", value)
    if array.dtype != np.bool_:
        raise TypeError(
            f"{function}: mask must have dtype bool (True = kept), got {array.dtype}."
        )
    if not _dims.broadcasts(array.shape, shape):
        raise ValueError(
            f"{function}: mask must broadcast to x of shape {shape}, got shape "
            f"{array.shape}."
        )
    return array


def flag(function: str, name: str, value: Any) -> bool:
    """True or False, and nothing that is only as good as one of them."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(
            f"{function}: {name} must be True or False when the function is traced, "
            f"got {_shown.shown(value)}."
        )
    return bool(value)
