"""dropout, dropout_mask, apply_mask and the alpha family against exact oracles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from data import bernoulli, normal

import jaxnoise as jn
from jaxnoise._core import _mask, _random

RATES = (0.1, 0.33, 0.5, 0.7, 0.9, 0.99)
KEY = 11


@pytest.fixture
def key():
    return jax.random.key(KEY)


def again(key):
    """The same key a second time, on purpose."""
    return jax.random.clone(key)


@pytest.mark.parametrize("rate", RATES)
def test_mask_is_that_of_bernoulli(key, rate):
    expected = jax.random.bernoulli(again(key), np.float32(1 - rate), (50, 40))
    np.testing.assert_array_equal(jn.dropout_mask(key, (50, 40), rate), expected)


@pytest.mark.parametrize("rate", RATES)
def test_dropout_is_its_two_halves(key, rate):
    x = normal(5, 30, 7)
    mask = jn.dropout_mask(again(key), x.shape, rate)
    np.testing.assert_array_equal(
        jn.dropout(key, x, rate), jn.apply_mask(x, mask, rate)
    )
    scale = np.float32(1) / np.float32(1 - rate)
    np.testing.assert_array_equal(
        jn.dropout(again(key), x, rate), np.where(mask, np.asarray(x) * scale, 0)
    )


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (0,), (3, 0, 2), (7,), (2, 1, 3)])
def test_any_shape(key, shape):
    x = jnp.ones(shape)
    mask = bernoulli(key, 0.5, shape)
    np.testing.assert_array_equal(jn.dropout(key, x, 0.5), np.where(mask, 2.0, 0.0))


@pytest.mark.parametrize("impl", ["rbg", "unsafe_rbg"])
def test_other_key_implementations_fall_back_to_jax(impl):
    key = jax.random.key(3, impl=impl)
    expected = jax.random.bernoulli(again(key), np.float32(0.7), (8, 9))
    np.testing.assert_array_equal(jn.dropout_mask(key, (8, 9), 0.3), expected)


def test_original_threefry_layout_falls_back_to_jax(key):
    with jax.threefry_partitionable(False):
        expected = jax.random.bernoulli(again(key), np.float32(0.7), (8, 9))
        mask = jn.dropout_mask(key, (8, 9), 0.3)
    np.testing.assert_array_equal(mask, expected)


def test_unrolled_threefry_is_in_the_cpu_program(key):
    """The oracles above would also hold if everything fell back to jax.random."""
    text = jax.jit(lambda k: _random.random_bits(k, (64, 64))).lower(key).as_text()
    assert "stablehlo.while" not in text
    theirs = jax.jit(lambda k: jax.random.bits(k, (64, 64))).lower(key).as_text()
    assert "stablehlo.while" in theirs


def test_known_and_traced_rates_differ_by_one_step_of_the_grid_at_most():
    def threshold(rate):
        return _mask.keep_threshold(rate, np.dtype(np.float32))[0]

    split, of_traced = [], jax.jit(threshold)
    for percent in range(1, 100):
        rate = percent / 100
        known, traced = threshold(rate), of_traced(np.float32(rate))
        assert abs(int(known) - int(traced)) <= 1
        if int(known) != int(traced):
            split.append(percent)
    assert split == [9, 33, 34, 46, 60, 72, 73, 85, 86, 97, 98, 99]


def test_scale_is_that_of_the_grid_where_the_grid_is_coarse(key):
    """At rate 1 - 1e-6 the grid keeps 9 in 2^23, 7% more than 1e-6."""
    x = jnp.ones(4)
    for rate in (1 - 1e-6, np.float32(1 - 1e-6), 1 - 1e-9):
        threshold, keep = _mask.keep_threshold(float(rate), np.dtype(np.float32))
        assert keep == np.float32(int(threshold) / 2**23)
    y = jn.apply_mask(x, jnp.ones(4, bool), 1 - 1e-6)
    np.testing.assert_allclose(y, 2**23 / 9, rtol=1e-6)
    traced = jax.jit(jn.apply_mask)(x, jnp.ones(4, bool), np.float32(1 - 1e-6))
    threshold = np.ceil((1 - np.float64(np.float32(1 - 1e-6))) * 2**23)
    np.testing.assert_allclose(traced, 2**23 / threshold, rtol=1e-6)


@pytest.mark.parametrize("one", [1, 1.0, np.float32(1), np.int64(1)])
def test_rate_one_is_zero_with_zero_gradient(key, one):
    x = normal(5, 3, 4)
    value, gradient = jax.value_and_grad(lambda x: jn.dropout(key, x, one).sum())(x)
    assert value == 0 and not gradient.any()


def test_traced_rates_at_the_ends_are_exact(key):
    x = normal(5, 3, 4)

    @jax.jit
    def both(rate):
        return jax.value_and_grad(lambda x: jn.dropout(again(key), x, rate).sum())(x)

    value, gradient = both(np.float32(1))
    assert value == 0 and not gradient.any()
    value, gradient = both(np.float32(0))
    np.testing.assert_allclose(value, x.sum(), rtol=1e-6)
    assert (gradient == 1).all()
    # out of range, where a value cannot be checked: clipped
    assert both(np.float32(1.5))[0] == 0
    np.testing.assert_allclose(both(np.float32(-0.5))[0], x.sum(), rtol=1e-6)


def test_complex_numbers_are_dropped_whole(key):
    x = jax.lax.complex(normal(5, 200), normal(5, 200) + 1)
    y = np.asarray(jn.dropout(key, x, 0.5))
    assert y.dtype == np.complex64
    mask = np.asarray(jn.dropout_mask(again(key), x.shape, 0.5))
    np.testing.assert_array_equal(y, np.where(mask, 2 * np.asarray(x), 0))


def test_float64_input_is_scaled_in_float64(key):
    with jax.enable_x64(True):
        x = jnp.linspace(0.0, 1.0, 50, dtype=jnp.float64) + 1
        y = np.asarray(jn.dropout(key, x, 0.3))
        mask = np.asarray(jn.dropout_mask(again(key), x.shape, 0.3))
    assert y.dtype == np.float64
    np.testing.assert_allclose(y[mask], (np.linspace(0, 1, 50) + 1)[mask] / 0.7, 1e-15)


@pytest.mark.parametrize("dims", [(0,), (-1,), (0, 2), [1, -1], ()])
def test_broadcast_dims_share_one_draw(key, dims):
    x = jnp.ones((6, 5, 4))
    shape = tuple(1 if d in {i % 3 for i in dims} else n for d, n in enumerate(x.shape))

    @jax.jit
    def both(key):
        options = {"broadcast_dims": dims}
        mask = jn.dropout_mask(again(key), x.shape, 0.5, **options)
        return mask, jn.dropout(key, x, 0.5, **options)

    mask = bernoulli(key, 0.5, shape)
    drawn, y = both(key)
    np.testing.assert_array_equal(drawn, mask)
    np.testing.assert_array_equal(y, np.broadcast_to(np.where(mask, 2.0, 0), x.shape))


def test_first_rows_do_not_depend_on_the_batch_size(key):
    x = jnp.ones((8, 5))
    whole, half = jn.dropout(key, x, 0.5), jn.dropout(again(key), x[:4], 0.5)
    np.testing.assert_array_equal(whole[:4], half)


def test_no_gradient_reaches_a_rate(key):
    """The scale path alone would be biased; the pathwise one of stddev is kept."""
    x = normal(5, 50)
    assert jax.grad(lambda r: jn.dropout(key, x, r).sum())(0.3) == 0
    gradient = jax.grad(lambda s: jn.gaussian_noise(again(key), x, s).sum())(0.3)
    expected = jax.random.normal(again(key), (50,)).sum()
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)


def test_hessian_scan_and_remat_compose(key):
    x = normal(5, 4)

    def loss(x):
        def body(carry, key):
            return jax.checkpoint(lambda c: jn.dropout(key, c, 0.3))(carry) ** 2, None

        out, _ = jax.lax.scan(body, x, jax.random.split(again(key), 2))
        return out.sum()

    hessian = jax.jit(jax.hessian(loss))(x)
    assert np.isfinite(hessian).all()
    np.testing.assert_array_equal(hessian, np.diag(np.diag(hessian)))


def test_shard_map_with_one_key_repeats_and_with_folded_keys_does_not(key):
    mesh = jax.make_mesh((8,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    spec, x = jax.sharding.PartitionSpec("d"), jnp.ones((8, 64))

    def run(fold):
        def shard(x):
            k = again(key)
            k = jax.random.fold_in(k, jax.lax.axis_index("d")) if fold else k
            return jn.dropout(k, x, 0.5)

        call = jax.shard_map(shard, mesh=mesh, in_specs=spec, out_specs=spec)
        return np.asarray(jax.jit(call)(x))

    assert (run(False) == run(False)[:1]).all()
    assert len({row.tobytes() for row in run(True)}) == 8


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_keys_used_twice_are_seen_by_jax(key, bits):
    jn.dropout(key, jnp.ones(3), 0.5, bits=bits)
    with pytest.raises(jax.errors.KeyReuseError):
        jn.dropout(key, jnp.ones(3), 0.5)


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.5])
def test_alpha_dropout_keeps_mean_and_variance_of_standard_data(rate):
    """Over x ~ N(0, 1), y has mean 0 and variance 1: n = 2^20, z = 4.892 as in laws."""
    x = normal(1, 2**20)
    y = np.asarray(jn.alpha_dropout(jax.random.key(2), x, rate), np.float64)
    bound = 4.892 / 2**10
    assert abs(y.mean()) <= bound
    spread = ((y - y.mean()) ** 4).mean() / y.var() ** 2 - 1
    assert abs(y.var() - 1) <= bound * np.sqrt(spread)


def test_alpha_dropout_has_two_values_for_a_constant(key):
    q, floor = 0.5, -1.7580993408473766
    slope = (q * (1 + q * floor**2)) ** -0.5
    y = jn.alpha_dropout(key, jnp.full((100,), 2.0), 0.5)
    shift = -slope * q * floor
    np.testing.assert_allclose(
        np.unique(y), [slope * floor + shift, slope * 2 + shift], rtol=1e-6
    )


def test_feature_alpha_dropout_shares_the_mask_of_a_channel(key):
    x = normal(5, 6, 4, 4, 8)
    y = jn.feature_alpha_dropout(key, x, 0.5)
    slope = (0.5 * (1 + 0.5 * 1.7580993408473766**2)) ** -0.5
    dropped = np.isclose(y, slope * (0.5 - 1) * 1.7580993408473766, rtol=1e-6)
    assert (dropped == dropped[:, :1, :1]).all() and 0 < dropped.mean() < 1


def residuals(function, x):
    """Shapes and dtypes of what the backward pass of `function` keeps."""
    _, pull = jax.vjp(function, x)
    return sorted(str(jax.typeof(leaf)) for leaf in jax.tree.leaves(pull))


def test_an_applied_mask_keeps_the_mask_alone():
    mask = jn.dropout_mask(jax.random.key(0), (8, 4), 0.5)
    kept = residuals(lambda x: jn.apply_mask(x, mask, 0.5), jnp.ones((8, 4)))
    assert kept == ["bool[8,4]"]


@pytest.mark.parametrize(("bits", "kept"), [(32, "bool[8,4]"), (8, "uint8[1,4]")])
def test_the_coins_are_kept_and_a_policy_draws_them_again(bits, kept):
    def layer(x):
        return jnp.sin(jn.dropout(jax.random.key(0), x, 0.5, bits=bits))

    def sizes(function):
        return [shape for shape in residuals(function, x) if shape != "float32[]"]

    x, policies = jnp.ones((8, 4)), jax.checkpoint_policies
    of_sine = "float32[8,4]"
    assert sizes(layer) == sorted([of_sine, kept])
    for policy, expected in (
        (policies.save_only_these_names("jaxnoise_mask"), [of_sine, kept]),
        (policies.dots_saveable, [of_sine]),
        (None, [of_sine]),
    ):
        again = jax.checkpoint(layer, policy=policy)
        assert sizes(again) == sorted(expected)
        np.testing.assert_array_equal(
            jax.grad(lambda x, again=again: again(x).sum())(x),
            jax.grad(lambda x: layer(x).sum())(x),
        )


def test_a_policy_can_keep_the_mask_by_its_name():
    def layer(x):
        mask = jn.dropout_mask(jax.random.key(0), x.shape, 0.5)
        return jnp.sin(jn.apply_mask(x, mask, 0.5))

    x = jnp.ones((8, 4))
    policies = jax.checkpoint_policies
    named = jax.checkpoint(
        layer, policy=policies.save_only_these_names("jaxnoise_mask")
    )
    assert residuals(jax.checkpoint(layer), x) == ["float32[8,4]"]
    assert residuals(named, x) == ["bool[8,4]", "float32[8,4]"]
    np.testing.assert_array_equal(
        jax.grad(lambda x: named(x).sum())(x), jax.grad(lambda x: layer(x).sum())(x)
    )


@pytest.mark.parametrize("keep", [1e-6, 1.1 * 2**-13, 0.9 * 2**-12, 1.1 * 2**-12, 0.3])
def test_below_2_to_the_minus_12_the_scale_is_that_of_the_grid(keep):
    for rate in (1.0 - keep, jnp.float32(1.0 - keep)):
        threshold, probability = _mask.keep_threshold(rate, np.dtype(np.float32))
        realised = float(threshold) / 2**23
        asked = np.float32(1.0 - rate)
        assert probability == np.float32(realised if keep < 2**-12 else asked)


@pytest.mark.parametrize("dims", [(), (0,)])
def test_only_a_mask_that_is_shared_is_kept_in_memory(dims):
    """The wall of a conditional: without one a shared mask is drawn for each reader."""
    program = jax.jit(lambda key, x: jn.dropout(key, x, 0.5, broadcast_dims=dims))
    x = jnp.ones((64, 8))
    text = program.lower(jax.random.key(0), x).compile().as_text()
    assert ("conditional(" in text) is bool(dims)


def test_all_is_dropped_by_one_program_without_a_draw():
    traced = jax.make_jaxpr(lambda key, x: jn.dropout(key, x, 1.0))
    (program,) = traced(jax.random.key(0), jnp.ones((64, 8))).eqns
    assert program.params["name"] == "_dropped"
    assert "random_bits" not in str(program)


@pytest.mark.parametrize("name", ["alpha_dropout", "gaussian_dropout"])
def test_a_traced_rate_stops_below_one(name):
    x = jnp.ones((64, 8))
    y = jax.jit(getattr(jn, name))(jax.random.key(4), x, np.float32(1))
    assert np.isfinite(y).all()
