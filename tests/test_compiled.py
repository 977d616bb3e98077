"""The command that compiles every noise for TPU and H100, and its tables."""

import importlib
from itertools import pairwise

import jax
import pytest
from matplotlib.image import imread
from public import public_noises

from benchmarks._attention import BLOCKED
from benchmarks.compiled import _attention, _programs, _report, _transformer
from benchmarks.compiled._results import Results
from benchmarks.compiled._targets import INSTALL, TARGETS

pytestmark = pytest.mark.program

cli = importlib.import_module("benchmarks.compiled.__main__")


def test_every_noise_has_its_tables():
    """Alone and in a gradient, in both dtypes; words have no gradient."""
    tables = {table.name: table for table in cli.tables()}
    assert len(tables) == len(cli.tables())
    for name, table in tables.items():
        assert table.peer in table.programs
        assert "jaxnoise" in table.programs or "attention" in name
    floating = {"bfloat16", "float32"}
    words = [name.split() for name in tables]
    for noise in public_noises():
        found = {(name[0], name[-1]) for name in words if noise in name}
        if noise == "token_dropout":
            assert found == {("forward", "int32")}
        else:
            alone = "dense" if noise.endswith("_dense") else "forward"
            assert found == {(m, d) for m in (alone, "gradient") for d in floating}


def shapes(tree):
    return [(x.shape, x.dtype) for x in jax.tree.leaves(tree)]


@pytest.mark.parametrize(
    "name",
    (
        *("forward dropout", "forward drop_path", "gradient dropout"),
        *("dense weights.noisy_dense", "gradient weights.noisy_dense"),
        "GRU 20x35x200x200",
    ),
)
def test_programs(name):
    """Ours can be traced, and give one array or the gradient for each input."""
    table = next(t for t in cli.tables() if t.name == f"{name} bfloat16")
    program = table.programs["jaxnoise"]()
    # a spec for each argument
    jax.tree.map(lambda *_: None, program.arguments, program.specs)
    found = jax.eval_shape(program.function, *program.arguments)
    if name.startswith("GRU"):
        assert shapes(found) == shapes(program.arguments[:2])
    elif name.startswith("gradient"):
        assert shapes(found) == shapes(program.arguments[1:])
    else:
        x = program.arguments[-1]
        assert shapes(found) == [(x.shape, x.dtype)]


def test_transformer(monkeypatch):
    """Three dropouts a block, and one on the attention weights in its own table."""
    for part in ("BATCH", "TIME", "WIDTH", "HEADS"):
        monkeypatch.setattr(_transformer, part, 2)
    drawn, bernoulli = [], jax.random.bernoulli
    monkeypatch.setattr(
        jax.random, "bernoulli", lambda *a, **k: drawn.append(a) or bernoulli(*a, **k)
    )
    plain, attention = _transformer.tables()
    rows = ["none", "flax.linen", "flax.linen, rbg key", "jaxnoise"]
    rows += ["jaxnoise, bits=16", "jaxnoise, bits=8"]
    assert list(plain.programs) == rows
    assert list(attention.programs) in (rows[:3], rows)
    for table, name, places in [
        (plain, "flax.linen", 3),
        (attention, "flax.linen, rbg key", 4),
        (plain, "jaxnoise, bits=8", 0),
        (attention, "jaxnoise, bits=8", 0),
    ]:
        if name in table.programs:
            drawn.clear()
            program = table.programs[name]().smaller
            found = jax.eval_shape(program.function, *program.arguments)
            assert shapes(found) == shapes(program.arguments[0])
            assert len(drawn) == places, (table.name, name)


def test_attention(monkeypatch):
    """The gradient of each row at each length; flax draws by jax.random, ours not."""
    monkeypatch.setattr(_attention, "HEADS", 2)
    tables = {t.elements: t for t in _attention.tables()}
    assert [t.base for t in tables.values()][-2:] == ["none", next(iter(BLOCKED))]
    drawn, bernoulli = [], jax.random.bernoulli
    monkeypatch.setattr(
        jax.random, "bernoulli", lambda *a, **k: drawn.append(a) or bernoulli(*a, **k)
    )
    for length, names in ((1024, ["none", "flax.linen", "jaxnoise"]), (16384, [])):
        table = tables[2 * length**2]
        for name in (*names, *BLOCKED):
            drawn.clear()
            program = table.programs[name]()
            jax.tree.map(lambda *_: None, program.arguments, program.specs)
            found = jax.eval_shape(program.function, *program.arguments)
            assert shapes(found) == shapes(program.arguments[0])
            assert len(drawn) == (name == "flax.linen")
            assert program.trips == length // 512


def results_in(folder, target="tpu-v5e"):
    """Results of a target whose wheels need not be there."""
    return Results(TARGETS[target]._replace(wheels=()), folder)


def some_rows(table, cycles=7):
    return [
        {
            "table": table.name,
            "row": name,
            "peer": table.peer,
            "elements": table.elements,
            **_programs.Cost(cycles * n, 5 * n, n, 0, 3 * n, int(n == 3))._asdict(),
            "blocks": n,
            "temporary_bytes": table.elements,
            "seconds": 1.5,
            "collectives": {"all-reduce": 2} if n == 3 else {},
        }
        for n, name in enumerate(table.programs, start=1)
    ]


def test_rows_are_kept_until_their_program_changes(tmp_path, monkeypatch):
    table = cli.tables()[0]
    results = results_in(tmp_path)
    for row in some_rows(table):
        results.add(row, ["a program"])
    results.save(cli.tables())

    def found(texts, results):
        return [results.find(table, name, texts) for name in table.programs]

    again = results_in(tmp_path)
    assert found(["a program"], again) == again.ordered(cli.tables())
    assert [row | {"made_of": None} for row in again.rows.values()] == [
        row | {"made_of": None} for row in some_rows(table)
    ]
    assert not any(found(["a program", "another for four"], again))
    monkeypatch.setitem(again.versions, "jax", "0.0.0")
    assert not any(found(["a program"], again))
    assert not results_in(tmp_path, "h100").rows


@pytest.mark.parametrize("cycles", [0, 7])
def test_report(tmp_path, cycles):
    """Every table says that nothing was measured; ratios; a picture."""
    results = results_in(tmp_path)
    tables = [t for t in cli.tables() if "dropout bfloat16" in t.name]
    for table in tables:
        for row in some_rows(table, cycles):
            results.add(row, [])
    rows = results.ordered(cli.tables())
    text = _report.markdown(results, rows)
    said = _report.WHAT if cycles else _report.NO_CYCLES
    parts = text.split("\n\n")
    assert "earlier run" not in text
    for before, part in pairwise(parts):
        lines = part.strip().splitlines()
        if lines and lines[0].startswith("|"):
            assert before == said
            assert len({line.count("|") for line in lines}) == 1
    # the third row has three times the cost of the first, and 3/2 that of the peer
    third = list(tables[0].programs)[2]
    ratios = "| 3.000 / 1.50 " * (2 if cycles else 1)
    assert f"| {third} (1 loops of unknown length) {ratios}| 1.000 / 1.00 | 3 " in text
    assert "| 2 all-reduce |" in text and "| none |" in text
    cli._plot.write(results, rows)
    assert imread(results.path("png")).std() > 0.01
    results.confirmed.remove((tables[0].name, third))
    assert "1 rows are of an earlier run" in _report.markdown(results, rows)


def test_without_a_compiler_the_command_says_how_to_get_it(monkeypatch, capsys):
    lacking = TARGETS["h100"]._replace(modules=("no.such", "benchmarks", "nor_this"))
    monkeypatch.setitem(cli.TARGETS, "h100", lacking)
    assert cli.main(["--target", "h100", "--only", "forward dropout"]) == 2
    error = capsys.readouterr().err
    assert "no module no.such or nor_this" in error and INSTALL in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "tpu-v9"], "invalid choice: 'tpu-v9'"),
        (["--target", "h100", "--only", "dropuot"], "no table has 'dropuot'"),
        (
            ["--target", "h100", "--only", "forward uniform", "--row", "none"],
            "--row none: there are: copy; jax.random; jaxnoise",
        ),
    ],
)
def test_bad_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit):
        cli.parsed(arguments)
    assert message in capsys.readouterr().err


def test_only_a_whole_run_replaces_the_results():
    assert cli.parsed(["--target", "h100"]).out == cli.RESULTS
    for part in (["--only", "uniform"], ["--row", "jaxnoise"]):
        assert cli.parsed(["--target", "h100", *part]).out is None
