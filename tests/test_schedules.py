"""Schedules against NumPy in float64, and what they promise under jit."""

import math
import subprocess
import sys

import jax
import numpy as np
import optax
import pytest

import jaxnoise as jn
from jaxnoise import schedules

STEPS = np.array([0, 1, 7, 99, 100, 101, 250, 10**6])

FAMILY = {
    "curriculum_dropout": schedules.curriculum_dropout(0.4, 100),
    "early_dropout": schedules.early_dropout(0.4, 100),
    "early_dropout, constant": schedules.early_dropout(0.4, 100, linear=False),
    "late_dropout": schedules.late_dropout(0.4, 100),
}

LAWS = {
    "curriculum_dropout": lambda t: 0.4 * (1 - np.exp(-10 * t / 100)),
    "early_dropout": lambda t: np.where(t < 100, 0.4 * (1 - t / 100), 0),
    "early_dropout, constant": lambda t: np.where(t < 100, 0.4, 0),
    "late_dropout": lambda t: np.where(t < 100, 0, 0.4),
}

JOINED = optax.join_schedules(
    [FAMILY["curriculum_dropout"], optax.constant_schedule(0.4)], [100]
)


@jax.jit
def every(steps):
    """All schedules at once: one compilation for each dtype of the steps."""
    return {name: schedule(steps) for name, schedule in FAMILY.items()}


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.float32])
def test_schedules_are_their_laws(dtype):
    for name, found in every(STEPS.astype(dtype)).items():
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, LAWS[name](STEPS), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", FAMILY)
def test_a_schedule_takes_a_python_number(name):
    found = FAMILY[name](7)
    assert found.dtype == np.float32 and found.shape == ()
    np.testing.assert_allclose(found, LAWS[name](7), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.int8, np.float16])
def test_types_of_steps_that_cannot_count_so_far(dtype):
    steps = np.array([0, 1, 7], dtype)
    found = jax.jit(schedules.early_dropout(0.4, 10**5))(steps)
    np.testing.assert_allclose(found, 0.4 * (1 - np.float64(steps) / 10**5), rtol=1e-6)
    late = jax.jit(schedules.late_dropout(0.4, 10**5))(steps)
    assert found.dtype == late.dtype == np.float32 and not np.asarray(late).any()


def test_x64_changes_nothing():
    with jax.enable_x64(True):
        for name, found in every(STEPS.astype(np.int64)).items():
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, LAWS[name](STEPS), rtol=1e-6, atol=1e-8)


def test_ends_are_exact():
    rate = np.float32(0.4)
    before = every(np.array([-(2**31), -9, -5, -4, -3, -2, -1, 0], np.int32))
    after = every(np.array([100, 101, 10**3, 10**4, 10**5, 10**6, 10**9, 2**31 - 1]))
    assert not before["curriculum_dropout"].any()
    assert (np.asarray(after["curriculum_dropout"])[2:] == rate).all()
    assert not before["late_dropout"].any()
    assert (np.asarray(after["late_dropout"]) == rate).all()
    for name in ("early_dropout", "early_dropout, constant"):
        assert (np.asarray(before[name]) == rate).all()
        assert not after[name].any()


def test_cuts_beyond_2_24_where_float32_cannot_tell_one_step_from_the_next():
    cut = 2**24 + 1

    @jax.jit
    def both(steps):
        early = schedules.early_dropout(1, cut, linear=False)
        return schedules.late_dropout(1, cut)(steps), early(steps)

    late, early = both(np.array([cut - 2, cut - 1, cut, cut + 1]))
    np.testing.assert_array_equal(late, [0, 0, 1, 1])
    np.testing.assert_array_equal(early, [1, 1, 0, 0])


def test_small_steps_of_a_long_curriculum_keep_their_digits():
    schedule = schedules.curriculum_dropout(0.5, 10**9)
    np.testing.assert_allclose(schedule(1), 0.5 * -math.expm1(-1e-8), rtol=1e-6)


def test_linear_early_dropout_is_that_of_optax():
    theirs = jax.jit(optax.linear_schedule(0.4, 0.0, 100))(STEPS)
    ours = every(STEPS)["early_dropout"]
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("schedule", "law"),
    [
        *((FAMILY[name], LAWS[name]) for name in FAMILY if "," not in name),
        (optax.linear_schedule(0.4, 0.0, 100), LAWS["early_dropout"]),
        (JOINED, lambda t: 0.4 if t >= 100 else LAWS["curriculum_dropout"](t)),
    ],
    ids=["curriculum", "early", "late", "optax", "joined by optax"],
)
def test_a_jitted_step_compiles_once(schedule, law):
    traces = []

    @jax.jit
    def train_step(x, key, step):
        traces.append(step)
        rate = schedule(step)
        return jn.dropout(key, x, rate), rate, schedules.depth_rates(rate, 3)

    x = np.ones((64, 64), np.float32)
    for step in (0, 50, 100, 5000):
        y, rate, rates = train_step(x, jax.random.key(0), step)
        np.testing.assert_allclose(rate, law(step), rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(rates, [0, rate / 2, rate], rtol=1e-6)
        # .04 is five standard deviations of the mean of 4096 coins
        assert abs(np.mean(np.asarray(y) == 0) - law(step)) < 0.04
    assert len(traces) == 1 and train_step._cache_size() == 1


def test_a_traced_rate_and_any_amount():
    found = jax.jit(lambda rate, t: schedules.early_dropout(rate, 10)(t))(0.5, 5)
    assert found == 0.25
    assert 2 * float(schedules.late_dropout(1.0, 3)(3)) == 2.0


@pytest.mark.parametrize("depth", [1, 2, 3, 7, 12, 49])
def test_depth_rates(depth):
    for rate in (0.0, 0.1, 0.3, np.float64(0.7), 1):
        found = schedules.depth_rates(rate, depth)
        assert isinstance(found, tuple) and {type(r) for r in found} == {float}
        # timm, ConvNeXt: numpy.linspace(0, rate, depth)
        np.testing.assert_allclose(found, np.linspace(0, rate, depth), rtol=1e-12)
        assert found[0] == 0 and (depth == 1 or found[-1] == rate)
        # the paper: survival 1 - l / L (1 - p_L), l = 1 ... L
        found = schedules.depth_rates(rate, depth, first_zero=False)
        survival = 1 - np.arange(1, depth + 1) / depth * (1 - (1 - rate))
        np.testing.assert_allclose(found, 1 - survival, rtol=1e-12, atol=1e-15)
        assert found[-1] == rate and len(found) == depth


@pytest.mark.parametrize("name", [name for name in FAMILY if "," not in name])
def test_bad_arguments(name):
    make = getattr(schedules, name)
    for args, error, match in (
        ((1.5, 10), ValueError, r"rate must be in \[0, 1\], got 1.5"),
        ((math.nan, 10), ValueError, r"rate must be in \[0, 1\]"),
        (("a", 10), TypeError, "rate must be a real number"),
        ((0.5, 0), ValueError, "steps must be at least 1, got 0"),
        ((0.5, 1e3), TypeError, "steps must be an integer, got 1000.0"),
        ((0.5, 2**31), ValueError, r"steps must be below 2\^31"),
    ):
        with pytest.raises(error, match=f"{name}: {match}"):
            make(*args)
    for step in (True, 1j):
        with pytest.raises(TypeError, match=f"{name}: step must be an integer or a"):
            make(0.5, 10)(step)


def test_bad_depth():
    with pytest.raises(ValueError, match="depth_rates: depth must be at least 1"):
        schedules.depth_rates(0.1, 0)
    with pytest.raises(TypeError, match="depth_rates: depth must be an integer"):
        schedules.depth_rates(0.1, 2.0)
    with pytest.raises(ValueError, match=r"depth_rates: rate must be in \[0, 1\]"):
        schedules.depth_rates(-0.1, 2)


RAMP = optax.linear_schedule(0.0, 0.4, 50)


def ramp(t):
    return 0.4 * np.clip(t / 50, 0, 1)


@pytest.mark.parametrize(
    ("schedule", "law"),
    [
        (
            schedules.curriculum_dropout(RAMP, 100),
            lambda t: ramp(t) * (1 - np.exp(-10 * t / 100)),
        ),
        (
            schedules.early_dropout(RAMP, 100),
            lambda t: np.where(t < 100, ramp(t) * (1 - t / 100), 0),
        ),
        (
            schedules.early_dropout(RAMP, 100, linear=False),
            lambda t: np.where(t < 100, ramp(t), 0),
        ),
        # it begins where the noise does, as in optax.join_schedules
        (schedules.late_dropout(RAMP, 100), lambda t: ramp(t - 100)),
    ],
    ids=["curriculum", "early", "early, constant", "late"],
)
def test_a_schedule_of_optax_in_the_place_of_the_rate(schedule, law):
    found = jax.jit(schedule)(STEPS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, law(STEPS), rtol=1e-5, atol=1e-7)
    joined = optax.join_schedules([schedule, optax.constant_schedule(0.3)], [200])
    np.testing.assert_allclose(joined(150), law(150), rtol=1e-5)
    assert joined(200) == np.float32(0.3)
    with jax.enable_x64(True):
        assert schedule(7).dtype == np.float32


def test_what_an_import_brings():
    code = (
        "import sys, jaxnoise.mc\n"
        "print([m for m in ('flax', 'chex', 'optax') if m in sys.modules])\n"
        "import jaxnoise.schedules\n"
        "print('flax' in sys.modules)"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.split("\n") == ["[]", "False", ""]
