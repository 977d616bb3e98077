"""Bad input: the error names the function, the argument, the value and the mend."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnoise as jn
from jaxnoise import mc, schedules, tree
from jaxnoise._core import _check

X = jnp.ones((2, 4, 3))


def new_key():
    return jax.random.key(0)


NAN = float("nan")
SCALED = ("gaussian_noise", "uniform_noise", "laplace_noise")
RATED = {
    "dropout": (jn.dropout, True),
    "spatial_dropout": (jn.spatial_dropout, True),
    "drop_path": (jn.drop_path, True),
    "drop_block": (lambda k, x, r: jn.drop_block(k, x, r, 2), True),
    "real_gaussian_dropout": (
        lambda k, x, r: jn.real_gaussian_dropout(k, x, r, 1),
        True,
    ),
    "alpha_dropout": (jn.alpha_dropout, False),
    "feature_alpha_dropout": (jn.feature_alpha_dropout, False),
    "gaussian_dropout": (jn.gaussian_dropout, False),
}
ALL = {name: noise for name, (noise, _) in RATED.items()}
ALL |= {name: getattr(jn, name) for name in SCALED}


@pytest.mark.parametrize("name", RATED)
@pytest.mark.parametrize("rate", [-0.1, 1.5, NAN, 2, -1, np.float32(1.5), 10**400])
def test_rate_outside_its_range(name, rate):
    with pytest.raises(ValueError, match=rf"^{name}: rate must be in \[0, 1\], got "):
        RATED[name][0](new_key(), X, rate)
    if isinstance(rate, float):
        with pytest.raises(ValueError, match=f"{name}: rate must be in .*{rate}"):
            RATED[name][0](new_key(), X, jnp.float32(rate))


@pytest.mark.parametrize("name", RATED)
def test_rate_one(name):
    noise, finite = RATED[name]
    if finite:
        assert np.isfinite(noise(new_key(), X, 1)).all()
    else:
        with pytest.raises(
            ValueError, match=rf"^{name}: rate must be in \[0, 1\), got 1"
        ):
            noise(new_key(), X, 1.0)


@pytest.mark.parametrize("name", SCALED)
@pytest.mark.parametrize("amount", [-0.1, NAN, float("inf"), np.float32(-1)])
def test_magnitude_outside_its_range(name, amount):
    which = "stddev" if name == "gaussian_noise" else "scale"
    with pytest.raises(
        ValueError, match=rf"^{name}: {which} must be finite and at least"
    ):
        ALL[name](new_key(), X, amount)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    "amount", ["0.5", None, 1j, True, np.complex64(1j), np.bool_(True), jnp.array(True)]
)
def test_amount_that_is_not_a_real_number(name, amount):
    with pytest.raises(TypeError, match=rf"^{name}: \w+ must be a real number, got"):
        ALL[name](new_key(), X, amount)


@pytest.mark.parametrize("name", ALL)
def test_amount_that_is_not_a_scalar(name):
    for amount in (jnp.array([0.5, 0.5]), np.array([0.5])):
        with pytest.raises(
            ValueError, match=rf"^{name}: \w+ must be a scalar.*jax.vmap"
        ):
            ALL[name](new_key(), X, amount)
    with pytest.raises(ValueError, match=rf"^{name}: \w+ must be a scalar.*jax.vmap"):
        jax.jit(ALL[name])(new_key(), X, jnp.array([0.5, 0.5]))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("amount", [0.0, 0.5])
@pytest.mark.parametrize("dtype", [jnp.int32, jnp.bool_, jnp.uint8])
def test_input_that_is_not_floating(name, amount, dtype):
    with pytest.raises(TypeError, match=rf"^{name}: x must have a floating.*astype"):
        ALL[name](new_key(), X.astype(dtype), amount)


@pytest.mark.parametrize(
    "name", ["alpha_dropout", "feature_alpha_dropout", "uniform_noise", "laplace_noise"]
)
def test_complex_input_where_it_means_nothing(name):
    with pytest.raises(
        TypeError, match=rf"^{name}: x must have a floating dtype, got co"
    ):
        ALL[name](new_key(), X.astype(jnp.complex64), 0.5)


@pytest.mark.parametrize("name", [*ALL, "dropout_mask"])
def test_key(name):
    noise = ALL.get(name, lambda k, x, r: jn.dropout_mask(k, x.shape, r))
    for bad in (0, None, 1.5, "key", np.uint32(7)):
        with pytest.raises(TypeError, match=rf"^{name}: key must be a PRNG key, got"):
            noise(bad, X, 0.5)
    with pytest.raises(TypeError, match=rf"^{name}: key must be.*dtype float32"):
        noise(jnp.zeros(2), X, 0.5)
    with pytest.raises(ValueError, match=rf"^{name}: key must be a single key.*vmap"):
        noise(jax.random.split(new_key(), 3), X, 0.5)
    with pytest.raises(ValueError, match=rf"^{name}: key must be a single key.*vmap"):
        noise(jnp.zeros((3, 2), jnp.uint32), X, 0.5)
    with pytest.raises(
        ValueError, match=rf"^{name}: key must be.*\(4,\).*default PRNG"
    ):
        noise(jnp.zeros(4, jnp.uint32), X, 0.5)


def test_legacy_and_numpy_keys_are_taken():
    data = np.asarray(jax.random.key_data(new_key()))
    expected = jn.dropout(jax.random.clone(new_key()), X, 0.5)
    np.testing.assert_array_equal(jn.dropout(jnp.asarray(data), X, 0.5), expected)
    np.testing.assert_array_equal(jn.dropout(data, X, 0.5), expected)


def test_numpy_and_python_inputs_are_taken():
    for x in (np.ones(3, np.float32), 1.0):
        assert isinstance(jn.dropout(new_key(), x, 0.0), jax.Array)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: jn.embedding_dropout(new_key(), jnp.ones((2, 5, 8)), 0.5),
            ValueError,
            r"embedding_dropout: table must be .*got shape \(2, 5, 8\).*look them up",
        ),
        (
            lambda: jn.embedding_dropout(new_key(), jnp.ones(5), 0.5),
            ValueError,
            r"embedding_dropout: table must be \(vocabulary, features\), got shape",
        ),
        (
            lambda: jn.salt_and_pepper(new_key(), X, 5),
            ValueError,
            r"salt_and_pepper: rate must be .*got 5.0. It is a probability: 5 % is 0.0",
        ),
        (
            lambda: schedules.depth_rates(12, 0.1),
            ValueError,
            r"depth_rates: rate must be in .* got 12.0. The rate comes first, then",
        ),
        (
            lambda: jn.dropout(new_key(), {"kernel": X}, 0.5),
            TypeError,
            r"dropout: x must be an array, got \{.*\} of type dict. .*jaxnoise.tree",
        ),
        (
            lambda: jn.dropout(new_key(), X, schedules.late_dropout(0.5, 10)),
            TypeError,
            r"dropout: rate must be a real .*schedule, call it: rate=schedule\(step\)",
        ),
        (
            lambda: jax.vmap(jn.dropout)(jax.random.split(new_key(), 2), X, 0.5),
            ValueError,
            "rank",  # of JAX, before our function is called: see the docs of dropout
        ),
        (
            lambda: jn.dropout(jax.random.split(new_key(), 2), X, 0.5),
            ValueError,
            "dropout: key must be a single key, .*jax.vmap.*in_axes=None for a rate",
        ),
        (
            lambda: jn.dropout(new_key(), X, 0.5, broadcast_dims=(3,)),
            ValueError,
            r"dropout: broadcast_dims must be in \[-3, 3\).*got \(3,\)",
        ),
        (
            lambda: jn.dropout(new_key(), X, 0.5, broadcast_dims=(1, -2)),
            ValueError,
            r"dropout: broadcast_dims must not repeat a dim",
        ),
        (
            lambda: jn.dropout(new_key(), X, 0.5, broadcast_dims=(1.0,)),
            TypeError,
            r"dropout: broadcast_dims must be an integer, got 1.0",
        ),
        (
            lambda: jn.dropout_mask(new_key(), (2, -1), 0.5),
            ValueError,
            r"dropout_mask: shape must not be negative",
        ),
        (
            lambda: jn.dropout_mask(new_key(), (2, 1.5), 0.5),
            TypeError,
            r"dropout_mask: shape must be an integer, got 1.5",
        ),
        (
            lambda: jn.apply_mask(X, jnp.ones((2, 4, 4), bool), 0.5),
            ValueError,
            r"apply_mask: mask must broadcast to x of shape \(2, 4, 3\), got shape",
        ),
        (
            lambda: jn.apply_mask(X, jnp.ones((5, 2, 4, 3), bool), 0.5),
            ValueError,
            r"apply_mask: mask must broadcast to x",
        ),
        (
            lambda: jn.apply_mask(X, jnp.ones((2, 4, 3)), 0.5),
            TypeError,
            r"apply_mask: mask must have dtype bool.*got float32",
        ),
        (
            lambda: jn.spatial_dropout(new_key(), jnp.ones((2, 3)), 0.5),
            ValueError,
            r"spatial_dropout: x must have spatial dims.*\(2, 3\).*batch_dims=0",
        ),
        (
            lambda: jn.spatial_dropout(new_key(), X, 0.5, channel_axis=0),
            ValueError,
            r"spatial_dropout: channel_axis must not be one of the 1 leading.*got 0",
        ),
        (
            lambda: jn.spatial_dropout(new_key(), X, 0.5, channel_axis=3),
            ValueError,
            r"spatial_dropout: channel_axis must be in \[-3, 3\)",
        ),
        (
            lambda: jn.spatial_dropout(new_key(), X, 0.5, batch_dims=3),
            ValueError,
            r"spatial_dropout: batch_dims must be in \[0, 3\).*got 3",
        ),
        (
            lambda: jn.drop_path(new_key(), X, 0.5, batch_dims=4),
            ValueError,
            r"drop_path: batch_dims must be in \[0, 3\].*got 4",
        ),
        (
            lambda: jn.drop_block(new_key(), X, 0.5, 5),
            ValueError,
            r"drop_block: block_size must be in \[1, 4\].*got 5",
        ),
        (
            lambda: jn.drop_block(new_key(), X, 0.5, 0),
            ValueError,
            r"drop_block: block_size must be in \[1, 4\].*got 0",
        ),
        (
            lambda: jn.drop_block(new_key(), X, 0.5, 2.5),
            TypeError,
            r"drop_block: block_size must be an integer, got 2.5",
        ),
        (
            lambda: jn.drop_block(new_key(), jnp.ones((1, 2, 2, 2, 2, 2)), 0.5, 2),
            ValueError,
            r"drop_block: x must have 1 to 3 spatial dims, got 4",
        ),
    ],
)
def test_other_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()


STATIC = {
    "dropout: bits": lambda n: jn.dropout(new_key(), X, 0.5, bits=n),
    "dropout: broadcast_dims": lambda n: jn.dropout(
        new_key(), X, 0.5, broadcast_dims=(n,)
    ),
    "dropout_mask: shape": lambda n: jn.dropout_mask(new_key(), (n, 2), 0.5),
    "spatial_dropout: channel_axis": lambda n: jn.spatial_dropout(
        new_key(), X, 0.5, channel_axis=n
    ),
    "drop_path: batch_dims": lambda n: jn.drop_path(new_key(), X, 0.5, batch_dims=n),
    "drop_block: block_size": lambda n: jn.drop_block(new_key(), X, 0.5, n),
    "token_dropout: mask_id": lambda n: jn.token_dropout(
        new_key(), jnp.ones(3, int), 0.5, n
    ),
    "predict: n": lambda n: mc.predict(jax.random.normal, new_key(), n),
}


@pytest.mark.parametrize("name", STATIC)
def test_a_traced_integer_says_how_to_make_it_static(name):
    function, argument = name.split(": ")
    with pytest.raises(
        TypeError,
        match=rf"^{name} must be known .* got a traced int32\[\].*"
        rf"jax.jit\({function}, static_argnames='{argument}'\).*functools.partial",
    ):
        jax.jit(STATIC[name])(3)


def test_a_tree_in_the_place_of_a_rate_or_a_key_is_not_printed():
    params = {f"layer_{i}": {"kernel": X} for i in range(100)}
    for call in (
        lambda: tree.dropconnect(params, new_key(), 0.5),
        lambda: tree.dropconnect(new_key(), 0.5, params),
    ):
        with pytest.raises(TypeError, match=r"^tree.dropconnect: \w+ must be") as found:
            call()
        assert len(str(found.value)) < 300 and "rray(" not in str(found.value)


@pytest.mark.parametrize("sign", [1, -1])
def test_an_integer_beyond_the_floats_is_an_infinity_of_its_sign(sign):
    with pytest.raises(ValueError, match=f"got {sign * float('inf')}"):
        jn.gaussian_noise(jax.random.key(0), X, sign * 10**400)


def test_an_amount_has_the_range_of_the_noise():
    with jax.enable_x64(True):
        x = jnp.zeros(4, np.float64)
        assert np.isfinite(jn.gaussian_noise(jax.random.key(0), x, 1e39)).all()
    with pytest.raises(ValueError, match=r"finite in float32.*got 1e\+39"):
        jn.gaussian_noise(jax.random.key(0), X, 1e39)


def test_an_amount_that_is_an_array_is_known_in_a_trace():
    """As the rate of a layer may be, which is called under `jax.jit`."""
    arrays = (jnp.float32(0.5), np.float32(0.5), np.array(0.5))

    @jax.jit
    def known(rate):
        found = [(_check.known(a, 0.5), _check.known(a, 0)) for a in arrays]
        assert found == [(True, False)] * 3
        return _check.known(rate, 0.5)

    assert not known(0.5)


@pytest.mark.parametrize("number", [0, -1, float("inf"), float("nan")])
def test_what_must_be_positive_and_finite(number):
    with pytest.raises(ValueError, match="f: a must be finite and above 0, got"):
        _check.positive("f", "a", number)
    assert _check.positive("f", "a", 0.5) == 0.5
