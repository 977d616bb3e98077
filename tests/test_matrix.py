"""What the matrix of versions calls a success, and what it does not."""

import importlib.machinery
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.program

PATH = Path(__file__).parents[1] / ".ci" / "matrix"
VERSIONS = {"Python": "3.11.0", "jax": "0.10.2"}


@pytest.fixture(scope="module")
def matrix():
    loader = importlib.machinery.SourceFileLoader("matrix", str(PATH))
    module = importlib.util.module_from_spec(
        importlib.util.spec_from_loader("matrix", loader)
    )
    loader.exec_module(module)
    return module


def test_lower_bounds_are_those_of_every_requirement(matrix, monkeypatch, tmp_path):
    bounds = matrix.lower_bounds()
    assert {"jax", "flax", "optax", "chex", "pytest", "orbax-checkpoint"} <= set(bounds)
    assert matrix.above_bounds(bounds) == ()
    longer = bounds | {"pytest": bounds["pytest"] + ".0"}
    assert matrix.above_bounds(longer) == ()
    newer = bounds | {"jax": "99.0"}
    del newer["flax"]
    wrong = matrix.above_bounds(newer)
    assert [note.split(">=")[0] for note in wrong] == ["jax", "flax"]
    assert wrong[0].endswith("is not proved by 99.0")
    text = (matrix.ROOT / "pyproject.toml").read_text("utf-8")
    (tmp_path / "pyproject.toml").write_text(
        text.replace('"chex>=', '"chex=='), "utf-8"
    )
    monkeypatch.setattr(matrix, "ROOT", tmp_path)
    with pytest.raises(ValueError, match="no lower bound in 'chex=="):
        matrix.lower_bounds()


def test_counts_of_a_run_of_pytest(matrix, tmp_path):
    tests = (
        "import pytest\n"
        "def test_passes(): pass\n"
        "def test_fails(): assert False\n"
        "def test_is_skipped(): pytest.skip()\n"
        "@pytest.fixture\n"
        "def broken(): raise ValueError\n"
        "def test_breaks(broken): pass\n"
    )
    (tmp_path / "test_one.py").write_text(tests)
    (tmp_path / "test_two.py").write_text("import no_such_module")
    report = tmp_path / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["--continue-on-collection-errors", f"--junitxml={report}"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert run.returncode == 1
    assert matrix.counts(report) == (1, 3, 1)
    assert matrix.counts(tmp_path / "none.xml") == (0, 0, 0)


def test_a_row_is_good_only_if_tests_passed(matrix):
    good = matrix.Result("3.11-lowest", VERSIONS, 5, 0, 1, 60.0)
    bad = [
        good._replace(failed=1),
        good._replace(passed=0),
        good._replace(notes=("pytest exited with 3",)),
        matrix.Result("3.14-newest", {"Python": "3.14"}, notes=(matrix.NO_PYTHON,)),
    ]
    assert good.good and not any(result.good for result in bad)
    lines = matrix.table([good, *bad]).splitlines()
    expected = "| 3.11-lowest | 3.11.0 | 0.10.2 |  |  |  | 5 | 0 | 1 | 1.0 | passed |"
    assert lines[2] == expected
    assert len({line.count("|") for line in lines}) == 1
    assert all("passed" not in line for line in lines[3:])
    assert "FAILED" in lines[3] and "exited with 3" in lines[5]
    assert "not available" in lines[6]


def test_a_missing_python_is_an_error_where_it_was_asked_for(matrix, monkeypatch):
    def run(row, *_):
        if row in missing:
            return matrix.Result(row, {}, notes=(matrix.NO_PYTHON,))
        return matrix.Result(row, VERSIONS, 5, int(row in failing))

    monkeypatch.setattr(matrix, "installed_uv", lambda work: work)
    monkeypatch.setattr(matrix.signal, "signal", lambda *_: None)
    monkeypatch.setattr(matrix, "run", run)
    missing, failing = {"3.14-newest"}, set()
    assert matrix.main([]) == 0
    assert matrix.main(["3.12-newest", "--", "-x"]) == 0
    assert matrix.main(["3.12-newest", "3.14-newest"]) == 1
    missing |= set(matrix.DEFAULT)
    assert matrix.main([]) == 1
    missing, failing = set(), {"3.12-newest"}
    assert matrix.main([]) == 1


def test_arguments(matrix, capsys):
    assert matrix.parsed([]) == ([], [])
    rows, arguments = matrix.parsed(["3.13-lowest", "--", "-k", "a", "--", "b"])
    assert rows == ["3.13-lowest"] and arguments == ["-k", "a", "--", "b"]
    for bad in ("3.13", "3.13-oldest", "313-lowest", "tests/test_dropout.py"):
        with pytest.raises(SystemExit):
            matrix.parsed([bad])
        assert f"got {bad!r}" in capsys.readouterr().err
