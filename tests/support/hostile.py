"""What the attacks have in common: hostile values, clear errors, counted examples."""

import decimal
import fractions
import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

import jaxnoise as jn
from jaxnoise import keys, tree
from jaxnoise.testing import Case
from jaxnoise.testing._case import NoiseFunction

EXAMPLES = {
    "calls": 13_000,
    "inputs": 1_300,
    "options": 2_400,
    "oracles": 2_200,
    "nests": 100,
    "donated": 500,
    "trees": 600,
    "names": 300,
}
"""How many examples each attack runs in CI; the sum is checked."""
FEWER = 10
"""Elsewhere it is one example in so many: `pytest --hypothesis-profile=ci` runs all."""


def attack(
    name: str, test: Callable[..., None], examples: int, /, **drawn: Any
) -> None:
    """Run `test` on that many different examples, the same ones each time."""
    ran = 0
    if hypothesis.settings.get_current_profile_name() != "ci":
        examples = -(-examples // FEWER)

    @hypothesis.seed(name)
    @hypothesis.settings(
        max_examples=examples,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
    )
    @hypothesis.given(**drawn)
    def counted(**arguments):
        nonlocal ran
        ran += 1
        shown = arguments.items()
        test(**{k: v.value if isinstance(v, _Shown) else v for k, v in shown})

    counted()
    assert ran >= examples, f"{name}: {ran} of {examples} examples"


class _Shown:
    """A value that can be printed, as some of the hostile ones cannot."""

    def __init__(self, value: Any):
        self.value = value

    def __repr__(self):
        try:
            return repr(self.value)
        except (RuntimeError, ValueError) as error:
            return f"<{type(self.value).__name__}: {error}>"


def one_of(values: Iterable[Any]) -> st.SearchStrategy[Any]:
    return st.sampled_from([_Shown(value) for value in values])


def functions(case: Case) -> tuple[str, ...]:
    """The public functions that a row of the table calls."""
    return case.covers or (case.name.split(",")[0],)


def noise_of(case: Case) -> NoiseFunction:
    """The function itself, where the row of the table computes with its arguments."""
    if functions(case) == ("rrelu",):
        return lambda key, x, amount: jn.rrelu(key, x, 0, amount)
    return case.noise


def parameters(name: str) -> set[str]:
    """The parameters of a public function, by its name in errors."""
    home, _, last = name.rpartition(".")
    module = {"": jn, "tree": tree, "keys": keys}[home]
    return set(inspect.signature(getattr(module, last)).parameters)


def assert_clear(error: BaseException, functions: Iterable[str], wrong: set[str]):
    """A ValueError or TypeError that names function, argument and value."""
    assert isinstance(error, ValueError | TypeError), repr(error)
    message = str(error)
    names = "|".join(re.escape(name) for name in functions)
    found = re.match(rf"({names})(?:, at .*?)?: (\w+) ", message, re.DOTALL)
    assert found, f"{type(error).__name__}: {message}"
    assert found[2] in wrong, f"one of {sorted(wrong)} is wrong, not: {message}"
    assert " got " in message and len(message) < 500, message


# (value, the number it stands for); None where it is no number at all
GOOD_NUMBERS = (
    *((number, number) for number in (0, 1, 0.0, -0.0, 0.5, 0.125, 1.0)),
    *((number, number) for number in (5e-324, 1e-45, 2.0**-25, 1 - 2.0**-25)),
    *((dtype(0.5), 0.5) for dtype in (np.float16, np.float32, np.float64)),
    *((dtype(0.5), 0.5) for dtype in (np.longdouble, np.array)),
    *((np.int8(1), 1), (np.uint64(0), 0), (np.array(1), 1)),
)
BAD_NUMBERS = (
    *((number, number) for number in (-5e-324, -0.1, -1, np.float32(-1))),
    *((number, number) for number in (1.5, 2, 256, 3e38, 1e39, 1e300, 1.8e308)),
    *((number, number) for number in (float("nan"), np.float16("nan"), float("-inf"))),
    *((number, float("inf")) for number in (float("inf"), 10**400, 10**5000)),
)
NO_NUMBERS = (
    *(None, "0.5", b"1", "", True, np.True_, 0.5j, np.complex64(1), [0.5], (0.5,), {}),
    *(decimal.Decimal("0.5"), fractions.Fraction(1, 2), object, len, ..., range(1)),
    *(np.array("0.5"), np.array(b"1"), np.array(None), np.array(0.5, object)),
    *(np.array([0.5]), np.zeros((0,)), np.zeros((1, 1)), np.array(True)),
    *(np.timedelta64(1, "s"), np.datetime64("2020"), np.str_("0.5"), np.void(b"1")),
    *(np.ma.masked, np.ma.array(0.5), jax.ShapeDtypeStruct((), np.float32)),
)


def array_numbers():
    """The same of JAX, which wants its settings before the first array."""
    good = [(jnp.array(0.5, dtype), 0.5) for dtype in ("float32", "bfloat16")]
    good += [(jnp.array(0.5, jnp.float8_e4m3fn), 0.5), (jnp.array(1, jnp.int4), 1)]
    bad = [(jnp.float32(-1), -1.0), (jnp.float16("nan"), float("nan"))]
    none = [jnp.array(True), jnp.array([0.5]), jnp.ones((1, 1)), jnp.complex64(1)]
    return good, bad, [*none, jax.random.key(0), deleted((), np.float32)]


def deleted(shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """An array whose buffer is gone, as after a donation."""
    array = jnp.zeros(shape, dtype)
    array.delete()
    return array


def hostile_keys() -> tuple[list[Any], list[Any]]:
    """Keys to be taken, and what must not be taken for a key."""
    key = jax.random.key(7)
    data = jax.random.key_data(key)
    good = [key, data, np.asarray(data), jax.random.key(7, impl="unsafe_rbg")]
    bad = [jax.random.split(jax.random.key(1), n) for n in (2, 1)]
    bad += [data[None], data[:1]]
    bad += [data.astype(np.int32), np.zeros(2, np.uint64), np.uint32(7), data[0]]
    bad += [np.zeros(4, np.uint32), np.zeros((0, 2), np.uint32), jnp.zeros(2)]
    bad += [0, -1, 10**5000, None, "key", [0, 1], 0.5, True, len, jax.random.key]
    bad += [jax.ShapeDtypeStruct((2,), np.uint32), np.array(["a", "b"])]
    return good, [*bad, deleted((2,), np.uint32), deleted_key()]


def deleted_key() -> jax.Array:
    key = jax.random.key(0)
    jax.jit(lambda key: key, donate_argnums=0)(key).block_until_ready()
    if not key.is_deleted():
        key.delete()
    return key


def hostile_arrays() -> list[Any]:
    """What is no floating array."""
    values = [None, "a", b"a", object(), {}, [[1.0], [1.0, 2.0]], {1.0}, len, ...]
    values += [1, True, 10**400, 10**5000, [1, 2], np.arange(3), np.array("a")]
    values += [np.array([None]), np.ones(2, bool), np.longdouble(1), np.void(b"abc")]
    values += [np.array(["2020"], "M8[D]"), np.ma.array([1.0], mask=[True]), ["a"]]
    values += [jax.ShapeDtypeStruct((2,), np.float32), jax.random.key(0)]
    values += [jnp.ones((2, 3, 4), jnp.float8_e8m0fnu), deleted((2, 3, 4), np.float32)]
    return [*values, jnp.zeros((2, 3, 4), jnp.uint8), jnp.zeros((2, 3, 4), jnp.int4)]


def hostile_options() -> list[Any]:
    """What an option may be given by mistake."""
    values = [None, "", "a", b"", b"\x01", 0, 1, 2, -1, -4, 7, 8, 2**31, 2**40, 10**30]
    values += [10**5000, True, False, 0.5, 1.0, float("nan"), float("inf"), 1j, 1e300]
    values += [(), [], (0,), [1], (0, 1), (0, 0), (0, -3), (1.0,), ("a",), (None,)]
    values += [{0}, {}, range(2), object(), len, ..., np.int64(1), np.array(1)]
    values += [np.array([0, 1]), np.array([1.0]), np.ones((2, 3, 4), bool), [True]]
    values += [np.array("a"), np.array([None]), (10**5000,), (2**40, 2**40), (2, -1)]
    values += [jnp.int32(1), jnp.array([0, 1]), jnp.array([True]), jax.random.key(0)]
    return [*values, deleted((), np.int32), jax.ShapeDtypeStruct((2,), np.int32)]
