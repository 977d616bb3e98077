"""Compile noise for a device that need not be there, and say what it costs on it.

Prints a table for each case. A run of everything writes Markdown, JSON and a picture to
benchmarks/results, and does again only what other code or other versions made; a part
of it does so where --out says. Nothing is run on the device, and no time is measured.
"""

import argparse
import sys
import time
import traceback
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from benchmarks.compiled import _report, _tables, _transformer
from benchmarks.compiled._programs import cost
from benchmarks.compiled._results import Results, Row
from benchmarks.compiled._tables import Table
from benchmarks.compiled._targets import TARGETS, Chips
from jaxnoise.testing._hlo import collectives

RESULTS = Path(__file__).parents[1] / "results"


def tables() -> Iterator[Table]:
    return chain(_tables.noises(), _transformer.tables())


def main(argv: list[str] | None = None) -> int:
    flags = parsed(argv)
    target = TARGETS[flags.target]
    if complaint := target.missing():
        print(complaint, file=sys.stderr)
        return 2
    results = Results(target, flags.out)
    chips, start, failures = target.chips(), time.perf_counter(), 0
    for table in chosen(flags.only):
        failures += not run(table, chips, results, flags)
    if flags.out:
        _report.write(results)
    print(f"{time.perf_counter() - start:.0f} s")
    return 1 if failures else 0


def chosen(parts: list[str]) -> list[Table]:
    return [t for t in tables() if any(part in t.name for part in parts)]


def run(
    table: Table, chips: Chips, results: Results, flags: argparse.Namespace
) -> bool:
    """Compile the rows of a table that are wanted and not yet there, and print it."""
    good = True
    for name in table.programs:
        wanted = name == table.base or any(part in name for part in flags.rows)
        if wanted and not results.has(table, name):
            try:
                results.add(row(table, name, chips))
            except Exception:
                good = False
                print(f"{table.name}, {name}:", file=sys.stderr)
                traceback.print_exc()
    rows = results.of(table)
    print(_report.table(rows), flush=True, end="\n\n")
    return good


def row(table: Table, name: str, chips: Chips) -> Row:
    """What one program costs on one chip, and what it sends on four."""
    program = table.programs[name]()
    compiled = chips.compile(program.function, program.arguments)
    about = cost(compiled.text, program.trips)._asdict()
    about |= {"temporary_bytes": compiled.temporary, "seconds": compiled.seconds}
    if program.specs is not None:
        text = chips.compile(program.function, program.arguments, program.specs).text
        about["collectives"] = dict(collectives(text))
    return {"table": table.name, "row": name, "elements": table.elements} | about


def parsed(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.compiled", description=__doc__)
    add = parser.add_argument
    add("--target", required=True, choices=sorted(TARGETS))
    only_help = "the tables whose names contain one of these, separated by commas"
    add("--only", type=names, default=[""], metavar="NAME[,NAME]", help=only_help)
    rows_help = "their rows whose names contain this; may be given several times"
    add("--rows", action="append", metavar="NAME", help=rows_help)
    add("--out", type=Path, help="folder for the results")
    add("--list", action="store_true", help="only say which tables and rows there are")
    flags = parser.parse_args(argv)
    whole = flags.only == [""] and flags.rows is None
    if whole and flags.out is None:
        flags.out = RESULTS
    flags.rows = flags.rows or [""]
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
