"""Rows as Markdown and JSON, and what they were measured on."""

import datetime
import json
import os
import platform
import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from typing import Any

import jax

from benchmarks import recurrent
from benchmarks._harness import Row

PACKAGES = (
    *("jaxnoise", "jax", "jaxlib", "flax", "equinox", "dm-haiku", "keras", "torch"),
    "numpy",
)
NEAR = 2**20  # the size that is drawn, or the one nearest to it
LEGEND = """\
Least and median over the rounds in which all rows of a table take turns. "/ limit": the
time over that of the row "copy" (x times a number; "none" in a stack), "/ ours": over
that of the first row of jaxnoise, so above 1 is slower than it; both are medians over
the rounds. GB/s counts what no implementation can avoid, x read and y or the gradient
of x written. MiB: what XLA allocates beside arguments and results. Compile: tracing,
lowering and compiling once, with nothing cached; where compilation is what is timed,
ms are those of it."""


def machine() -> dict[str, Any]:
    """Device, versions and date."""
    device, versions = jax.devices()[0], {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "backend": jax.default_backend(),
        "device": _cpu() if device.platform == "cpu" else device.device_kind,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "versions": versions,
        "date": datetime.date.today().isoformat(),
    }


def _cpu() -> str:
    """The name that the processor gives itself, where Linux tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    models = [
        line.partition(": ")[2] for line in lines if line.startswith("model name")
    ]
    return models[0] if models else platform.machine()


def stem() -> str:
    """noise-cpu, noise-gpu-nvidia-h100: backend and device in the name of a file."""
    backend, kind = jax.default_backend(), jax.devices()[0].device_kind
    words = re.findall(r"[a-z0-9]+", f"{backend} {kind}".lower())
    return "-".join(["noise", *dict.fromkeys(words)])


def block_table(rows: list[Row]) -> str:
    """A title and a table for rows that took turns."""
    first = rows[0]
    shape = " x ".join(map(str, first["shape"]))
    lines = [
        f"{first['case']}, {shape} {first['dtype']}, {first['rounds']} rounds",
        "",
        "| | least ms | median ms | / limit | / ours | GB/s | MiB | compile ms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        rate = row["bytes"] / row["median_ms"] / 1e6 if "bytes" in row else None
        cells = [
            row["name"],
            _number(row["least_ms"], 3),
            _number(row["median_ms"], 3),
            _number(row["over_limit"], 2),
            _number(row["over_ours"], 2),
            _number(rate, 1),
            _number(row["temporary_mib"], 1),
            _number(row["compile_ms"], 0),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def blocks(rows: Iterable[Row]) -> list[list[Row]]:
    return [list(block) for _, block in groupby(rows, _block)]


def _block(row: Row) -> tuple:
    return row["case"], row["size"], row["dtype"]


def best_peer(block: list[Row]) -> Row | None:
    """The fastest of the other libraries of JAX."""
    peers = [row for row in block if _is_peer(row["name"])]
    return min(peers, key=lambda row: row["over_ours"], default=None)


def _is_peer(name: str) -> bool:
    return not name.startswith("jaxnoise") and name not in ("copy", "none", "torch")


def drawn(rows: list[Row]) -> list[list[Row]]:
    """The rows of the picture: float32 beside a copy, each case at its best size."""
    nearest: dict[str, list[Row]] = {}
    for block in blocks(rows):
        case, size, dtype = _block(block[0])
        if dtype == "float32" and case.startswith(("forward", "gradient")):
            best = nearest.setdefault(case, block)
            if abs(size - NEAR) < abs(best[0]["size"] - NEAR):
                nearest[case] = block
    return list(nearest.values())


def summary(rows: list[Row]) -> str:
    """One line for a table: ours, and the fastest of the others beside it."""
    lines = [
        "| | elements | dtype | ours, ms | / limit | JAX peer | / ours | torch |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for block in blocks(rows):
        ours = next(row for row in block if row["name"].startswith("jaxnoise"))
        torch = next((r["over_ours"] for r in block if r["name"] == "torch"), None)
        peer = best_peer(block)
        cells = [
            ours["case"],
            str(ours["size"]),
            ours["dtype"],
            _number(ours["median_ms"], 3),
            _number(ours["over_limit"], 2),
            peer["name"] if peer else "",
            _number(peer["over_ours"], 2) if peer else "",
            _number(torch, 2),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def markdown(results: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {v}" for name, v in results["versions"].items())
    parts = [
        "# What noise costs",
        f"{results['device']}, {results['cores']} CPU cores; "
        f"Python {results['python']}, {versions}; {results['date']}.",
        *(f"Failed: {failure}" for failure in results["failures"]),
    ]
    if rows := results["rows"]:
        parts.append(LEGEND)
        if drawn(rows):
            parts.append(f"![Time over the time of a copy]({stem()}.png)")
        parts += ["## Summary", summary(rows), "## Tables"]
        parts += [block_table(block) for block in blocks(rows)]
    if rows := results["recurrent"]:
        parts += [
            "## Gradient step of a whole LSTM layer",
            "What the columns mean stands in `benchmarks/recurrent.py`.",
        ]
        for shape, block in groupby(rows, lambda row: row["shape"]):
            parts += [
                f"batch, time, in, hidden = {shape}",
                recurrent.table(list(block)),
            ]
    return "\n\n".join(parts) + "\n"


def write(folder: Path, results: dict[str, Any]) -> None:
    """The Markdown and the JSON of what has been measured so far."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{stem()}.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / f"{stem()}.md").write_text(markdown(results))
