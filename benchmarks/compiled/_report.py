"""Rows as Markdown: ratios to the first row of their table and to the peer's."""

from collections.abc import Iterable
from itertools import groupby

from benchmarks.compiled._results import Results, Row

WHAT = (
    "Cycles: an estimate by the compiler for the device. The rest is counted in the "
    "program that it made. No time was measured."
)
NO_CYCLES = (
    "Counted in the program that the compiler for the device made. No time was "
    "measured, and this compiler estimates none."
)
LEGEND = """\
Cycles, bytes and temporary memory are ratios to the first row of a table, and behind
"/" to the row of the peer: for ours, above 1 is more than the peer. Bytes are what
kernels read and write, in whatever memory; of an array of which a kernel needs a slice,
the slice. Temporary memory is what the program allocates beside arguments and results,
in bytes an element where the first row needs less than one. Kernels are those that one
run starts, and those in one step of its loops, forward and backward together. What is
fetched ahead of a kernel, as parameters on a TPU are, has no cycles of its own. Blocks
are of threefry, two words of 32 bits each; of rbg keys there are none. Collectives: how
many stand in the program for 2 x 2 chips, x split over rows and features (one block of
the transformer over the batch and the last dim of its parameters, a recurrent layer
over the batch). A loop of unknown length counts as one step, and the row says so."""


def what(rows: list[Row]) -> str:
    return WHAT if rows[0]["cycles"] else NO_CYCLES


def head(rows: list[Row]) -> str:
    """Title, nature and head of a table, of which there is the first row at least."""
    cells = ["", "bytes", "temporary memory", "kernels", "in a step", "blocks/element"]
    cells += ["collectives", "compiled in s"]
    if rows[0]["cycles"]:
        cells.insert(1, "cycles")
    lines = [
        f"### {rows[0]['table']}",
        "",
        what(rows),
        "",
        f"| {' | '.join(cells)} |",
        "|---" * len(cells) + "|",
    ]
    return "\n".join(lines)


def line(row: Row, base: Row, peer: Row | None) -> str:
    """A row beside the first one of its table and, if there is one, the peer's."""
    sent = row.get("collectives")
    loops = row["unknown_loops"]
    cells = [
        row["row"] + (f" ({loops} loops of unknown length)" if loops else ""),
        _ratios("bytes", row, base, peer),
        _ratios("temporary_bytes", row, base, peer),
        str(row["kernels"]),
        str(row["step_kernels"] or ""),
        f"{row['blocks'] / row['elements']:.3g}",
        "" if sent is None else _sent(sent),
        f"{row['seconds']:.1f}",
    ]
    if base["cycles"]:
        cells.insert(1, _ratios("cycles", row, base, peer))
    return f"| {' | '.join(cells)} |"


def _ratios(column: str, row: Row, base: Row, peer: Row | None) -> str:
    value = row[column]
    if column == "temporary_bytes" and base[column] < row["elements"]:
        return f"{value / row['elements']:.3f} B"
    text = f"{value / base[column]:.3f}"
    if row is base or peer is None or peer is base or not peer[column]:
        return text
    return f"{text} / {value / peer[column]:.2f}"


def _sent(collectives: dict[str, int]) -> str:
    return ", ".join(f"{n} {name}" for name, n in collectives.items()) or "none"


def table(rows: list[Row]) -> str:
    base, peer = rows[0], peer_of(rows)
    return "\n".join([head(rows), *(line(row, base, peer) for row in rows)])


def peer_of(rows: Iterable[Row]) -> Row | None:
    return next((row for row in rows if row["row"] == row["peer"]), None)


def grouped(rows: Iterable[Row]) -> list[list[Row]]:
    return [list(group) for _, group in groupby(rows, lambda row: row["table"])]


def over(column: str, row: Row | None, base: Row | None) -> str:
    if row is None or base is None or not base[column]:
        return ""
    return f"{row[column] / base[column]:.2f}"


def summary(rows: list[Row]) -> str:
    """A line for each table: ours beside the first row, and beside the peer."""
    columns = {"cycles": "cycles", "bytes": "bytes", "blocks": "blocks"}
    if not any(row["cycles"] for row in rows):
        del columns["cycles"]
    cells = ["", *(f"{name} / first row" for name in list(columns)[:-1])]
    cells += ["peer", *(f"{name} / peer" for name in columns)]
    cells += [f"bits={n}: {next(iter(columns))} / first row" for n in (16, 8)]
    lines = [f"| {' | '.join(cells)} |", "|---" * len(cells) + "|"]
    for group in grouped(rows):
        named: dict[str, Row] = {row["row"]: row for row in group}
        base, peer, own = group[0], peer_of(group), named.get("jaxnoise")
        cells = [base["table"]]
        cells += [over(column, own, base) for column in list(columns)[:-1]]
        cells += [base["peer"], *(over(column, own, peer) for column in columns)]
        packed = (named.get(f"jaxnoise, bits={n}") for n in (16, 8))
        cells += [over(next(iter(columns)), row, base) for row in packed]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def write(results: Results, rows: list[Row]) -> None:
    """The Markdown of what there is so far."""
    if rows:
        results.path("md").write_text(markdown(results, rows), "utf-8")


def markdown(results: Results, rows: list[Row]) -> str:
    versions = ", ".join(f"{name} {v}" for name, v in results.versions.items())
    parts = [
        f"# What noise costs on one {results.target.device}, by its compiler",
        f"{what(rows)}",
        f"{versions}; {results.date}.",
        LEGEND,
        f"![Beside the first row of each table]({results.path('png').name})",
        "## Summary",
        what(rows),
        summary(rows),
        "## Tables",
        *map(table, grouped(rows)),
    ]
    places = {(row["table"], row["row"]) for row in rows}
    if older := len(places - results.confirmed):
        parts.insert(3, f"{older} rows are of an earlier run, and were not made again.")
    return "\n\n".join(parts) + "\n"
