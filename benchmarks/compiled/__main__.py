"""Compile noise for a device that need not be there, and say what it costs on it.

Prints a table for each case. A run of everything writes Markdown, JSON and a picture to
benchmarks/results, and compiles again only the programs that are not the same; a part
of it does so where --out says. Nothing is run on the device, and no time is measured.
"""

import argparse
import sys
import time
import traceback
from functools import cache
from itertools import chain
from pathlib import Path

import jax

from benchmarks.compiled import (
    _attention,
    _plot,
    _recurrent,
    _report,
    _tables,
    _transformer,
)
from benchmarks.compiled._programs import cost
from benchmarks.compiled._results import Results, Row
from benchmarks.compiled._tables import Program, Table
from benchmarks.compiled._targets import TARGETS, Chips
from jaxnoise.testing._hlo import collectives

RESULTS = Path(__file__).parents[1] / "results"


@cache
def tables() -> tuple[Table, ...]:
    parts = (
        _tables.noises(),
        _transformer.tables(),
        _attention.tables(),
        _recurrent.tables(),
    )
    return tuple(chain.from_iterable(parts))


def main(argv: list[str] | None = None) -> int:
    flags = parsed(argv)
    target = TARGETS[flags.target]
    if complaint := target.missing():
        print(complaint, file=sys.stderr)
        return 2
    # else the time would be that of reading what an earlier run has compiled
    jax.config.update("jax_enable_compilation_cache", False)
    results = Results(target, flags.out)
    start, chips, failures = time.perf_counter(), target.chips(), 0
    try:
        for table in chosen(flags.only):
            failures += run(table, chips, results, flags.row)
    finally:  # an interrupted run reports what it has
        if flags.out:
            _report.write(results, results.ordered(tables()))
            _plot.write(results, results.ordered(tables()))
    print(f"{time.perf_counter() - start:.0f} s")
    return 1 if failures else 0


def chosen(parts: list[str]) -> list[Table]:
    return [t for t in tables() if any(part in t.name for part in parts)]


def run(table: Table, chips: Chips, results: Results, wanted: list[str]) -> int:
    """Print the rows that are wanted, compiling what is not there; how many failed."""
    shown: list[Row] = []
    failures = 0
    for name in table.programs:
        # what the others are compared with is always wanted
        if wanted and name not in (table.base, table.peer, *wanted):
            continue
        try:
            program = table.programs[name]()
            texts = lowered(program, chips)
            found = results.find(table, name, texts)
            if found is None:
                found = compiled(table, name, program, chips)
                results.add(found, texts)
                results.save(tables())
        except Exception:
            failures += 1
            print(f"{table.name}, {name}: {traceback.format_exc()}", file=sys.stderr)
            continue
        if not shown:
            print(_report.head([found]))
        shown.append(found)
        print(_report.line(found, shown[0], _report.peer_of(shown)), flush=True)
    print(flush=True)
    return failures


def lowered(program: Program, chips: Chips) -> list[str]:
    """The input of the compiler: the program for one chip, and for four."""
    texts = [chips.lower(program.function, program.arguments).as_text()]
    split = program.smaller or program
    if split.specs is not None:
        on_four = chips.lower(split.function, split.arguments, split.specs)
        texts.append(on_four.as_text())
    return texts


def compiled(table: Table, name: str, program: Program, chips: Chips) -> Row:
    """The cost of one program on one chip, and its collectives on four."""
    on_one = chips.compile(program.function, program.arguments)
    found = cost(on_one.text, program.trips)
    row = {
        "table": table.name,
        "row": name,
        "peer": table.peer,
        "elements": table.elements,
        **found._asdict(),
        "blocks": found.blocks,
        "temporary_bytes": on_one.temporary,
        "seconds": on_one.seconds,
    }
    split = program.smaller or program
    if split.specs is not None:
        on_four = chips.compile(split.function, split.arguments, split.specs)
        row["collectives"] = dict(collectives(on_four.text))
    return row


def parsed(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.compiled", description=__doc__
    )
    add = parser.add_argument
    add("--target", required=True, choices=sorted(TARGETS))
    only_help = "the tables whose names contain one of these, separated by commas"
    add("--only", type=names, default=[""], metavar="NAME[,NAME]", help=only_help)
    rows_help = "of their rows that of this name, beside what it is compared with"
    add("--row", action="append", default=[], metavar="NAME", help=rows_help)
    add("--out", type=Path, help="folder for the results")
    flags = parser.parse_args(argv)
    if flags.only == [""] and not flags.row and flags.out is None:
        flags.out = RESULTS
    there = dict.fromkeys(name for t in chosen(flags.only) for name in t.programs)
    for name in flags.row:
        if name not in there:
            parser.error(f"--row {name}: there are: {'; '.join(there)}")
    return flags


def names(text: str) -> list[str]:
    parts = text.split(",")
    there = [table.name for table in tables()]
    for part in parts:
        if not part or not any(part in name for name in there):
            raise argparse.ArgumentTypeError(
                f"no table has {part!r} in its name; there are: {', '.join(there)}"
            )
    return parts


if __name__ == "__main__":
    sys.exit(main())
