"""Attacks on the options: one at a time is given what it may be given by mistake.

A call is refused with a clear error that names the option, or the result has the shape
and the dtype that it should have. What may be taken is said here a second time, in
other words than in the library.
"""

import operator
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hostile import EXAMPLES, assert_clear, attack, hostile_options, one_of

import jaxnoise as jn

pytestmark = pytest.mark.attack

X = jax.ShapeDtypeStruct((2, 3, 4), "float32")
IDS = jax.ShapeDtypeStruct((2, 3), "int8")
SPEC = jax.ShapeDtypeStruct


def integer(value):
    """The integer that a value is, else None."""
    try:
        number = operator.index(value)
    except TypeError:
        return None
    return None if isinstance(value, bool) else number


def integers(value):
    """The integers that a value, or the items of it, are, else None."""
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | jax.Array):
        many = np.ndim(value) > 0 if hasattr(value, "ndim") else True
        found = [integer(item) for item in value] if many else [integer(value)]
    else:
        found = [integer(value)]
    return None if None in found else found


def is_dims(value):
    dims = integers(value)
    inside = dims is not None and all(-3 <= dim < 3 for dim in dims)
    return inside and len({dim % 3 for dim in dims}) == len(dims)


def between(low, high):
    return lambda value: integer(value) is not None and low <= integer(value) <= high


def is_mask(value):
    try:
        array = np.asarray(value)
        return array.dtype == bool and np.broadcast_shapes(array.shape, X.shape) == (
            X.shape
        )
    except (TypeError, ValueError, RuntimeError):
        return False


def is_lengths(value):
    if value is None:
        return True
    array = np.asarray(value) if isinstance(value, tuple | list | range) else value
    if kind(array) != "i" or isinstance(array, SPEC):
        return False
    return array.shape == (2,) and max(np.asarray(array).tolist()) < 2**31


def kind(value):
    return getattr(getattr(value, "dtype", None), "kind", "")


def is_finite(value):
    scalar = isinstance(value, int | float | np.number | np.ndarray | jax.Array)
    if isinstance(value, bool) or not scalar or np.shape(value) != ():
        return False
    if is_deleted(value) or (
        hasattr(value, "dtype") and kind(value) not in tuple("if")
    ):
        return False
    return abs(value) < 3.4e38


def is_share(value):
    return is_finite(value) and 0 <= value <= 1


def is_deleted(value):
    return isinstance(value, jax.Array) and value.is_deleted()


def is_shape(value):
    if isinstance(value, set | dict | np.ndarray | jax.Array) and np.ndim(value):
        return False
    sizes = None if isinstance(value, set | dict) else integers(value)
    return sizes is not None and all(0 <= size < 2**63 for size in sizes)


def is_ids(value):
    found = integers(value)
    return found is not None and all(-128 <= number < 128 for number in found)


def with_x(function, *amounts):
    """A call of the function with an option that has yet to be given."""

    def call(option, value):
        keyed = {option: value}
        key = jax.random.key(0)
        return jax.eval_shape(lambda x: function(key, x, *amounts, **keyed), X), X

    return call


def mask_of(option, value):
    key, options = jax.random.key(0), {"shape": (2, 3, 4), option: value}
    y = jax.eval_shape(lambda: jn.dropout_mask(key, rate=0.5, **options))
    return y, jax.ShapeDtypeStruct(y.shape, "bool")


def applied(option, value):
    options = {"mask": np.ones((2, 3, 4), bool), option: value}
    return jax.eval_shape(lambda x: jn.apply_mask(x, rate=0.5, **options), X), X


def tokens(option, value):
    key, options = jax.random.key(0), {"mask_id": 3, option: value}
    y = jax.eval_shape(lambda ids: jn.token_dropout(key, ids, 0.5, **options), IDS)
    return y, IDS


BITS = between(8, 32)
OPTIONS = {
    "dropout broadcast_dims": (with_x(jn.dropout, 0.5), is_dims),
    "dropout bits": (with_x(jn.dropout, 0.5), lambda v: BITS(v) and v in (8, 16, 32)),
    "dropout_mask shape": (mask_of, is_shape),
    "apply_mask mask": (applied, is_mask),
    "alpha_dropout broadcast_dims": (with_x(jn.alpha_dropout, 0.5), is_dims),
    "spatial_dropout channel_axis": (
        with_x(jn.spatial_dropout, 0.5),
        lambda v: integer(v) in (1, 2, -1, -2),
    ),
    "feature_alpha_dropout batch_dims": (
        with_x(jn.feature_alpha_dropout, 0.5),
        between(0, 1),
    ),
    "drop_path batch_dims": (with_x(jn.drop_path, 0.5), between(0, 3)),
    "drop_block block_size": (with_x(jn.drop_block, 0.5), between(1, 3)),
    "drop_block share_channels": (
        with_x(jn.drop_block, 0.5, 2),
        lambda value: isinstance(value, bool),
    ),
    "salt_and_pepper low": (with_x(jn.salt_and_pepper, 0.5), is_finite),
    "salt_and_pepper salt_vs_pepper": (with_x(jn.salt_and_pepper, 0.5), is_share),
    "salt_and_pepper broadcast_dims": (with_x(jn.salt_and_pepper, 0.5), is_dims),
    "neftune_noise lengths": (with_x(jn.neftune_noise, 0.5), is_lengths),
    "rrelu lower": (
        lambda option, value: with_x(jn.rrelu, value)("upper", 3.4e38),
        is_finite,
    ),
    "token_dropout mask_id": (tokens, between(-128, 127)),
    "token_dropout protected": (tokens, is_ids),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options(name):
    function, option = name.split()
    call, is_right = OPTIONS[name]
    # a bad axis may be seen as too many batch dims, or as a lack of spatial dims
    wrong = {option, "x"} if option in ("channel_axis", "batch_dims") else {option}

    def one(value, again):
        right = not is_deleted(value) and is_right(value)
        try:
            found, expected = call(option, value)
        except Exception as error:
            assert not right, f"{type(error).__name__}: {error}"
            assert_clear(error, [function], wrong)
        else:
            assert right, "accepted silently"
            assert (found.shape, found.dtype) == (expected.shape, expected.dtype)

    examples = -(-EXAMPLES["options"] // len(OPTIONS))
    # each value several times over, since the number of values is what it is
    attack(name, one, examples, value=one_of(hostile_options()), again=one_of(range(4)))


def test_ids_of_int64_are_taken_only_where_they_fit():
    with pytest.raises(ValueError, match=r"token_dropout: mask_id must be in \[-128"):
        jn.token_dropout(jax.random.key(0), jnp.zeros(3, jnp.int8), 0.5, 128)
