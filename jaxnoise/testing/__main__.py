"""`python -m jaxnoise.testing`: all laws over all functions, on this machine.

Prints the device, the versions, a table function by law, and the fingerprints of the
drawn bits beside those recorded on CPU. Exits with 1 if a law or a fingerprint is
broken. `--thorough` runs a statistical battery instead, which takes minutes.
"""

import argparse
import json
import sys
import time
from importlib import resources
from importlib.metadata import version

import jax

from jaxnoise.testing import _fingerprint
from jaxnoise.testing._cases import CASES as NOISES
from jaxnoise.testing._check_noise import LAWS, Report, run_law
from jaxnoise.testing._weight_cases import WEIGHT_CASES

CASES = (*NOISES, *WEIGHT_CASES)
MARKS = {"ok": "ok", "broken": "FAIL", "-": "-"}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m jaxnoise.testing", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="LAW", choices=list(LAWS))
    parser.add_argument("--json", metavar="FILE", help="also write the outcomes there")
    parser.add_argument("--thorough", action="store_true", help="10^8 draws a function")
    parser.add_argument("--draws", type=_draws, metavar="N", help="with --thorough")
    parser.add_argument("--seed", type=int, metavar="N", help="with --thorough")
    parser.add_argument("--record", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.record:
        return record()
    laws = options.only or list(LAWS)

    start, device = time.perf_counter(), jax.devices()[0]
    names = ("jaxnoise", "jax", "jaxlib", "flax")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    print(
        f"{jax.device_count()} x {device.device_kind} ({device.platform}); {versions}"
    )
    if options.thorough:
        return battery(parser, options)
    if options.draws is not None or options.seed is not None:
        parser.error("--draws and --seed are of --thorough")

    report = Report()
    for case in CASES:
        report.outcomes += [run_law(law, case) for law in laws]
        if sys.stdout.isatty():
            print(f"\r{case.name:40}", end="", file=sys.stderr)
    show(report, laws)
    differ = compare_fingerprints()
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            outcomes = [vars(outcome) for outcome in report.outcomes]
            json.dump({"versions": versions, "outcomes": outcomes}, file, indent=1)

    checked = [o for o in report.outcomes if o.status != "-"]
    print(
        f"{len(checked) - len(report.broken)} of {len(checked)} laws hold, "
        f"{time.perf_counter() - start:.0f} s"
    )
    return 1 if report.broken or differ else 0


def battery(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    """The exit code of the statistical battery."""
    if options.only or options.json:
        parser.error("--only and --json are not of --thorough")
    # scipy takes a while to import, and the laws do without
    from jaxnoise.testing import _many_draws

    draws = _many_draws.DRAWS if options.draws is None else options.draws
    return _many_draws.main(draws, options.seed or 0)


def _draws(text: str) -> int:
    """A number like 100000000 or 1e8, large enough for a table of cells."""
    number = int(float(text))
    if number < 2**16:
        raise argparse.ArgumentTypeError(f"must be at least 65536, got {text}")
    return number


def show(report: Report, laws: list[str]):
    """The table, function by law, then every broken law in full and every exception."""
    status = {(o.case, o.law): MARKS[o.status] for o in report.outcomes}
    rows = [[case.name, *(status[case.name, law] for law in laws)] for case in CASES]
    if sys.stdout.isatty():
        _rich_table(rows, laws)
    else:
        _plain_table(rows, laws)
    for outcome in report.broken:
        print(outcome.detail)
    for case in CASES:
        for law, reason in case.skip.items():
            if law in laws:
                print(f"- {law}, {case.name}: {reason}")


def _rich_table(rows, laws):
    from rich.console import Console
    from rich.table import Table

    table = Table("function", *laws)
    colour = {"ok": "[green]ok", "FAIL": "[bold red]FAIL", "-": "[dim]-"}
    for name, *cells in rows:
        table.add_row(name, *(colour[cell] for cell in cells))
    Console().print(table)


def _plain_table(rows, laws):
    width = max(len(row[0]) for row in rows)
    print(" ".join([" " * width, *laws]))
    for name, *cells in rows:
        padded = [cell.ljust(len(law)) for cell, law in zip(cells, laws, strict=True)]
        print(" ".join([name.ljust(width), *padded]).rstrip())


def compare_fingerprints() -> bool:
    """Print the fingerprints; True if one differs from the recorded one."""
    expected, found = _fingerprint.recorded(), _fingerprint.measured(CASES)
    differ = {name for name in found if found[name] != expected.get(name)}
    for name in sorted(differ):
        print(f"FAIL fingerprint, {name}: {found[name]}, recorded {expected.get(name)}")
    print(f"fingerprint of the drawn bits: {found['bits']}", end="; ")
    print(f"{len(found) - len(differ)} of {len(found)} are those recorded on CPU")
    return bool(differ)


def record() -> int:
    """Write the fingerprints of this machine into the package."""
    path = resources.files("jaxnoise.testing").joinpath(_fingerprint.RECORD)
    with open(str(path), "w", encoding="utf-8") as file:
        json.dump(_fingerprint.measured(CASES), file, indent=1)
        file.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
