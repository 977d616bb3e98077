"""Integers of arguments, and seeds in the place of keys."""

import jax
import jax.numpy as jnp
import pytest

import jaxnoise as jn
from jaxnoise._core import _integers

X = jnp.ones((64, 8))


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63)])
def test_an_integer_has_64_bits(number):
    """The last that has is out of the range of dims; the next is not an integer."""

    def call(number):
        return jn.dropout(jax.random.key(0), X, 0.5, broadcast_dims=(number,))

    with pytest.raises(ValueError, match=r"broadcast_dims must be in \[-2, 2\)"):
        call(number)
    with pytest.raises(ValueError, match="broadcast_dims must be an integer of 64 bit"):
        call(number + (1 if number > 0 else -1))


def test_a_number_of_things_starts_at_one():
    with pytest.raises(ValueError, match="f: n must be at least 1, got 0"):
        _integers.count("f", "n", 0)
    assert [_integers.count("f", "n", n) for n in (1, 2)] == [1, 2]


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1])
def test_a_seed_given_as_a_key_is_told_the_key(seed):
    with pytest.raises(TypeError, match=rf"with jax\.random\.key\({seed}\)\."):
        jn.dropout(seed, X, 0.5)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_what_is_no_seed_is_told_no_key(seed):
    with pytest.raises(TypeError, match=r"with jax\.random\.key\.$"):
        jn.dropout(seed, X, 0.5)
