"""Traced amounts: checked where `jax.experimental.checkify` asks, free elsewhere.

A traced amount has no value on the host. It goes through a primitive that is the
identity and says what the amount must be. Lowering removes it, so that the program is
the same as without; `checkify.checkify` finds it and makes an error of it.

`checkify.debug_check` would do the same with an effect, and an effect is not free: each
call of a jitted function that has one leaves the fast path of its dispatch, some 0.2 ms
on CPU, and `jax.export` cannot serialize it.
"""

import functools
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

try:
    from jax._src.checkify import error_checks
except ImportError:  # another version of JAX: traced amounts are not checked then
    error_checks: Any = {}


class Law(Protocol):
    """A condition on numbers, each of which may be an array. It can be hashed."""

    def holds(self, *numbers: Any) -> Any: ...


def watched(law: Law, message: str, *numbers: jax.Array) -> jax.Array:
    """The first number as it is; under checkify, an error where the law does not hold.

    Args:
      law: of the numbers, which are scalars.
      message: the error, with "{}" for each of them.
      *numbers: of which one at least is traced.
    """
    return _watched.bind(*numbers, law=law, message=message)


_watched = Primitive("jaxnoise_amount")


@_watched.def_impl
def _impl(number, *others, law, message):
    return number


@_watched.def_abstract_eval
def _abstract(number, *others, law, message):
    return number


def _lowered(context, number, *others, law, message):
    return [number]


mlir.register_lowering(_watched, _lowered)


def _derivative(primals, tangents, **params):
    # a tangent is no amount
    return _watched.bind(*primals, **params), tangents[0]


ad.primitive_jvps[_watched] = _derivative


def _batched(numbers, dims, **params):
    if len(numbers) > 1:
        size = next(
            n.shape[d] for n, d in zip(numbers, dims, strict=True) if d is not None
        )
        numbers = [
            jnp.broadcast_to(n, (size, *n.shape))
            if d is None
            else jnp.moveaxis(n, d, 0)
            for n, d in zip(numbers, dims, strict=True)
        ]
        dims = [0]
    return _watched.bind(*numbers, **params), dims[0]


batching.primitive_batchers[_watched] = _batched


def _discharged(*arguments, law, message):
    """The rule of checkify: that of a jitted function that has the check.

    In front of the operands it takes what its version of JAX passes on from rule to
    rule; the error, which comes back, is in it.
    """
    count = message.count("{}")
    numbers = arguments[-count:]
    checked = functools.partial(_check, law=law, message=message)
    (equation,) = jax.make_jaxpr(jax.jit(checked))(*numbers).eqns
    error, _ = error_checks[equation.primitive](*arguments, **equation.params)
    return error, numbers[0]


def _check(*numbers, law, message):
    if numbers[0].size == 0:
        return
    wide = [n.astype(np.promote_types(n.dtype, np.float32)).ravel() for n in numbers]
    bad = ~law.holds(*wide)
    first = jnp.argmax(bad)
    checkify.check(~bad.any(), message, *(n[first] for n in wide))


error_checks[_watched] = _discharged
