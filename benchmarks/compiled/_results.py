"""Rows that are kept between runs, each with a digest of what it was made of."""

import datetime
import hashlib
import json
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.compiled._tables import Table
from benchmarks.compiled._targets import Target

PACKAGES = ("jax", "jaxlib", "flax")
COUNTED_BY = Path(__file__).with_name("_programs.py")

Row = dict[str, Any]


class Results:
    """The rows of a target; with a folder, those of its file and saved there."""

    def __init__(self, target: Target, folder: Path | None):
        self.target, self.folder = target, folder
        self.versions = {p: version(p) for p in (*PACKAGES, *target.wheels)}
        self.date = datetime.date.today().isoformat()
        self.rows: dict[tuple[str, str], Row] = {}
        self.confirmed: set[tuple[str, str]] = set()  # by this run
        if folder is not None and self.path("json").exists():
            saved = json.loads(self.path("json").read_text("utf-8"))
            self.rows = {(row["table"], row["row"]): row for row in saved["rows"]}

    def path(self, suffix: str) -> Path:
        assert self.folder is not None
        return self.folder / f"compiled-{self.target.name}.{suffix}"

    def find(self, table: Table, name: str, texts: Iterable[str]) -> Row | None:
        """The row, if the same programs, versions and counts made it.

        `texts` are the programs as they go into the compiler.
        """
        row = self.rows.get((table.name, name))
        if row is None or row.get("made_of") != self.made_of(texts):
            return None
        self.confirmed.add((table.name, name))
        return row

    def made_of(self, texts: Iterable[str]) -> str:
        whole = [*texts, COUNTED_BY.read_text("utf-8"), str(self.versions)]
        return hashlib.sha256("\0".join(whole).encode()).hexdigest()[:16]

    def add(self, row: Row, texts: Iterable[str]) -> None:
        place = row["table"], row["row"]
        self.rows[place] = row | {"made_of": self.made_of(texts)}
        self.confirmed.add(place)

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
