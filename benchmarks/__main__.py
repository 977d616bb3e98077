"""Measure what noise costs on this machine, beside a copy and beside other libraries.

Prints a table for each case, shape and dtype. A run of everything writes Markdown, JSON
and a picture to benchmarks/results; a part of it does where --out says so.
"""

import argparse
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import jax

from benchmarks import _cases, _plot, _report, recurrent

RESULTS = Path(__file__).parent / "results"
NAMES = (*(case.name for case in _cases.CASES), "recurrent")


def main(argv: list[str] | None = None) -> int:
    flags = parsed(argv)
    chosen = [n for n in NAMES if any(part in n for part in flags.only)]
    results = _report.machine() | {"rows": [], "recurrent": [], "failures": []}
    start = time.perf_counter()
    try:
        for name in chosen:
            run(name, flags, results)
    finally:  # an interrupted run draws what it has
        if flags.out:
            _plot.write(flags.out, results)
    if results["rows"]:
        print(_report.summary(results["rows"]))
    print(f"{time.perf_counter() - start:.0f} s")
    return 1 if results["failures"] else 0


def run(name: str, flags: argparse.Namespace, results: dict[str, Any]) -> None:
    """Add the rows of a case to the results, or why it failed, and save them."""
    try:
        if name == "recurrent":
            measure_recurrent(results)
        else:
            measure(name, flags, results)
    except Exception:
        results["failures"].append(f"{name}: {traceback.format_exc()}")
        traceback.print_exc()
    if flags.out:
        _report.write(flags.out, results)


def measure(name: str, flags: argparse.Namespace, results: dict[str, Any]) -> None:
    case = next(case for case in _cases.CASES if case.name == name)
    for block in _cases.blocks(case, flags.sizes):
        rows = _cases.measured(block, flags.seconds)
        print(_report.block_table(rows), flush=True, end="\n\n")
        results["rows"] += rows


def measure_recurrent(results: dict[str, Any]) -> None:
    for shape in recurrent.SHAPES:
        print(f"batch, time, in, hidden = {shape}")
        rows = recurrent.measure(shape, repetitions=8)
        print(recurrent.table(rows), flush=True, end="\n\n")
        results["recurrent"] += rows


def parsed(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    add = parser.add_argument
    only_help = "the cases whose names contain one of these"
    add("--only", type=names, default=[""], metavar="NAME[,NAME]", help=only_help)
    add("--backend", choices=("cpu", "gpu", "tpu"), help="by default that of JAX")
    sizes_help = "numbers of elements, for the cases that have several"
    add("--sizes", type=numbers, metavar="N[,N]", help=sizes_help)
    seconds_help = "seconds for a table, if five rounds do not take longer"
    add("--seconds", type=float, default=1.5, help=seconds_help)
    add("--out", type=Path, help="folder for the results")
    flags = parser.parse_args(argv)
    whole = all(
        getattr(flags, n) == parser.get_default(n) for n in ("only", "sizes", "seconds")
    )
    if whole and flags.out is None:
        flags.out = RESULTS
    if flags.backend == "cpu":
        jax.config.update("jax_platforms", "cpu")
    if flags.backend not in (None, jax.default_backend()):
        parser.error(f"--backend {flags.backend}: JAX finds {jax.devices()}")
    return flags


def names(text: str) -> list[str]:
    parts = text.split(",")
    for part in parts:
        if not part or not any(part in name for name in NAMES):
            raise argparse.ArgumentTypeError(
                f"no case has {part!r} in its name; there are: {', '.join(NAMES)}"
            )
    return parts


def numbers(text: str) -> tuple[int, ...]:
    sizes = tuple(map(int, text.split(",")))
    if min(sizes) < 1:
        raise argparse.ArgumentTypeError(f"must be positive, got {text!r}")
    return sizes


if __name__ == "__main__":
    sys.exit(main())
