"""Laws with exact answers, seen in single calls: shape, key, off, errors, selection."""

import contextlib
import gc
from collections.abc import Iterator

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxnoise.testing._case import Case
from jaxnoise.testing._statistics import sizes

LOW_PRECISION = (jnp.bfloat16, jnp.float16)


@contextlib.contextmanager
def checking_leaks() -> Iterator[None]:
    """`jax.checking_leaks`, at a cost that does not grow with what already lives.

    JAX collects garbage after each function that it traces. What is frozen is left out
    of that: an object that was there before the trace cannot be a tracer of it.
    """
    gc.freeze()
    try:
        with jax.checking_leaks():
            yield
    finally:
        gc.unfreeze()


def shape(case: Case) -> str:
    """Shape and dtype of x come back, under strict promotion and without leaks."""
    amount, seen = case.amounts[-1], 0

    def traced(x):
        if case.traced:
            return jax.eval_shape(case.noise, case.key(), x, amount)
        return jax.eval_shape(lambda key, x: case.noise(key, x, amount), case.key(), x)

    with jax.numpy_dtype_promotion("strict"):
        for dtype in (jnp.float32, *LOW_PRECISION):
            for size in case.shapes:
                x = jax.ShapeDtypeStruct(size, dtype)
                y = traced(x)
                try:
                    chex.assert_trees_all_equal_shapes_and_dtypes(y, x)
                except AssertionError:
                    case.fail(
                        "shape",
                        f"{y.dtype}{y.shape} for an input of {x.dtype}{x.shape}.",
                    )
                seen += 1
            case.noise(case.key(), _rounded(case.input(), dtype), amount)
        # once: a look for leaks traces all anew, and what leaks does so for every shape
        # and dtype
        with checking_leaks():
            traced(case.input())
    return f"{seen} shapes and dtypes"


def precision(case: Case) -> str:
    """Noise is drawn and scaled in float32, then rounded once to the dtype of x."""
    for dtype in LOW_PRECISION:
        for amount in case.amounts:
            x = _rounded(case.input(), dtype)
            narrow = case.noise(case.key(), x, amount)
            wide = case.noise(case.key(), _rounded(x, jnp.float32), amount)
            narrow, wide = (
                np.asarray(v).astype(dtype).astype(np.float32) for v in (narrow, wide)
            )
            # where float32 results differ by an ulp, they may round apart
            apart = (narrow != wide).sum()
            if apart > (0 if case.exact else 1):
                case.fail(
                    "precision",
                    f"{jnp.dtype(dtype).name}, amount {amount}: {apart} of {x.size} "
                    f"values are not the float32 result rounded once.",
                )
    return "bfloat16, float16"


def _rounded(x, dtype):
    """By NumPy, which needs no program for it."""
    return jnp.asarray(np.asarray(x).astype(dtype))


def repeats(case: Case) -> str:
    """Same key, same output: eager, again, jitted and rematerialised."""
    x, amount = case.input(), case.amounts[-1]

    def call(x):
        return case.noise(case.key(), x, amount)

    first = call(x)
    case.equal("repeats", "a second call", call(x), first)
    case.equal("repeats", "jit", jax.jit(call)(x), first)
    case.equal("repeats", "checkpoint", jax.checkpoint(call)(x), first)
    with jax.legacy_prng_key("allow"):
        legacy = case.noise(jax.random.key_data(case.key()), x, amount)
    case.equal("repeats", "the legacy key", legacy, first)
    return "eager, jit, checkpoint, legacy key"


def key(case: Case) -> str:
    """Another key, another output."""
    # the size of the laws about distributions, which have its program
    x, amount = case.input(*sizes(case)), case.amounts[-1]
    outputs = [np.asarray(case.noise(case.key(n), x, amount)) for n in range(4)]
    for n, output in enumerate(outputs[1:], 1):
        if (output == outputs[0]).all():
            case.fail("key", f"keys 0 and {n} give the same {x.size} values.")
    return "4 keys"


def off(case: Case) -> str:
    """Amount 0 returns x, to the bit if it is known."""
    x = case.input()
    for zero in (0, 0.0, np.float32(0)):
        y = case.noise(case.key(), x, zero)
        if np.asarray(y).tobytes() != np.asarray(x).tobytes():
            case.fail("off", f"amount {zero!r} changes x by {abs(y - x).max()}.")
    if not case.traced:
        return "known 0"
    traced = np.asarray(jax.jit(case.noise)(case.key(), x, np.float32(0)))
    if not (traced == np.asarray(x)).all():
        case.fail("off", f"a traced 0 changes x by {abs(traced - x).max()}.")
    return "known and traced 0"


def errors(case: Case) -> str:
    """Bad amounts, dtypes and keys are errors, never results."""
    x, amount = case.input(), case.amounts[-1]
    integers, keys = x.astype(jnp.int32), jax.random.split(case.key(), 2)
    attempts = [(ValueError, f"amount {bad}", (case.key(), x, bad)) for bad in case.bad]
    attempts += [
        (TypeError, "integer input", (case.key(), integers, amount)),
        (TypeError, "integer input at amount 0", (case.key(), integers, 0.0)),
        (TypeError, "an integer as key", (0, x, amount)),
        (ValueError, "a batch of keys", (keys, x, amount)),
    ]
    for wanted, what, arguments in attempts:
        try:
            case.noise(*arguments)
        except wanted as error:
            if not str(error):
                case.fail("errors", f"{what}: {wanted.__name__} without a message.")
        except Exception as error:
            case.fail(
                "errors",
                f"{what}: {type(error).__name__} where {wanted.__name__} was expected.",
            )
        else:
            case.fail("errors", f"{what} is accepted silently.")
    return f"{len(attempts)} bad calls"


def selection(case: Case) -> str:
    """Dropped nan and inf become the dropped value; their cotangents become 0."""
    if case.dropped is None:
        return ""
    amount = case.amounts[-1]
    floor = np.float32(case.dropped(amount))

    def call(x):
        return case.noise(case.key(), x, amount)

    x = case.input(16, 16)
    pull = jax.jit(lambda x, cotangent: _call_and_pull(call, x, cotangent))
    y, gradient = map(np.asarray, pull(x, np.ones(x.shape, np.float32)))
    lost = np.isclose(y, floor, rtol=1e-6, atol=0)
    if not 0 < lost.sum() < lost.size:
        case.fail("selection", f"{lost.sum()} of {lost.size} values are dropped.")
    for poison in (np.nan, np.inf, -np.inf):
        poisoned = np.where(lost, np.float32(poison), x)
        cotangent = np.where(lost, np.float32(poison), np.float32(1))
        out, pulled = pull(jnp.asarray(poisoned), cotangent)
        case.equal("selection", f"{poison} at dropped places", out, y)
        case.equal(
            "selection", f"cotangent {poison} at dropped places", pulled, gradient
        )
    return f"{int(lost.sum())} of {lost.size} dropped"


def _call_and_pull(call, x, cotangent):
    y, pull = jax.vjp(call, x)
    return y, pull(cotangent)[0]
