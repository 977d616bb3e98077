"""The experiments run with tiny settings, write what they found, and go on."""

import importlib
import json

import numpy as np
import pytest
from matplotlib.image import imread

from experiments import __main__ as command
from experiments._lab import TUNING_SEED, Lab
from experiments._report import above, interval, within

pytestmark = [pytest.mark.program, pytest.mark.usefixtures("quick_compiler")]


@pytest.fixture
def run(tmp_path):
    def run(name, *arguments):
        folders = ["--out", tmp_path / "results", "--trials", tmp_path / "trials"]
        argv = [name, "--quick", *map(str, folders), *map(str, arguments)]
        (outcome,) = command.main(argv)
        return outcome, json.loads((tmp_path / f"results/{name}.json").read_text())

    return run


@pytest.fixture
def lab(tmp_path):
    settings = importlib.import_module("experiments.concrete_dropout").QUICK
    return lambda: Lab("some", settings, tmp_path, None)


def test_an_experiment_without_data(run, tmp_path):
    """Claims, table, picture and how it was run; again, without running it again."""
    tiny = ("--set", "sizes=10,20", "steps=20", "width=8", "seeds=2")
    outcome, report = run("concrete_dropout", *tiny)
    assert len(outcome.claims) == len(report["claims"]) > 4
    assert report["size"] == "reduced" and report["settings"]["width"] == 8
    assert {"jax", "jaxnoise"} <= report["versions"].keys() and report["device"]
    assert "--out DIR" in report["command"] and str(tmp_path) not in str(report)
    assert report["trials"] == 8 and report["cpu_minutes"] >= 0
    text = (tmp_path / "results/concrete_dropout.md").read_text()
    assert "width 8 in place of 256" in text and "**Reduced size**" in text
    assert len(np.unique(imread(tmp_path / "results/concrete_dropout.png"))) > 100

    trials = tmp_path / "trials/concrete_dropout.jsonl"
    before = trials.read_bytes()
    _, again = run("concrete_dropout", *tiny)
    assert trials.read_bytes() == before and again["values"] == report["values"]


def test_an_experiment_on_data(run, tmp_path):
    """Rate and tau are chosen for each split from the grid of the file."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3))
    arrays = {
        "x": x,
        "y": x[:, 0] - x[:, 1] + 0.1 * rng.normal(size=60),
        "test_index": np.stack([rng.permutation(60)[:12] for _ in range(2)]),
        "dropout_rates": [0.01, 0.1],
        "tau_values": [1.0, 10.0],
        "n_epochs": [3],
        **{f"published_test_{name}": [1.0, 1.1] for name in ("ll", "MC_rmse", "tau")},
    }
    arrays = {f"line/{name}": np.asarray(value) for name, value in arrays.items()}
    np.savez(tmp_path / "uci_gal.npz", **arrays)
    tiny = ("--data", tmp_path, "--set", "sets=line", "splits=2")
    _, dropout = run("mc_dropout", *tiny)
    found = dropout["values"]["line"]
    assert set(found["chosen"]["rate"]) <= {0.01, 0.1}
    scores = found["scores"]
    assert len(scores) == 4
    for score in scores.values():
        assert np.isfinite(score["ll"]).all() and len(score["rmse"]) == 2


def test_what_is_missing_is_told(run):
    with pytest.raises(
        SystemExit, match=r"--data DIR must have uci_gal.npz. From http"
    ):
        run("mc_dropout")
    with pytest.raises(SystemExit, match=r"no setting 'depth'; there are sizes, seeds"):
        run("concrete_dropout", "--set", "depth=3")


def test_a_killed_run_goes_on(lab):
    """Trials that are done are not run again, a line that is cut off is as if not."""
    calls = []

    def trial(name):
        calls.append(name)
        return {"score": np.float32(len(calls)), "curve": np.arange(2.0)}

    names = ("one", "two", "three")
    trials = {name: lambda name=name: trial(name) for name in names}
    first = lab()
    first.run({name: trials[name] for name in names[:2]})
    with first.path.open("ab") as file:
        file.write(b'{"settings": "of the one that was kil')
    results = lab().run(trials)
    assert calls == ["one", "two", "three"]
    assert [results[name]["score"] for name in names] == [1, 2, 3]
    assert lab().run(trials) == results and len(calls) == 3


def test_tuning_takes_the_best_and_as_many_for_each(lab):
    def trial(method, values, seed):
        nan = float("nan") if values["x"] == 3 else 0.0
        return {"valid": (values["x"] - 1) ** 2 + nan, "seed": seed}

    choices = [{"x": x} for x in (3.0, 2.0, 1.0)]
    found = lab().tune({"a": choices, "b": choices[::-1]}, trial, 2)
    for method in "ab":
        assert found[method]["chosen"] == {"x": 1.0}
        assert [run["seed"] for run in found[method]["runs"]] == [0, 1]
    assert TUNING_SEED not in range(100)
    with pytest.raises(ValueError, match=r"as many candidates, got \{.*1"):
        lab().tune({"a": choices, "b": choices[:1]}, trial, 2)


def test_verdicts():
    """By where the interval is; of one value there is none."""
    ones, twos = np.array([1.0, 1.1, 0.9]), np.array([2.0, 2.2, 1.9])
    assert above("", "", twos, ones).verdict == "held"
    assert above("", "", ones, twos).verdict == "did not hold"
    assert above("", "", twos, twos[::-1]).verdict == "open"
    assert above("", "", [2.0], [1.0]).verdict == "open"
    assert within("", "", ones - 1, 0.5).verdict == "held"
    assert within("", "", ones, 0.5).verdict == "did not hold"
    assert within("", "", ones, 1.0).verdict == "open"
    # Student's t with 2 degrees of freedom: 4.303 standard errors
    found = interval(ones)
    np.testing.assert_allclose(
        found.high - found.mean, 4.3027 * 0.1 / 3**0.5, rtol=1e-4
    )
