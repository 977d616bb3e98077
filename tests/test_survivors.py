"""What mutation testing found to be seen by no other test of the core."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnoise as jn
from jaxnoise import _check, _integers, _random

X = jnp.ones((64, 8))


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


@pytest.mark.parametrize(
    ("draw", "primitive"),
    [(_random.normal, "erf_inv"), (_random.laplace, "log_plus_one")],
)
def test_quantiles_of_float32_are_polynomials(draw, primitive):
    """The functions of XLA would give the same to rounding, and take twice as long."""

    def program(dtype):
        call = jax.jit(lambda key: draw(key, (4,), np.dtype(dtype)))
        return call.lower(jax.random.key(0)).as_text()

    with jax.enable_x64(True):
        assert primitive not in program(np.float32)
        assert primitive in program(np.float64)


@pytest.mark.parametrize("keep", [1e-6, 1.1 * 2**-13, 0.9 * 2**-12, 1.1 * 2**-12, 0.3])
def test_below_2_to_the_minus_12_the_scale_is_that_of_the_grid(keep):
    for rate in (1.0 - keep, jnp.float32(1.0 - keep)):
        threshold, probability = _random.keep_threshold(rate, np.dtype(np.float32))
        realised = float(threshold) / 2**23
        asked = np.float32(1.0 - rate)
        assert probability == np.float32(realised if keep < 2**-12 else asked)


def test_the_smallest_uniform_number_is_a_small_count():
    """Key 2468 draws a 0 among 1024, 1 in 2^23: there the quantile must be finite."""
    key = jax.random.key(2468)
    assert jax.random.uniform(jax.random.clone(key), (1024,)).min() == 0
    counts = jn.poisson_noise(key, jnp.full(1024, 100.0), 1.0)
    assert counts.min() == 51 and counts.max() < 150


def test_an_id_may_be_the_last_of_its_dtype():
    ids = jnp.arange(8, dtype=np.int8)
    y = jn.token_dropout(jax.random.key(0), ids, 1.0, 127, protected=(-128,))
    assert y.dtype == np.int8 and (y == 127).all()
    with pytest.raises(ValueError, match=r"mask_id must be in \[-128, 127\].*got 128"):
        jn.token_dropout(jax.random.key(0), ids, 1.0, 128)


def test_laplace_variables_of_float64_are_those_of_jax_random():
    with jax.enable_x64(True):
        x = jnp.zeros((64, 8), jnp.float64)
        y = jn.laplace_noise(jax.random.key(1), x, 1.0)
        expected = jax.random.laplace(jax.random.key(1), x.shape, jnp.float64)
        np.testing.assert_allclose(y, expected, rtol=1e-13)


@pytest.mark.parametrize("rate", [0.25, 0.5, 0.75])
def test_gaussian_dropout_has_its_formula_at_a_traced_rate(rate):
    y = jax.jit(jn.gaussian_dropout)(jax.random.key(2), X, np.float32(rate))
    n = jax.random.normal(jax.random.key(2), X.shape)
    expected = 1 + n * np.float32(np.sqrt(rate / (1 - rate)))
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1])
def test_a_seed_given_as_a_key_is_told_the_key(seed):
    with pytest.raises(TypeError, match=rf"with jax\.random\.key\({seed}\)\."):
        jn.dropout(seed, X, 0.5)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_what_is_no_seed_is_told_no_key(seed):
    with pytest.raises(TypeError, match=r"with jax\.random\.key\.$"):
        jn.dropout(seed, X, 0.5)


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63)])
def test_an_integer_has_64_bits(number):
    """The last that has is out of the range of dims; the next is not an integer."""

    def call(number):
        return jn.dropout(jax.random.key(0), X, 0.5, broadcast_dims=(number,))

    with pytest.raises(ValueError, match=r"broadcast_dims must be in \[-2, 2\)"):
        call(number)
    with pytest.raises(ValueError, match="broadcast_dims must be an integer of 64 bit"):
        call(number + (1 if number > 0 else -1))


@pytest.mark.parametrize(
    ("shape", "unrolled"), [((65537, 65535), True), ((65536, 65536), False)]
)
def test_counters_of_one_word_are_for_fewer_than_2_to_the_32_elements(shape, unrolled):
    """More are left to JAX, whose rounds are no part of the program before lowering."""
    program = jax.make_jaxpr(lambda key: _random.random_bits(key, shape))
    assert ("shift_left" in str(program(jax.random.key(0)))) is unrolled


@pytest.mark.parametrize("dims", [(), (0,)])
def test_only_a_mask_that_is_shared_is_kept_in_memory(dims):
    """The wall of a conditional: without one a shared mask is drawn for each reader."""
    program = jax.jit(lambda key, x: jn.dropout(key, x, 0.5, broadcast_dims=dims))
    text = program.lower(jax.random.key(0), X).compile().as_text()
    assert ("conditional(" in text) is bool(dims)


@pytest.mark.parametrize("rate", [0.25, 0.3])
def test_alpha_dropout_of_few_bits_is_that_of_the_realised_rate(rate):
    """A constant has two values: where it is kept, and where not."""
    key, realised = jax.random.key(3), round(256 * rate) / 256
    y = np.unique(jn.alpha_dropout(key, X, rate, bits=8))
    expected = np.unique(jn.alpha_dropout(jax.random.clone(key), X, realised))
    assert len(y) == 2
    np.testing.assert_allclose(y, expected, rtol=1e-6)


def equations(function):
    return jax.make_jaxpr(function)(jax.random.key(0), X[None]).eqns


RATED = ("dropout", "spatial_dropout", "drop_path", "alpha_dropout")
RATED += ("feature_alpha_dropout", "gaussian_dropout", "salt_and_pepper")
SCALED = ("gaussian_noise", "uniform_noise", "laplace_noise", "speckle_noise")
OFF = [(name, (0.0,)) for name in (*RATED, *SCALED)]
OFF += [("drop_block", (0.0, 2))]
OFF += [("real_gaussian_dropout", amounts) for amounts in [(0.0, 1.0), (0.5, 0.0)]]


@pytest.mark.parametrize(("name", "amounts"), OFF)
def test_nothing_is_computed_where_nothing_is_asked_for(name, amounts):
    assert not equations(lambda key, x: getattr(jn, name)(key, x, *amounts))


def test_all_is_dropped_by_one_program_without_a_draw():
    (program,) = equations(lambda key, x: jn.dropout(key, x, 1.0))
    assert program.params["name"] == "_dropped"
    assert "random_bits" not in str(program)


@pytest.mark.parametrize("name", ["alpha_dropout", "gaussian_dropout"])
def test_a_traced_rate_stops_below_one(name):
    y = jax.jit(getattr(jn, name))(jax.random.key(4), X, np.float32(1))
    assert np.isfinite(y).all()


@pytest.mark.parametrize("number", [0, -1, float("inf"), float("nan")])
def test_what_must_be_positive_and_finite(number):
    with pytest.raises(ValueError, match="f: a must be finite and above 0, got"):
        _check.positive("f", "a", number)
    assert _check.positive("f", "a", 0.5) == 0.5


def test_a_number_of_things_starts_at_one():
    with pytest.raises(ValueError, match="f: n must be at least 1, got 0"):
        _integers.count("f", "n", 0)
    assert [_integers.count("f", "n", n) for n in (1, 2)] == [1, 2]


@pytest.mark.parametrize(
    ("shape", "fits"), [((8 * 65535, 65537), True), ((8 * 65536, 65536), False)]
)
def test_blocks_of_few_bits_are_fewer_than_2_to_the_32(shape, fits):
    def draw(key):
        return jn.dropout_mask(key, shape, 0.5, bits=8)

    if fits:
        assert jax.eval_shape(draw, jax.random.key(0)).shape == shape
    else:
        with pytest.raises(ValueError, match=r"bits must be 32 .*\(524288, 65536\)"):
            jax.eval_shape(draw, jax.random.key(0))
