"""Rows as Markdown: ratios to the first row of a table."""

from collections.abc import Sequence

from benchmarks.compiled._results import Results, Row

WHAT = (
    "Cycles are the estimate of the device's compiler, the rest is counted in the "
    "program that it made; no time was measured."
)
HEAD = (
    "| | cycles | bytes | temporary memory, bytes an element | kernels | a step of a "
    "loop | threefry blocks an element | collectives on 2 x 2 | compiled in s |"
)


def table(rows: Sequence[Row]) -> str:
    """A table whose cycles and bytes are ratios to those of its first row."""
    base = rows[0]
    lines = [f"{base['table']} ({WHAT})", "", HEAD, "|---" * 9 + "|"]
    for row in rows:
        sent = row.get("collectives")
        cells = [
            row["row"],
            _ratio(row, base, "cycles"),
            _ratio(row, base, "bytes"),
            f"{row['temporary_bytes'] / row['elements']:.3f}",
            str(row["kernels"]),
            str(row["step_kernels"] or ""),
            f"{row['blocks'] / row['elements']:.4g}",
            "" if sent is None else _sent(sent),
            f"{row['seconds']:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _ratio(row: Row, base: Row, column: str) -> str:
    return f"{row[column] / base[column]:.3f}" if base[column] else ""


def _sent(collectives: dict[str, int]) -> str:
    return ", ".join(f"{n} {name}" for name, n in collectives.items()) or "none"


def write(results: Results) -> None:
    results.save()
