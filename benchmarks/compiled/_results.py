"""Rows that are kept between runs, each with what it was made from."""

import datetime
import hashlib
import json
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.compiled._tables import Table
from benchmarks.compiled._targets import Target

ROOT = Path(__file__).parents[2]
PACKAGES = ("jax", "jaxlib", "flax")
# what decides of a row beside the library
MADE_BY = (
    *("benchmarks/_cases.py", "benchmarks/_formulas.py", "benchmarks/_peers.py"),
    *("benchmarks/_uncommon.py", "benchmarks/recurrent.py"),
    *(f"benchmarks/compiled/_{name}.py" for name in ("programs", "tables", "targets")),
    *(f"benchmarks/compiled/_{name}.py" for name in ("transformer", "recurrent")),
)

Row = dict[str, Any]


class Results:
    """The rows of a target; with a folder, those of its file and saved there."""

    def __init__(self, target: Target, folder: Path | None):
        self.target, self.folder = target, folder
        self.versions = {p: version(p) for p in (*PACKAGES, *target.wheels)}
        self.date = datetime.date.today().isoformat()
        self.rows: dict[tuple[str, str], Row] = {}
        if folder is not None and self.path("json").exists():
            saved = json.loads(self.path("json").read_text("utf-8"))
            self.rows = {(row["table"], row["row"]): row for row in saved["rows"]}

    def path(self, suffix: str) -> Path:
        assert self.folder is not None
        return self.folder / f"compiled-{self.target.name}.{suffix}"

    def find(self, table: Table, name: str) -> Row | None:
        """The row, if the same code and versions made it."""
        row = self.rows.get((table.name, name))
        return row if row is not None and self.is_current(row) else None

    def is_current(self, row: Row) -> bool:
        return row["source"] == self.source(row["row"])

    def source(self, name: str) -> str:
        """What a row is made of: versions, the code here, and for ours the library."""
        patterns = list(MADE_BY) + ["jaxnoise/**/*.py"] * name.startswith("jaxnoise")
        text = " ".join([*map(_digest, patterns), *map(str, self.versions.items())])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def add(self, row: Row) -> None:
        row["source"] = self.source(row["row"])
        self.rows[row["table"], row["row"]] = row

    def ordered(self, tables: Iterable[Table]) -> list[Row]:
        """The rows of these tables, in their order."""
        keys = ((table.name, name) for table in tables for name in table.programs)
        return [self.rows[key] for key in keys if key in self.rows]

    def save(self, tables: Iterable[Table]) -> None:
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        about = {
            "target": self.target.name,
            "device": self.target.device,
            "versions": self.versions,
            "date": self.date,
            "rows": self.ordered(tables),
        }
        self.path("json").write_text(json.dumps(about, indent=1) + "\n", "utf-8")


@cache
def _digest(pattern: str) -> str:
    """Of files of the project."""
    digest = hashlib.sha256()
    for path in sorted(ROOT.glob(pattern)):
        digest.update(path.read_bytes())
    return digest.hexdigest()
