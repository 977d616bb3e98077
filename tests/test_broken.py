"""Each law can fail: broken noise functions, each rejected by its law."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.custom_batching import custom_vmap
from jax.sharding import NamedSharding, PartitionSpec

import jaxnoise as jn
from jaxnoise._core import _check, _mask, _precision, _random, _sharding
from jaxnoise.testing import LAWS, LawError, check_noise


def checked(noise):
    """The checks and short-cuts of `dropout` around a broken inside."""

    @functools.wraps(noise)
    def f(key, x, amount):
        key = _check.key("f", key)
        x = _check.floating("f", x)
        known_zero = _check.known(_check.rate("f", amount), 0)
        return x if known_zero else noise(key, x, jnp.float32(amount))

    return f


def drawn(key, threshold, shape, sharding=None):
    return _mask.keep_mask(key, threshold, _mask.Coins(shape, sharding=sharding))


def masked(key, x, rate, draw=drawn):
    """A right dropout whose parts the broken ones exchange."""
    threshold, keep = _mask.keep_threshold(rate, _precision.wide_dtype(x))
    mask = draw(key, threshold, x.shape, _sharding.like(x, x.shape))
    return _mask.scale_kept(mask, x, keep)


right = checked(_random.redrawn(masked))


@checked
def promotes_bfloat16(key, x, rate):
    return right(key, x.astype(jnp.float32), rate)


@checked
@_random.redrawn
def scales_in_low_precision(key, x, rate):
    threshold, _ = _mask.keep_threshold(rate, np.dtype(np.float32))
    sharding = _sharding.like(x, x.shape)
    mask = drawn(key, threshold, x.shape, sharding)
    keep = (1 - _check.unit_interval(rate)).astype(x.dtype)
    return jnp.where(mask, x / jnp.where(keep > 0, keep, 1), jnp.zeros((), x.dtype))


@checked
@jax.checkpoint
def ignores_the_mesh(key, x, rate):
    threshold, keep = _mask.keep_threshold(rate, _precision.wide_dtype(x))
    mask = drawn(key, threshold, x.shape)
    scaled = (x.astype(jnp.float32) / jnp.where(keep > 0, keep, 1)).astype(x.dtype)
    return lax.select(mask, scaled, jnp.zeros_like(x))


@checked
def differs_under_jit(key, x, rate):
    traced = isinstance(x, jax.core.Tracer)
    return right(jax.random.fold_in(key, 1) if traced else key, x, rate)


@checked
def ignores_the_key(key, x, rate):
    return right(jax.random.key(3), x, rate)


def draws_in_the_mode_of_x64(key, x, amount):
    key, x = _check.key("f", key), _check.floating("f", x)
    amount = _check.rate("f", amount)
    if not isinstance(amount, float) or amount in (0, 1):
        return right(key, x, amount)

    def draw(key, threshold, shape, sharding):
        return jax.random.bernoulli(key, 1 - amount, shape, out_sharding=sharding)

    noise = jax.checkpoint(functools.partial(masked, draw=draw))
    return noise(key, x, np.float32(amount))


@custom_vmap
def _scalar_bits(key_data):
    return jax.random.key_data(
        jax.random.fold_in(jax.random.wrap_key_data(key_data), 1)
    )


@_scalar_bits.def_vmap
def _first_of_the_batch(axis_size, in_batched, key_data):
    return jnp.broadcast_to(_scalar_bits(key_data[0]), key_data.shape), True


@checked
def batches_with_the_first_key(key, x, rate):
    data = _scalar_bits(jax.random.key_data(key))
    return right(jax.random.wrap_key_data(data), x, rate)


def is_never_off(key, x, amount):
    y = right(key, x, amount)
    traced = isinstance(amount, jax.core.Tracer)
    return y if traced or amount else jnp.nextafter(y, jnp.ones_like(y))


def compiles_for_each_amount(key, x, amount):
    amount = _check.rate("f", amount)
    if not isinstance(amount, float) or amount in (0, 1):
        return right(key, x, amount)
    key, x = _check.key("f", key), _check.floating("f", x)
    return jax.jit(lambda key, x: right(key, x, np.float32(amount)))(key, x)


def takes_any_rate(key, x, amount):
    if isinstance(amount, float) and not 0 <= amount <= 1:
        return x
    return right(key, x, amount)


@checked
@_random.redrawn
def is_biased(key, x, rate):
    threshold, keep = _mask.keep_threshold(rate, _precision.wide_dtype(x))
    sharding = _sharding.like(x, x.shape)
    mask = drawn(key, threshold, x.shape, sharding)
    return _mask.scale_kept(mask, x, jnp.where(keep < 1, keep * 0.95, keep))


@checked
@_random.redrawn
def shares_rows(key, x, rate):
    def draw(key, threshold, shape, sharding):
        if sharding is None:
            along = None
        else:
            along = NamedSharding(sharding.mesh, PartitionSpec(*sharding.spec[1:]))
        row = drawn(key, threshold, shape[1:], along)
        return jnp.broadcast_to(row, shape, out_sharding=sharding)

    return masked(key, x, rate, draw)


@checked
@_random.redrawn
def divides_by_zero(key, x, rate):
    threshold, keep = _mask.keep_threshold(rate, _precision.wide_dtype(x))
    sharding = _sharding.like(x, x.shape)
    mask = drawn(key, threshold, x.shape, sharding)
    scaled = _precision.in_wide(lambda real: real / keep, x)
    return jnp.where(mask, scaled, jnp.zeros((), x.dtype))


@checked
@jax.jit
def keeps_zeros_too(key, x, rate):
    """The select keeps the mask and, in float32, what it puts where x is dropped."""
    return masked(key, x, rate)


@checked
@_random.redrawn
def multiplies_by_the_mask(key, x, rate):
    threshold, keep = _mask.keep_threshold(rate, _precision.wide_dtype(x))
    sharding = _sharding.like(x, x.shape)
    mask = drawn(key, threshold, x.shape, sharding)
    divisor = jnp.where(keep > 0, keep, 1)
    # through int8, lest the compiler make a select of the product
    factor = lax.optimization_barrier(mask.astype(np.int8)).astype(np.float32)
    return _precision.in_wide(lambda real: real / divisor * factor, x)


@checked
@_random.redrawn
def runs_on_cpu_only(key, x, rate):
    def draw(key, threshold, shape, sharding):
        return lax.platform_dependent(
            key, cpu=lambda key: drawn(key, threshold, shape, sharding)
        )

    return masked(key, x, rate, draw)


BROKEN = {
    "shape": promotes_bfloat16,
    "precision": scales_in_low_precision,
    "sharding": ignores_the_mesh,
    "repeats": differs_under_jit,
    "key": ignores_the_key,
    "x64": draws_in_the_mode_of_x64,
    "batching": batches_with_the_first_key,
    "off": is_never_off,
    "traced": compiles_for_each_amount,
    "errors": takes_any_rate,
    "moments": is_biased,
    "independence": shares_rows,
    "gradients": divides_by_zero,
    "residuals": keeps_zeros_too,
    "selection": multiplies_by_the_mask,
    "lowering": runs_on_cpu_only,
}
PROMISES = {
    "mean": lambda x, rate: x,
    "variance": lambda x, rate: x**2 * rate / (1 - rate),
    "dropped": lambda rate: 0.0,
}


def test_every_law_has_a_broken_function():
    assert set(BROKEN) == set(LAWS)


def test_right_function_is_accepted():
    """The frame of the broken functions breaks nothing itself."""
    assert check_noise(right, **PROMISES).broken == []


@pytest.mark.parametrize("law", BROKEN)
def test_broken_function_is_rejected_by_its_law(law):
    report = check_noise(BROKEN[law], laws=[law], raises=False, **PROMISES)
    assert report.broken, report


def test_the_error_names_law_case_and_numbers():
    with pytest.raises(LawError, match=r"moments law, is_biased: .* mean 1\.57"):
        check_noise(is_biased, laws=["moments"], **PROMISES)


def test_dropout_of_jaxnoise_is_accepted():
    assert not check_noise(jn.dropout, laws=["moments", "key"], **PROMISES).broken
