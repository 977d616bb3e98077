"""The statistics of the battery: right numbers pass, and wrong ones are found."""

import numpy as np
import pytest
from scipy import stats
from units import COLUMNS, FAIR, LEVEL, NORMAL, ROWS, coins, failed, generator, normals

from jaxnoise.testing import _distributions, _p_values


def test_p_values_are_uniform():
    """At most as many below 0.1 as 0.1 allows, at a false-alarm rate of 1e-6."""
    repetitions, below = 300, {}
    law = _distributions.density(stats.norm(0, 1), 2**14)
    for seed in range(repetitions):
        tally = _p_values.Tally(law)
        tally.add(normals(64, 256, seed))
        for finding in tally.findings(LEVEL):
            found = below.setdefault(finding.test, [0, 0])
            found[0] += finding.p < 0.1
            found[1] += finding.p > 0.9
    assert len(below) == 10
    low, high = stats.binom(repetitions, 0.1).ppf([1e-6 / 40, 1 - 1e-6 / 40])
    for test, (small, large) in below.items():
        assert small <= high, test
        if test != "KS":  # over a finite number of edges its p-values are too large
            assert small >= low and low <= large <= high, test


def test_p_values_that_are_known():
    """The exact binomial test on both sides, and the table of Kolmogorov's law."""
    for count in (3, 7):
        exact = stats.binomtest(count, 10, 0.5).pvalue
        assert _p_values.binomial(count, 10, 0.5, LEVEL).p == pytest.approx(exact)
    n, distance = 10**6, 1.3581e-3
    counts = np.array([n / 2 + n * distance, n / 2 - n * distance])
    finding = _p_values.kolmogorov_smirnov(counts, np.array([0.5]), LEVEL)
    assert finding.p == pytest.approx(0.05, rel=1e-3)


def test_what_is_said_to_be_detected_is_detected():
    """Each stated deviation, 20 times over: missed with probability 2e-5."""
    n, rng = 10**6, generator()
    stated = _p_values.binomial(1, n, 0.1, LEVEL).deviation / 100
    for count in rng.binomial(n, 0.1 * (1 + stated), 20):
        assert _p_values.binomial(int(count), n, 0.1, LEVEL).p < LEVEL
    fair = np.full(64, 1 / 64)
    w = _p_values.chi_square(rng.multinomial(n, fair), fair, LEVEL).deviation
    uneven = fair * (1 + w * np.where(np.arange(64) % 2, 1, -1))
    for counts in rng.multinomial(n, uneven, 20):
        assert _p_values.chi_square(counts, fair, LEVEL).p < LEVEL
    below = np.cumsum(fair)[:-1]
    distance = _p_values.kolmogorov_smirnov(n * fair, below, LEVEL).deviation
    tilted = fair + distance / 32 * np.where(np.arange(64) < 32, 1, -1)
    for counts in rng.multinomial(n, tilted, 20):
        assert _p_values.kolmogorov_smirnov(counts, below, LEVEL).p < LEVEL


def test_right_numbers_are_accepted():
    assert failed(FAIR, coins()) == set()
    assert failed(NORMAL, normals()) == set()


def test_a_draw_that_is_nan_is_an_error():
    chunk = normals()
    chunk[3, 4] = np.nan
    with pytest.raises(ValueError, match="a draw is nan"):
        failed(NORMAL, chunk)


@pytest.mark.parametrize(("axis", "name"), [(1, "neighbours"), (0, "rows")])
def test_correlated_neighbours_are_found(axis, name):
    """Every twentieth unit is its neighbour."""
    chunk = coins()
    copied = generator(1).random(chunk.shape) < 0.05
    chunk = np.where(copied, np.roll(chunk, 1, axis), chunk)
    assert failed(FAIR, chunk) == {name}


def test_neighbours_with_a_common_size_are_found():
    """Their signs are independent: only tests of the size can tell."""
    size = abs(normals(columns=COLUMNS // 2)).repeat(2, axis=1)
    sign = np.where(coins(seed=1) > 0, np.float32(1), np.float32(-1))
    found = failed(NORMAL, size * sign)
    assert "size: neighbours" in found
    assert not {"neighbours", "rows"} & found


def test_rows_and_columns_with_something_in_common_are_found():
    """Rates of 0.48 and 0.52 in rows taken at random, and in columns."""
    shift = np.where(generator(1).random(ROWS) < 0.5, 0.48, 0.52)
    draws = generator().random((ROWS, COLUMNS))
    assert "row sums" in failed(FAIR, (draws < shift[:, None]).astype(np.float32))
    shift = np.where(generator(1).random(COLUMNS) < 0.5, 0.45, 0.55)
    assert "column sums" in failed(FAIR, (draws < shift).astype(np.float32))


def test_draws_that_are_too_even_are_found():
    """A chi-square may be too small, too: half of each row dropped, exactly."""
    halves = np.tile(np.float32([0, 1]), (ROWS, COLUMNS // 2))
    chunk = generator().permuted(halves, axis=1)
    assert "row sums" in failed(FAIR, chunk)
