"""One picture of what the compiler says: ours and the peers, beside the first row."""

from benchmarks import _plot
from benchmarks.compiled import _report
from benchmarks.compiled._results import Results, Row

DTYPE = "bfloat16"


def write(results: Results, rows: list[Row]) -> None:
    """Draw cycles, or bytes where there are none, if there is something to draw."""
    column = "cycles" if any(row["cycles"] for row in rows) else "bytes"
    lines = [_line(group, column) for group in _report.grouped(rows) if _drawn(group)]
    if lines:
        what = "estimated cycles" if column == "cycles" else "bytes moved"
        device, jax = results.target.device, results.versions["jax"]
        _plot.draw(
            results.path("png"),
            lines,
            label=f"{what} / those of a copy, of no noise or of flax without noise "
            f"({DTYPE}, by the compiler for {device}, jax {jax}; not measured)",
            notes="peer / ours",
        )


def _drawn(group: list[Row]) -> bool:
    """Floating x in one dtype, and something of ours."""
    name = group[0]["table"]
    ours = any(row["row"] == "jaxnoise" for row in group)
    return ours and (name.endswith(DTYPE) or name.startswith("transformer"))


def _line(group: list[Row], column: str) -> _plot.Line:
    base, peer = group[0], _report.peer_of(group)
    costs = {row["row"]: row[column] / base[column] for row in group if row[column]}
    own = next(row for row in group if row["row"] == "jaxnoise")
    note = _report.over(column, peer, own)
    label = base["table"].removeprefix("forward ").removesuffix(f" {DTYPE}")
    return _plot.Line(label, costs, note)
