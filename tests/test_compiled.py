"""What the compilers for TPU and H100 say, and how their programs are read.

The tests of "compilers" compile for devices that need not be there. They run where the
compilers are installed, `pip install -e '.[compiled]'`, and are skipped elsewhere.
"""

import importlib
import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import jax
import pytest
from matplotlib.image import imread
from public import public_noises

from benchmarks._attention import BLOCKED
from benchmarks.compiled import _attention, _programs, _report, _transformer
from benchmarks.compiled._results import Results
from benchmarks.compiled._targets import INSTALL, TARGETS, Target

pytestmark = pytest.mark.program

cli = importlib.import_module("benchmarks.compiled.__main__")
ROOT = Path(__file__).parents[1]

# A loop whose step reads one row of xs, writes it to ys and draws 64 blocks. Before it
# there are a fusion that draws as many, and one that packs bits with other shifts.
LOOP = """\
HloModule jit_f

%step (p: f32[5,8], p.1: s32[]) -> f32[1,8] {
  %p = f32[5,8]{1,0} parameter(0)
  %p.1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  %cast = f32[5,8]{1,0} bitcast(%p)
  ROOT %row = f32[1,8]{1,0} dynamic-slice(%cast, %p.1, %zero), dynamic_slice_sizes={1,8}
}

%write (q: f32[5,8], q.1: f32[1,8], q.2: s32[]) -> f32[5,8] {
  %q = f32[5,8]{1,0} parameter(0)
  %q.1 = f32[1,8]{1,0} parameter(1)
  %q.2 = s32[] parameter(2)
  %zero.1 = s32[] constant(0)
  ROOT %new = f32[5,8]{1,0} dynamic-update-slice(%q, %q.1, %q.2, %zero.1)
}

%inner (r: u32[64]) -> u32[64] {
  %r = u32[64]{0:T(128)} parameter(0)
  %thirteen = u32[]{:T(128)} constant(13)
  %all = u32[64]{0:T(128)} broadcast(%thirteen), dimensions={}
  %left = u32[64]{0:T(128)} shift-left(%r, %all)
  %left.1 = u32[64]{0:T(128)} shift-left(%left, %all)
  ROOT %left.2 = u32[64]{0:T(128)} shift-left(%left.1, %all)
}

%draw (k: u32[64]) -> u32[64] {
  %k = u32[64]{0:T(128)} parameter(0)
  ROOT %nested = u32[64]{0:T(128)} fusion(%k), kind=kLoop, calls=%inner
}

%pack (s: u32[64], s.1: u32[64]) -> u32[64] {
  %s = u32[64]{0} parameter(0)
  %s.1 = u32[64]{0} parameter(1)
  %eight = u32[] constant(8)
  %eights = u32[64]{0} broadcast(%eight), dimensions={}
  %other = u32[64]{0} shift-left(%s, %eights)
  %far = u32[64]{0} shift-left(%s, %s.1)
  ROOT %both = u32[64]{0} or(%other, %far)
}

%body (state: (s32[], f32[5,8], f32[5,8])) -> (s32[], f32[5,8], f32[5,8]) {
  %state = (s32[], f32[5,8]{1,0}, f32[5,8]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%state), index=0
  %xs = f32[5,8]{1,0} get-tuple-element(%state), index=1
  %ys = f32[5,8]{1,0} get-tuple-element(%state), index=2
  %f.1 = f32[1,8]{1,0} fusion(%xs, %i), kind=kLoop, calls=%step, backend_config={"a":{"estimated_cycles":"100"}}
  %f.2 = f32[5,8]{1,0} fusion(%ys, %f.1, %i), kind=kLoop, calls=%write, backend_config={"estimated_cycles":"7"}
  %words = u32[64]{0:T(128)} constant({...})
  %f.3 = u32[64]{0:T(128)} fusion(%words), kind=kLoop, calls=%draw
  %one = s32[] constant(1)
  %next = s32[] add(%i, %one), backend_config={"estimated_cycles":"1"}
  ROOT %out = (s32[], f32[5,8]{1,0}, f32[5,8]{1,0}) tuple(%next, %xs, %f.2)
}

%more (state.1: (s32[], f32[5,8], f32[5,8])) -> pred[] {
  %state.1 = (s32[], f32[5,8]{1,0}, f32[5,8]{1,0}) parameter(0)
  %j = s32[] get-tuple-element(%state.1), index=0
  %five = s32[] constant(5)
  ROOT %less = pred[] compare(%j, %five), direction=LT
}

ENTRY %main (x: f32[5,8], y: f32[5,8], k.1: u32[64]) -> f32[5,8] {
  %x = f32[5,8]{1,0} parameter(0)
  %y = f32[5,8]{1,0} parameter(1)
  %k.1 = u32[64]{0:T(128)} parameter(2)
  %drawn = u32[64]{0:T(128)} fusion(%k.1), kind=kLoop, calls=%draw, metadata={op_name="jit(f)/draw (a)"}
  %packed = u32[64]{0} fusion(%drawn, %k.1), kind=kLoop, calls=%pack
  %ahead = (f32[5,8]{1,0:S(1)}, f32[5,8]{1,0}, u32[]{:S(2)}) copy-start(%x)
  %there = f32[5,8]{1,0:S(1)} copy-done(%ahead)
  %start = s32[] constant(0)
  %init = (s32[], f32[5,8]{1,0}, /*index=2*/f32[5,8]{1,0}) tuple(%start, %there, %y)
  %loop = (s32[], f32[5,8]{1,0}, f32[5,8]{1,0}) while(%init), condition=%more, body=%body, backend_config={TRIPS}
  ROOT %result = f32[5,8]{1,0} get-tuple-element(%loop), index=2
}
"""  # noqa: E501
KNOWN = LOOP.replace("TRIPS", '"known_trip_count":{"n":"5"}')
# a step: the index and a row are read and the row is written, twice; 64 words as well
STEP = 2 * (4 + 32 + 32) + 2 * 256
AROUND = 2 * 256 + 3 * 256


def test_a_loop_counts_each_of_its_steps():
    cost = _programs.cost(KNOWN)
    assert cost.blocks == 64 * 6
    assert cost == _programs.Cost(
        cycles=5 * 108,
        bytes=AROUND + 5 * STEP,
        kernels=2 + 5 * 3,
        step_kernels=3,
        rotations=3 * 64 * 6,
        unknown_loops=0,
    )


def test_a_loop_of_unknown_length():
    """It has the length that the case tells, or counts as one step and says so."""
    told = _programs.cost(LOOP, trips=5)
    assert told == _programs.cost(KNOWN)
    untold = _programs.cost(LOOP)
    assert untold.unknown_loops == 1
    assert (untold.cycles, untold.bytes) == (108, AROUND + STEP)


def test_a_kernel_without_an_estimate():
    """The compiler writes the largest number; then there is none of the whole."""
    found = _programs.cost(KNOWN.replace('"7"', f'"{2**63 - 1}"'))
    assert found == _programs.cost(KNOWN)._replace(cycles=0)


def test_the_dearest_branch_counts():
    text = KNOWN.replace("ENTRY %main", "%main").replace("%k.1", "%k.2") + (
        "ENTRY %top (p.5: pred[], x.9: f32[5,8]) -> f32[5,8] {\n"
        "  %p.5 = pred[] parameter(0)\n"
        "  %x.9 = f32[5,8]{1,0} parameter(1)\n"
        "  ROOT %c = f32[5,8]{1,0} conditional(%p.5, %x.9, %x.9), "
        "branch_computations={%pack, %main}\n"
        "}\n"
    )
    assert _programs.cost(text) == _programs.cost(KNOWN)
    by_truth = "true_computation=%main, false_computation=%pack"
    text = text.replace("branch_computations={%pack, %main}", by_truth)
    assert _programs.cost(text) == _programs.cost(KNOWN)


def test_what_a_fusion_passes_on_it_has_read():
    text = (
        "%same (p: bf16[4,8]) -> bf16[4,8] {\n"
        "  %p = bf16[4,8]{1,0} parameter(0)\n"
        "  ROOT %b = bf16[4,8]{1,0} bitcast(%p)\n"
        "}\n"
        "%twice (q: bf16[4,8]) -> bf16[4,8] {\n"
        "  %q = bf16[4,8]{1,0} parameter(0)\n"
        "  %f = bf16[4,8]{1,0} fusion(%q), kind=kLoop, calls=%same\n"
        "  ROOT %sum = bf16[4,8]{1,0} add(%f, %f)\n"
        "}\n"
        "ENTRY %main (x: bf16[4,8]) -> bf16[4,8] {\n"
        "  %x = bf16[4,8]{1,0} parameter(0)\n"
        "  ROOT %y = bf16[4,8]{1,0} fusion(%x), kind=kLoop, calls=%twice\n"
        "}\n"
    )
    assert _programs.cost(text) == _programs.Cost(bytes=2 * 64, kernels=1)


def test_only_a_program_has_a_cost():
    with pytest.raises(ValueError, match="no ENTRY"):
        _programs.cost("HloModule jit_f\n")


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


# What a row may cost, and no more, with jax 0.10.2 and the compilers that the extra
# names: cycles and bytes over those of the first row of its table or over those of the
# peer, blocks of threefry for an element, kernels in a step of a loop.
DROPOUT, GRADIENT = "forward dropout bfloat16", "gradient dropout bfloat16"
LSTM = "LSTM 20x35x650x650 float32"
BOUNDS = {
    "tpu-v5e": {
        (DROPOUT, "jaxnoise"): {"cycles": 1.68, "cycles / peer": 0.889, "blocks": 1},
        (DROPOUT, "jaxnoise, bits=16"): {"cycles": 1.5, "blocks": 1 / 4},
        (DROPOUT, "jaxnoise, bits=8"): {"cycles": 1.292, "blocks": 1 / 8},
        (GRADIENT, "jaxnoise"): {"cycles / peer": 0.982, "bytes": 1.502, "blocks": 1},
        (GRADIENT, "jaxnoise, bits=8"): {"cycles / peer": 0.77, "blocks": 1 / 8},
        ("forward gaussian_noise bfloat16", "jaxnoise"): {"cycles / peer": 0.927},
        ("forward spatial_dropout bfloat16", "jaxnoise"): {"cycles": 1.022},
    },
    "h100": {
        (DROPOUT, "jaxnoise"): {"bytes": 1.001, "blocks": 1},
        (DROPOUT, "jaxnoise, bits=16"): {"bytes": 1.064, "blocks": 1 / 4},
        (DROPOUT, "jaxnoise, bits=8"): {"bytes": 1.063, "blocks": 1 / 8},
        (GRADIENT, "jaxnoise"): {"bytes": 1.001, "bytes / peer": 1, "blocks": 1},
        (GRADIENT, "jaxnoise, bits=8"): {"bytes": 1.063, "blocks": 1 / 8},
        ("LSTM 20x35x650x650 float32", "jaxnoise"): {
            "step_kernels": 13,
            "bytes": 0.376,
        },
    },
}


@pytest.mark.parametrize("name", BOUNDS)
def test_compilers_see_no_more_than_the_bounds(name, tmp_path):
    """Cost of ours as its compiler sees it, and no collectives on 2 x 2 chips."""
    rows = compile_for(TARGETS[name], tmp_path)
    beyond = {}
    for (table, row), bounds in BOUNDS[name].items():
        for quantity, bound in bounds.items():
            if (found := cost_of(rows, table, row, quantity)) > bound:
                beyond[table, row, quantity] = found
    assert not beyond
    # a gradient for parameters is added up over the chips
    of_noise = ("forward", "gradient")
    sent = {
        k: r.get("collectives") for k, r in rows.items() if k[0].startswith(of_noise)
    }
    assert sent and not any(sent.values()), sent


ATTENTION = """
import jax, jax.numpy as jnp, jaxnoise as jn
from jax.sharding import PartitionSpec
from benchmarks.compiled._targets import AXES, TARGETS
from jaxnoise.testing._hlo import collectives

chips = TARGETS["tpu-v5e"].chips()
key = jax.eval_shape(lambda: jax.random.key(0))
x = jax.ShapeDtypeStruct((4, 256, 16, 64), jnp.bfloat16)
spec = PartitionSpec(AXES[0], None, AXES[1], None)

def gradient(key, *qkv):
    def loss(qkv):
        ys = [
            jn.dot_product_attention(key, *qkv, 0.5, bits=bits, block_size=size)
            for bits in (32, 8)
            for size in (None, 96)
        ]
        return sum(jnp.sin(y).sum() for y in ys)
    return jax.grad(loss)(qkv)

compiled = chips.compile(gradient, (key, x, x, x), (PartitionSpec(), spec, spec, spec))
print(dict(collectives(compiled.text)))
"""


def test_attention_over_batch_and_heads_sends_nothing_on_2x2_chips():
    """Forward and backward, as a whole and by blocks, with 32 and with 8 bits."""
    if complaint := TARGETS["tpu-v5e"].missing():
        pytest.skip(complaint)
    command = [sys.executable, "-c", ATTENTION]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "{}"


def cost_of(rows, table, row, quantity):
    column, _, over = quantity.partition(" / ")
    found = rows[table, row]
    if column == "blocks":
        return found[column] / found["elements"]
    if column == "step_kernels":
        return found[column]
    first = next(other for (name, _), other in rows.items() if name == table)
    return found[column] / (rows[table, found["peer"]] if over else first)[column]


def compile_for(target: Target, folder: Path):
    """The rows that are bounded, by the command, in a process that is its own."""
    if complaint := target.missing():
        pytest.skip(complaint)
    bounds = BOUNDS[target.name]
    command = [sys.executable, "-m", "benchmarks.compiled", "--target", target.name]
    command += ["--only", ",".join(dict.fromkeys(table for table, _ in bounds))]
    for name in dict.fromkeys(row for _, row in bounds):
        command += ["--row", name]
    command += ["--out", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    saved = json.loads((folder / f"compiled-{target.name}.json").read_text())
    return {(row["table"], row["row"]): row for row in saved["rows"]}


def test_compilers_leave_jax_as_it_is():
    """With them and without their devices, JAX still finds the CPU, and no warning."""
    if all(target.missing() for target in TARGETS.values()):
        pytest.skip(f"no compiler is installed; this line installs them: {INSTALL}")
    code = "import jax; print(jax.devices()[0].platform)"
    command = [sys.executable, "-W", "error", "-c", code]
    quiet = os.environ | {"JAX_PLATFORMS": "cpu"}
    for env in (None, quiet):
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr or env is None
