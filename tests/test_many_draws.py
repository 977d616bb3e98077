"""The statistical battery: it accepts right noise, and finds what is broken.

With fewer draws than the battery takes. Where draws are random, tests are at the
false-alarm rate of the battery's own share (`LEVEL`), and keys and seeds are fixed.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from units import COLUMNS, FAIR, LEVEL, NORMAL, ROWS, coins, failed, generator, normals

from jaxnoise._core import _mask
from jaxnoise.testing import CASES, _distributions, _many_draws, _p_values
from jaxnoise.testing import __main__ as command
from jaxnoise.testing._distributions import X

CASE = {case.name: case for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_case_has_a_law_with_its_moments(case):
    """Those of the distribution, or of its cells, within which the law says nothing."""
    for amount in case.amounts:
        law = _distributions.law_of(case, amount, 10**8)
        assert (np.diff(law.edges) > 0).all()
        assert (law.probabilities > 0).all()
        assert law.probabilities.sum() == pytest.approx(1, abs=1e-12)
        assert 0 < law.high < 1
        if case.distribution is not None:
            exact = case.distribution(stats, X, amount)
            assert exact.mean() == pytest.approx(case.mean(X, amount), rel=1e-12)
            assert exact.var() == pytest.approx(case.variance(X, amount), rel=1e-12)
            assert law.edges.size > 4000 and law.density
        elif law.density:
            assert law.edges.size > 4000
            centre = (law.edges[1:] + law.edges[:-1]).astype(np.float64) / 2
            weights = law.probabilities[1:-1]
            mean = (weights * centre).sum()
            variance = (weights * centre**2).sum() - mean**2
            assert mean == pytest.approx(case.mean(X, amount), rel=1e-3)
            assert variance == pytest.approx(case.variance(X, amount), rel=1e-2)


def test_a_case_without_a_law_is_an_error():
    case = dataclasses.replace(CASE["gaussian_noise"], name="new", distribution=None)
    with pytest.raises(ValueError, match="new must have a distribution"):
        _distributions.law_of(case, 0.5, 10**8)


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_keep_probability_is_that_of_the_threshold(bits):
    """Written down twice: the battery is not to believe what it tests."""
    steps = 2 ** (23 if bits == 32 else bits)
    for rate in _many_draws.RATES if bits == 32 else _many_draws.FEW_BITS[bits]:
        threshold, _ = _mask.keep_threshold(rate, np.dtype(np.float32), bits)
        assert int(threshold) / steps == _distributions.keep_probability(rate, bits)


def test_poisson_law_is_off_by_what_the_docstring_says():
    """Exact up to a mean of 10; above, by 5e-5 at most and at the mean of the case."""
    counts = np.arange(1, 35)
    exact = stats.poisson(10).cdf(counts)
    assert (_distributions.poisson_below(10.0, counts) == exact).all()
    for mean in (10.001, X / 0.1):
        error = abs(
            _distributions.poisson_below(mean, counts) - stats.poisson.cdf(counts, mean)
        )
        assert 1e-6 < error.max() < 5e-5


FAMILIES = (
    *("dropout", "dropout, 8 bits", "drop_path", "spatial_dropout", "drop_block"),
    *("alpha_dropout", "gaussian_noise", "real_gaussian_dropout", "laplace_noise"),
    *("salt_and_pepper", "poisson_noise"),
)
DRAWS = 2**18
JOBS = {
    **{name: lambda name=name: case_job(name) for name in FAMILIES},
    "byte": lambda: _many_draws.of_byte(3, DRAWS),
    "small rate": lambda: _many_draws.of_rate(1e-3, DRAWS),
    "large rate, traced": lambda: _many_draws.of_rate(1 - 1e-3, DRAWS, traced=True),
    "few bits": lambda: _many_draws.of_rate(0.1, DRAWS, bits=8),
    **{
        maker: lambda maker=maker: _many_draws.of_keys(
            maker, CASE["dropout"], 0.5, DRAWS
        )
        for maker in _many_draws.KEYS
    },
}


def case_job(name):
    return _many_draws.of_case(CASE[name], CASE[name].amounts[-1], DRAWS)


@pytest.fixture
def reused_keys():
    """A key makes many chunks here, each by a `fold_in`."""
    with jax.debug_key_reuse(False):
        yield


@pytest.mark.usefixtures("reused_keys")
@pytest.mark.parametrize("name", JOBS)
def test_right_noise_is_accepted(name):
    job = JOBS[name]()
    findings = _many_draws.run(job, jax.random.key(1), DRAWS, LEVEL)
    assert len(findings) == job.tests
    for finding in findings:
        assert finding.p > LEVEL, finding


def test_the_plan_has_every_case_and_its_level_is_the_share():
    jobs = list(_many_draws.plan(10**8))
    assert len({job.name for job in jobs}) == len(jobs)
    for case in CASES:
        for amount in case.amounts:
            assert f"{case.name}: {amount}" in [job.name for job in jobs]
    rates = [float(job.law.below[0]) for job in jobs if "32 bits" in job.name]
    assert min(rates) == pytest.approx(1e-6, rel=0.1)
    assert 1 - max(rates) == pytest.approx(1e-6, rel=0.1)


@pytest.mark.usefixtures("reused_keys")
@pytest.mark.parametrize("name", ["dropout", "split", "key", "byte", "few bits"])
def test_every_chunk_is_another_one(name):
    job = JOBS[name]()
    chunks = [np.asarray(job.draw(jax.random.key(0), chunk)) for chunk in range(2)]
    assert (chunks[0] != chunks[1]).mean() > 0.05


@pytest.mark.usefixtures("reused_keys")
def test_a_rate_that_is_one_percent_wrong_is_found():
    wrong, right = (_many_draws.of_rate(rate, 2**21) for rate in (0.505, 0.5))
    wrong = dataclasses.replace(wrong, law=right.law)
    for job, expected in ((right, set()), (wrong, {"fit"})):
        findings = _many_draws.run(job, jax.random.key(0), 2**21, LEVEL)
        assert {f.test for f in findings if f.p < LEVEL} == expected


def test_a_wrong_width_and_a_wrong_shape_are_found():
    assert "fit" in failed(NORMAL, normals() * np.float32(1.05))
    shifted = failed(NORMAL, normals() + np.float32(0.03))
    assert "KS" in shifted
    # right mean and variance, and another law
    flat = (np.sqrt(12) * (generator().random((ROWS, COLUMNS)) - 0.5)).astype(
        np.float32
    )
    assert {"fit", "KS"} <= failed(NORMAL, flat)


@pytest.mark.usefixtures("reused_keys")
def test_a_key_that_is_ignored_is_found():
    """By a function of rows with a key each, and by chunks with a key each."""
    job = _many_draws.of_keys("split", CASE["dropout"], 0.5, DRAWS)

    def first_row(key, chunk):
        return np.broadcast_to(np.asarray(job.draw(key, chunk))[:1], (64, 4096))

    ignored = dataclasses.replace(job, draw=first_row)
    findings = _many_draws.run(ignored, jax.random.key(0), DRAWS, LEVEL)
    assert {"rows", "column sums"} <= {f.test for f in findings if f.p < LEVEL}
    same = coins(rows=16)
    assert "column sums" in failed(FAIR, *[same] * 16)


def run_main(monkeypatch, capsys, jobs, **options):
    monkeypatch.setattr(_many_draws, "plan", lambda draws: iter(jobs))
    code = _many_draws.main(2**18, **options)
    return code, capsys.readouterr().out


def test_main_prints_a_table_and_the_rates(monkeypatch, capsys):
    good = _many_draws.Job("coins", FAIR, lambda key, chunk: coins(seed=chunk))
    dense = _many_draws.Job("normals", NORMAL, lambda key, chunk: normals(seed=chunk))
    code, printed = run_main(monkeypatch, capsys, [good, dense], seed=3)
    assert code == 0
    assert (
        "2 rows, 15 tests, seed 3; false-alarm rate 1e-06 for all, 6.7e-08" in printed
    )
    lines = printed.splitlines()
    assert lines[2].startswith("coins") and "% of 0.5" in lines[2]
    assert len(lines[3].split("  ")) > 8 and "in w" in lines[3]
    assert "neighbours: detects 0.0" in printed and "KS: detects 0.0" in printed
    assert "15 of 15 tests hold" in printed


def test_main_fails_and_says_what(monkeypatch, capsys):
    bad = _many_draws.Job("biased", FAIR, lambda key, chunk: coins(0.52, seed=chunk))
    code, printed = run_main(monkeypatch, capsys, [bad])
    assert code == 1
    assert "FAIL biased, fit: p = " in printed
    assert "5 tests hold" in printed and "5 of 5" not in printed


def test_a_p_value_that_is_nan_fails(monkeypatch, capsys):
    nan = _p_values.Finding("fit", float("nan"), 0.1, "in w")
    monkeypatch.setattr(_many_draws, "run", lambda *_: [nan])
    job = _many_draws.Job("odd", FAIR, lambda key, chunk: coins(), pairs=False)
    assert run_main(monkeypatch, capsys, [job])[0] == 1


def test_command_line(monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(_many_draws, "main", lambda *a: seen.append(a) or 0)
    assert command.main(["--thorough"]) == 0
    assert command.main(["--thorough", "--draws", "1e6", "--seed", "7"]) == 0
    assert seen == [(10**8, 0), (10**6, 7)]
    for wrong in (["--draws", "1e6"], ["--thorough", "--draws", "5"]):
        with pytest.raises(SystemExit):
            command.main(wrong)
    with pytest.raises(SystemExit):
        command.main(["--thorough", "--only", "off"])


def test_drop_block_is_asked_where_all_blocks_reach(reused_keys):
    """Its law here is that of the middle of the map: none beside it has it."""
    case = _many_draws._small_maps(CASE["drop_block"])
    y = case.noise(jax.random.key(0), jnp.ones((256, 5, 5, 256)), 0.5)
    dropped = np.asarray((y == 0).mean((0, 3)))
    law = _distributions.law_of(CASE["drop_block"], 0.5, 10**8)
    error = 5 * np.sqrt(0.25 / 256**2)
    assert abs(dropped[2, 2] - law.below[0]) < error
    assert dropped[2, 2] - error > np.delete(dropped.ravel(), 12).max()
