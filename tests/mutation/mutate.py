"""Mutation testing: small wrong changes to the library, each to be seen by a test.

    git archive HEAD | tar -x -C /tmp/mutants       # never the tree that you work in
    python tests/mutation/mutate.py run --tree /tmp/mutants --results results.jsonl
    python tests/mutation/mutate.py table results.jsonl

Mutants are those of cosmic-ray. They are run here rather than by it: from a process
that has jax and flax imported, so that a mutant costs a fork and its tests, and with a
limit on processor time, which a paused or busy machine does not use up.
"""

import argparse
import ast
import dataclasses
import functools
import importlib
import json
import math
import os
import random
import resource
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from suites import SUITES

SEED = 20261122
CPU_SECONDS = 600
SURVIVED, KILLED = "survived", "killed"
# exit codes of pytest: tests failed, could not be collected, or not found for that
FAILED = (1, 2, 4)


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One change: an occurrence of an operator of cosmic-ray in a module."""

    module: str
    operator: str
    occurrence: int
    line: int

    @property
    def name(self) -> str:
        return f"{self.module}:{self.line} {self.operator} {self.occurrence}"


@functools.cache
def mutants_of(tree: Path, module: str) -> tuple[Mutant, ...]:
    """All mutants of a module, but for those of types."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator, operator_names

    source = (tree / module).read_text("utf-8")
    types, nodes, found = set(_types(source)), list(ast_nodes(get_ast(source))), []
    for name in operator_names():
        operator_class = get_operator(name)
        if operator_class.arguments() or name == "core/NoOp":
            continue
        operator = operator_class()
        places = [place for n in nodes for place in operator.mutation_positions(n)]
        for occurrence, (start, end) in enumerate(places):
            mutant = Mutant(module, name, occurrence, start[0])
            of_types = any(a <= start and end <= b for a, b in types)
            if not of_types and _is_one(source, mutant):
                found.append(mutant)
    return tuple(found)


def _is_one(source: str, mutant: Mutant) -> bool:
    """Whether it is Python, and no operator made of the star of a signature."""
    try:
        changed = mutated(source, mutant)
        return _signatures(changed) == _signatures(source)
    except SyntaxError:
        return False


def _signatures(source: str) -> list[tuple[int, int, int]]:
    """How many arguments of each kind every function has."""
    nodes = ast.walk(ast.parse(source))
    found = [node for node in nodes if isinstance(node, ast.arguments)]
    return [(len(n.posonlyargs), len(n.args), len(n.kwonlyargs)) for n in found]


def _types(source: str) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Where types stand: annotations, aliases, the types of isinstance."""
    for node in ast.walk(ast.parse(source)):
        nodes = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
            nodes.append(node.args[1])
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.BinOp):
            if isinstance(node.value.op, ast.BitOr):
                nodes.append(node.value)
        for part in nodes:
            if isinstance(part, ast.expr):
                assert part.end_lineno is not None and part.end_col_offset is not None
                start = (part.lineno, part.col_offset)
                yield start, (part.end_lineno, part.end_col_offset)


def mutated(source: str, mutant: Mutant) -> str:
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    code = mutate_code(source, get_operator(mutant.operator)(), mutant.occurrence)
    assert code is not None and code != source, mutant
    return code


@dataclasses.dataclass(frozen=True)
class Sample:
    """At most that many mutants of every module, or that share, rounded up."""

    seed: int
    most: int
    share: float

    def of(self, tree: Path, modules: list[str]) -> Iterator[Mutant]:
        for module in modules:
            everything = list(mutants_of(tree, module))
            # shuffled whole, so that a larger sample begins with a smaller one
            random.Random(f"{self.seed} {module}").shuffle(everything)
            yield from everything[
                : min(self.most, math.ceil(self.share * len(everything)))
            ]


def outcome(tree: Path, tests: list[str], log: Path) -> str:
    """Whether the tests see what is wrong, in a forked process."""
    warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
        os.chdir(tree)
        sys.path.insert(0, str(tree))
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        _exit_with_pytest(tests)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return f"{KILLED}, {signal.Signals(os.WTERMSIG(status)).name}"
    code = os.WEXITSTATUS(status)
    if code in FAILED:
        return KILLED
    if code != 0:
        raise SystemExit(f"pytest ended with {code}: {log.read_text('utf-8')[-2000:]}")
    return SURVIVED


def _exit_with_pytest(tests):
    import pytest

    warnings.resetwarnings()
    # duplicates: a test named by itself comes before the rest of its file
    options = ["-o", "addopts=", "-p", "no:cacheprovider", "-n0", "-x", "-q"]
    options += ["--keep-duplicates"]
    code = 3
    try:
        code = int(pytest.main([*options, "--tb=line", *tests]))
    finally:
        sys.stdout.flush()
        os._exit(code)


def run(tree: Path, modules: list[str], sample: Sample, results: Path, again: bool):
    """Test every chosen mutant that `results` does not have yet, or its survivors.

    The last line about a mutant counts.
    """
    for name in ("jax.numpy", "flax.linen", "flax.nnx", "chex", "scipy.stats"):
        importlib.import_module(name)
    # two files of one second and one size must not share their byte code
    sys.dont_write_bytecode = True
    log = results.with_suffix(".log")
    if not results.exists():
        tests = sorted({test for module in modules for test in SUITES[module]})
        if outcome(tree, tests, log) != SURVIVED:
            raise SystemExit(f"The tests fail without a mutant, see {log}.")
        results.touch()
    known = {row["mutant"]: row["outcome"] for row in _read(results)}
    total = {module: len(mutants_of(tree, module)) for module in modules}
    for mutant in sample.of(tree, modules):
        before = known.get(mutant.name)
        if before != SURVIVED if again else before:
            continue
        path = tree / mutant.module
        source, start = path.read_text("utf-8"), _cpu_seconds()
        try:
            path.write_text(mutated(source, mutant), "utf-8")
            found = outcome(tree, SUITES[mutant.module], log)
        finally:
            path.write_text(source, "utf-8")
        seconds = round(_cpu_seconds() - start, 1)
        record = {"mutant": mutant.name, "module": mutant.module, "outcome": found}
        record |= {"of": total[mutant.module], "cpu_seconds": seconds}
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        print(found, seconds, mutant.name, flush=True)


def _cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _read(results: Path, first: bool = False) -> list[dict]:
    """One row for each mutant: what was last found of it, or first."""
    rows = [json.loads(line) for line in results.read_text("utf-8").splitlines()]
    ordered = reversed(rows) if first else rows
    return list({row["mutant"]: row for row in ordered}.values())


def table(results: list[dict]) -> str:
    """Killed mutants by module, and the rate over all mutants with its interval."""
    lines = [
        "| module | mutants | tested | killed | survived |",
        "|---|---|---|---|---|",
    ]
    sizes = {row["module"]: row["of"] for row in results}
    tested = Counter(row["module"] for row in results)
    lived = Counter(row["module"] for row in results if row["outcome"] == SURVIVED)
    for name in sorted(sizes):
        n, alive = tested[name], lived[name]
        lines.append(f"| {name} | {sizes[name]} | {n} | {n - alive} | {alive} |")
    everything = sum(sizes.values())
    weights = {name: size / everything for name, size in sizes.items()}
    rate = sum(w * (1 - lived[name] / tested[name]) for name, w in weights.items())
    low, high = wilson(rate, 1 / sum(w**2 / tested[n] for n, w in weights.items()))
    lines.append("")
    lines.append(
        f"Tested {sum(tested.values())} of {everything} mutants, killed {rate:.1%} of "
        f"all, weighted by module: 95 % interval {low:.1%} to {high:.1%}."
    )
    return "\n".join(lines)


def wilson(rate: float, n: float) -> tuple[float, float]:
    """The score interval of 95 % for a share seen in n independent trials.

    For strata, n is the number that would be as precise if all had the same rate.
    """
    z2 = 1.96**2
    centre, width = rate + z2 / (2 * n), rate * (1 - rate) / n + z2 / (4 * n**2)
    half = 1.96 * math.sqrt(width)
    return (centre - half) / (1 + z2 / n), (centre + half) / (1 + z2 / n)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    runner = commands.add_parser("run")
    runner.add_argument("--tree", type=Path, required=True, help="a copy of the tree")
    runner.add_argument("--results", type=Path, required=True, help="a .jsonl file")
    runner.add_argument("--most", type=int, default=40, help="mutants of each module")
    runner.add_argument("--share", type=float, default=1.0, help="of those of each")
    runner.add_argument("--seed", type=int, default=SEED, help="of the samples")
    runner.add_argument("--again", action="store_true", help="survivors alone")
    runner.add_argument("--only", nargs="+", choices=list(SUITES), default=list(SUITES))
    shower = commands.add_parser("table")
    shower.add_argument("results", type=Path)
    shower.add_argument("--first", action="store_true", help="before tests were added")
    options = parser.parse_args()
    if options.command == "table":
        print(table(_read(options.results, options.first)))
    else:
        tree = options.tree.resolve()
        assert not (tree / ".git").exists(), "a copy, made by git archive"
        results = options.results.resolve()
        sample = Sample(options.seed, options.most, options.share)
        run(tree, options.only, sample, results, options.again)


if __name__ == "__main__":
    main()
