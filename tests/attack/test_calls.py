"""Attacks on what every function takes: a key, an array, an amount.

Most are seen in abstract evaluation: a call is either refused with a clear error that
names what is wrong with it, or gives an array of the shape and the dtype of x.
"""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hostile import (
    BAD_NUMBERS,
    EXAMPLES,
    GOOD_NUMBERS,
    NO_NUMBERS,
    array_numbers,
    assert_clear,
    attack,
    functions,
    hostile_arrays,
    hostile_keys,
    noise_of,
    one_of,
    parameters,
)
from hypothesis import strategies as st

import jaxnoise as jn
from jaxnoise._flax._layer import AMOUNTS
from jaxnoise.testing import CASES

# attention has no x: its case makes queries, keys and values of one
OF_X = [case for case in CASES if "attention" not in case.name]

pytestmark = pytest.mark.attack

# few, since what costs time is to trace a new one
SHAPES = ((), (2, 0), (2, 3), (2, 3, 4), (2, 4, 3, 2), (1, 3, 3, 3, 2))
FLOATING = ("float32", "bfloat16", "float16", "float8_e4m3fn")
OTHERS = ("complex64", "bool", "int8", "uint32", "int4", "float8_e8m0fnu")
COMPLEX = {"gaussian_noise", "gaussian_dropout", "real_gaussian_dropout"}
COMPLEX |= {"dropout", "dropout_mask", "apply_mask", "spatial_dropout", "drop_path"}
COMPLEX |= {"drop_block", "embedding_dropout", "speckle_noise"}


def argument_names(case):
    """How errors call the array and the amount."""
    name = functions(case)[-1]
    names = [n for n in inspect.signature(getattr(jn, name)).parameters if n != "key"]
    amount = "upper" if name == "rrelu" else next(n for n in names if n in AMOUNTS)
    return names[0], amount


zeros = functools.cache(jnp.zeros)


def takes_amount(case, number):
    if case.top is None:
        return 0 <= number <= float(np.finfo(np.float32).max)
    if not 0 <= number <= 1 or (number == 1 and 1.0 in case.bad):
        return False
    bits = 8 if "8 bits" in case.name else 16 if "16 bits" in case.name else 32
    if bits == 32 or number in (0, 1):
        return True
    nearest = round(float(number) * 2**bits) / 2**bits
    return nearest < 1 and abs(nearest - number) <= 0.05 * number


def takes_shape(case, shape):
    name = functions(case)[0]
    least = {"neftune_noise": 2, "drop_path": 1, "embedding_dropout": 2}
    least |= {"spatial_dropout": 3, "feature_alpha_dropout": 3, "drop_block": 3}
    if case.name == "dropout, broadcast_dims":
        return len(shape) >= 2
    if len(shape) < least.get(name, 0) or (
        name == "embedding_dropout" and len(shape) > 2
    ):
        return False
    return name != "drop_block" or (len(shape) <= 5 and min(shape[1:-1]) >= 3)


def takes_dtype(case, dtype):
    return dtype in FLOATING or (dtype == "complex64" and functions(case)[0] in COMPLEX)


@pytest.mark.parametrize("case", OF_X, ids=lambda case: case.name)
def test_calls(case):
    good, bad, none = array_numbers()
    numbers = [*GOOD_NUMBERS, *good]
    numbers = [*numbers, *numbers, *BAD_NUMBERS, *bad, *((n, None) for n in NO_NUMBERS)]
    numbers += [(n, None) for n in none]
    right_keys, wrong_keys = hostile_keys()
    some_keys = [*[(right_keys[0], True)] * 60, *((k, True) for k in right_keys)]
    some_keys += [(key, False) for key in wrong_keys]
    data_name, amount_name = argument_names(case)
    names, noise = functions(case), noise_of(case)
    of_shape = set.union(*(parameters(name) for name in names)) - {"key", amount_name}

    def call(shape, dtype, number, key, traced):
        (amount, value), (key, is_key) = number, key
        wrong = set() if is_key else {"key"}
        if not takes_dtype(case, dtype):
            wrong.add(data_name)
        if not takes_shape(case, shape):
            wrong |= of_shape
        if value is None or not takes_amount(case, value):
            wrong |= {"lower", "upper"} if names == ("rrelu",) else {amount_name}
        x = jax.ShapeDtypeStruct(shape, dtype)
        try:
            right = not wrong - {amount_name, "lower"} and value is not None
            if traced and right and dtype == "float32":
                # a traced amount is not checked, whatever it may be
                wrong, scalar = set(), jax.ShapeDtypeStruct((), "float32")
                y = jax.eval_shape(lambda x, a: noise(key, x, a), x, scalar)
            elif wrong:
                # refused before anything is traced, so there is no need to; the one
                # row of two functions may draw before the second refuses
                typed = is_key and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
                fresh = jax.random.clone(key) if typed else key
                y = noise(fresh, zeros(shape, dtype), amount)
            else:
                y = jax.eval_shape(lambda x: noise(key, x, amount), x)
        except Exception as error:
            assert wrong, f"{type(error).__name__}: {error}"
            assert_clear(error, names, wrong)
        else:
            assert not wrong, f"a wrong {sorted(wrong)} is accepted silently"
            assert (y.shape, y.dtype) == (x.shape, x.dtype)

    attack(
        f"calls {case.name}",
        call,
        -(-EXAMPLES["calls"] // len(OF_X)),
        shape=one_of(SHAPES),
        dtype=one_of([*FLOATING, "float32", "float32", *OTHERS]),
        number=one_of(numbers),
        key=one_of(some_keys),
        traced=st.booleans(),
    )


@pytest.mark.parametrize("case", OF_X, ids=lambda case: case.name)
def test_inputs_that_are_no_arrays(case):
    names, noise = functions(case), noise_of(case)
    if case.name == "dropout_mask, apply_mask":
        # the shape of the mask is that of x, which these do not have
        mask, names = np.ones((), bool), ("apply_mask",)

        def noise(key, x, amount):
            return jn.apply_mask(x, mask, amount)

    wrong = {argument_names(case)[0]}

    def call(x, amount, seed):
        with pytest.raises((ValueError, TypeError)) as caught:
            noise(jax.random.key(seed), x, amount)
        assert_clear(caught.value, names, wrong)

    attack(
        f"inputs {case.name}",
        call,
        -(-EXAMPLES["inputs"] // len(OF_X)),
        x=one_of(hostile_arrays()),
        amount=one_of([0, 0.125, 0.5]),
        seed=st.integers(0, 99),
    )


@pytest.mark.parametrize("case", OF_X, ids=lambda case: case.name)
def test_calls_under_x64(case):
    """Double precision comes back as it is, and may be noisier than single."""
    with jax.enable_x64(True):
        x = jax.ShapeDtypeStruct(case.shapes[-1], "float64")
        y = jax.eval_shape(case.noise, jax.random.key(0), x, np.float64(0.5))
        assert (y.shape, y.dtype) == (x.shape, x.dtype)
        if case.top is None and functions(case) != ("rrelu",):
            large = jnp.ones(case.shapes[-1], jnp.float64)
            assert np.isfinite(case.noise(jax.random.key(0), large, 1e300)).all()
