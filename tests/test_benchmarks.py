"""The benchmarks run at a tiny size and report; no test looks at a time."""

import importlib.util
import json
import math
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from matplotlib.image import imread
from public import public_noises

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import _cases, _harness, recurrent

pytestmark = pytest.mark.program

cli = importlib.import_module("benchmarks.__main__")
CASES = {case.name: case for case in _cases.CASES}
# noise whose bits are not those of the formula
OTHER_BITS = {
    "forward poisson_noise",
    "forward tree.dropconnect",
    "forward tree.gaussian_noise",
    "forward tree.mask and tree.apply_mask",
    "dense learned.flipout_dense",
}
VARIANTS = [
    case
    for name, case in CASES.items()
    if name.startswith(("forward", "dense")) and name not in OTHER_BITS
]
MODES = [case for case in CASES.values() if "flax" in "".join(case.noises)]
TINY = ["--sizes", "256", "--seconds", "0"]


@pytest.fixture(autouse=True)
def once(monkeypatch):
    """One round, short stacks, warm caches, and the same key in every round."""
    monkeypatch.setattr(_harness, "ROUNDS", (1, 1))
    monkeypatch.setattr(_cases, "DEPTH", 2)
    monkeypatch.setattr(jax, "clear_caches", lambda: None)
    with jax.debug_key_reuse(False), jax.legacy_prng_key("allow"):
        yield


def assert_finite(row):
    for name, value in row.items():
        assert not isinstance(value, float) or math.isfinite(value), name


def small(case, *names):
    """The first block of the case at a tiny size, with these candidates alone."""
    noises = {name: case.noises[name] for name in names}
    case = case._replace(noises=noises, torch=None)
    return _cases.Block(case, case.shape(256), case.dtypes[0])


def run(block):
    rows = _cases.measured(block, seconds=0)
    for row in rows:
        assert_finite(row)
        assert row["least_ms"] > 0
        if row["name"] == block.case.mode.limit:
            assert row["over_limit"] == 1
    return [row["name"] for row in rows]


@pytest.mark.parametrize("case", MODES, ids=lambda case: case.name)
def test_mode(case):
    """Ours, one peer and what both are compared with, in every mode and on images."""
    ours = next(name for name in case.noises if name.startswith("jaxnoise"))
    peer = next(name for name in case.noises if name in ("flax.linen", "flax.nnx"))
    none = [name for name in case.noises if name == "none"]
    copy = ["copy"] if case.mode.limit == "copy" else []
    assert run(small(case, *none, ours, peer)) == [*none, ours, peer, *copy]


def beside_formula(case, size):
    """What ours, the formula and no noise give for the same key and arrays."""
    taking_part = ("none", "jaxnoise", "jax.random")
    noises = {k: v for k, v in case.noises.items() if k in taking_part}
    case = case._replace(noises=noises, torch=None)
    block = _cases.Block(case, case.shape(size), case.dtypes[0])
    candidates = _cases.candidates(block)
    names = ("jaxnoise", "jax.random", case.mode.limit)
    return [np.asarray(candidates[name].run()) for name in names]


@pytest.mark.parametrize("case", VARIANTS, ids=lambda case: case.name)
def test_variant(case):
    """The formula is the function's: for the same key the same values, to rounding."""
    ours, formula, without = beside_formula(case, 256)
    assert np.isfinite(ours).all()
    assert (ours != without).any()
    np.testing.assert_allclose(formula, ours, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", sorted(OTHER_BITS))
def test_variant_of_other_bits(name):
    """The mean and the variance of the formula are the function's.

    One false alarm in 10^6 a moment. A mean is seen that is off by 0.08 standard
    deviations, a variance by 15 %.
    """
    ours, formula, without = beside_formula(CASES[name], 2**16)
    for moment in (1, 2):
        gap = (ours - without) ** moment - (formula - without) ** moment
        # rows may share a draw, what is left does not
        gap = gap.mean(0, dtype=np.float64).ravel()
        assert abs(gap.mean()) < 4.892 * gap.std(ddof=1) / math.sqrt(gap.size)


def test_every_public_noise_has_a_row():
    assert public_noises() <= {word for name in CASES for word in name.split()}


def test_peers():
    """All that are installed here take part, and drop as many as ours, not none."""
    case = CASES["forward dropout"]
    candidates = _cases.candidates(next(_cases.blocks(case, (256,))))
    missing = (case.noises.keys() | {"copy", "torch"}) - candidates.keys()
    assert all(importlib.util.find_spec(name) is None for name in missing)
    for name, candidate in candidates.items():
        dropped = float((np.asarray(candidate.run()) == 0).mean())
        assert dropped == 0 if name == "copy" else 0.03 < dropped < 0.2


def test_bfloat16():
    block = small(CASES["forward dropout"], "jaxnoise", "flax.linen")._replace(
        dtype="bfloat16"
    )
    for candidate in _cases.candidates(block).values():
        assert np.asarray(candidate.run()).dtype == "bfloat16"


def test_rounds_are_in_turn():
    """Every candidate once a round, not always after the same one."""
    seen = []
    names = "abcd"
    candidates = {n: _harness.Candidate(lambda n=n: seen.append(n)) for n in names}
    times = _harness.interleaved(candidates, rounds=20)
    rounds = [tuple(seen[i : i + 4]) for i in range(0, 80, 4)]
    assert all(sorted(order) == list(names) for order in rounds)
    assert len(set(rounds)) > 5
    assert all(times[name].shape == (20,) for name in names)


def test_ratios_are_medians_within_rounds(monkeypatch):
    times = {"ours": np.array([1.0, 10.0, 2.0]), "peer": np.array([3.0, 20.0, 8.0])}
    monkeypatch.setattr(_harness, "interleaved", lambda *_: times)
    candidates = {name: _harness.called(int) for name in times}
    rows = _harness.measured(candidates, seconds=0, ours="ours", limit=None)
    assert [row["over_ours"] for row in rows] == [1, 3]
    assert [row["median_ms"] for row in rows] == [2000, 8000]


def test_peers_may_fail_and_ours_may_not(capsys):
    def broken():
        raise ImportError("no such library")

    made = {"jaxnoise": lambda: _harness.called(int), "peer": broken}
    assert set(_harness.prepared(made, own="jaxnoise")) == {"jaxnoise"}
    assert "peer: left out, ImportError: no such library" in capsys.readouterr().out
    with pytest.raises(ImportError, match="no such library"):
        _harness.prepared({"jaxnoise": broken}, own="jaxnoise")


def test_report(tmp_path, capsys):
    """Markdown, JSON and a picture, named after the backend."""
    arguments = ["--only", "uniform,compile drop_path", *TINY, "--out", str(tmp_path)]
    assert cli.main(arguments) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        f"noise-cpu.{suffix}" for suffix in ("json", "md", "png")
    ]
    results = json.loads((tmp_path / "noise-cpu.json").read_text())
    assert results["backend"] == "cpu"
    assert {"jax", "flax", "jaxnoise"} <= results["versions"].keys()
    cases = {row["case"] for row in results["rows"]}
    assert cases == {
        "forward uniform_noise",
        "compile uniform_noise",
        "compile drop_path",
    }
    text = (tmp_path / "noise-cpu.md").read_text()
    for table in text.split("\n\n"):
        columns = {line.count("|") for line in table.splitlines() if "|" in line}
        assert len(columns) <= 1
    printed = capsys.readouterr().out
    for row in results["rows"]:
        assert f"| {row['name']} | {row['least_ms']:.3f} |" in text
        assert f"| {row['name']} | {row['least_ms']:.3f} |" in printed
    assert imread(tmp_path / "noise-cpu.png").std() > 0.01


def test_recurrent(tmp_path, monkeypatch):
    def product(shape):
        x = recurrent.inputs(shape)
        return recurrent.gradient_step(lambda x, y: (x * y).sum(), x, x)

    monkeypatch.setattr(recurrent, "CANDIDATES", {"flax, no noise": product})
    monkeypatch.setattr(recurrent, "SHAPES", ((2, 3, 4, 5),))
    assert cli.main(["--only", "recurrent", "--out", str(tmp_path)]) == 0
    rows = json.loads((tmp_path / "noise-cpu.json").read_text())["recurrent"]
    (row,) = rows
    assert_finite(row)
    assert row["name"] == "flax, no noise" and row["flax_over_this"] == 1
    assert "| flax, no noise |" in (tmp_path / "noise-cpu.md").read_text()


def test_a_failure_is_recorded_and_the_rest_runs(tmp_path, monkeypatch):
    measured = _cases.measured

    def broken(block, seconds):
        if block.case.name == "forward uniform_noise":
            raise RuntimeError("out of memory")
        return measured(block, seconds)

    monkeypatch.setattr(_cases, "measured", broken)
    arguments = ["--only", "forward uniform,forward laplace", *TINY]
    assert cli.main([*arguments, "--out", str(tmp_path)]) == 1
    results = json.loads((tmp_path / "noise-cpu.json").read_text())
    assert "RuntimeError: out of memory" in results["failures"][0]
    assert "forward laplace_noise" in {row["case"] for row in results["rows"]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "dropuot"], "no case has 'dropuot' in its name"),
        (["--only", "dropout,"], "no case has '' in its name"),
        (["--sizes", "1,0"], "must be positive"),
        (["--backend", "tpu"], "JAX finds [CpuDevice"),
    ],
)
def test_bad_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit):
        cli.main(arguments)
    error = capsys.readouterr().err
    assert message in error
    if arguments[0] == "--only":
        assert "gaussian_noise" in error and "recurrent" in error


def test_only_a_whole_run_replaces_the_results():
    assert cli.parsed([]).out == cli.RESULTS
    for part in (["--only", "dropout"], ["--sizes", "256"], ["--seconds", "0"]):
        assert cli.parsed(part).out is None
