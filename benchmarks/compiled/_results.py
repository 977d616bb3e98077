"""Rows that are kept between runs, each with what it was made from."""

import datetime
import hashlib
import json
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.compiled._tables import Table
from benchmarks.compiled._targets import Target

ROOT = Path(__file__).parents[2]
PACKAGES = ("jax", "jaxlib", "flax")

Row = dict[str, Any]


class Results:
    """The rows of a target; with a folder, those of its file and saved there."""

    def __init__(self, target: Target, folder: Path | None):
        self.target, self.folder = target, folder
        self.versions = {p: version(p) for p in (*PACKAGES, *target.wheels)}
        self.rows: dict[tuple[str, str], Row] = {}
        if folder is not None and self.path("json").exists():
            saved = json.loads(self.path("json").read_text("utf-8"))
            self.rows = {(row["table"], row["row"]): row for row in saved["rows"]}

    def path(self, suffix: str) -> Path:
        assert self.folder is not None
        return self.folder / f"compiled-{self.target.name}.{suffix}"

    def has(self, table: Table, name: str) -> bool:
        """Whether this row was made by the same code and versions."""
        row = self.rows.get((table.name, name))
        return row is not None and row["source"] == self.source(name)

    def add(self, row: Row) -> None:
        source = {"source": self.source(row["row"])}
        self.rows[row["table"], row["row"]] = row | source
        if self.folder is not None:
            self.save()

    def of(self, table: Table) -> list[Row]:
        """The rows of a table, in its order."""
        keys = ((table.name, name) for name in table.programs)
        return [self.rows[key] for key in keys if key in self.rows]

    def source(self, name: str) -> str:
        """What a row is made of: versions, the code here, and for ours the library."""
        folders = ["benchmarks"] + ["jaxnoise"] * name.startswith("jaxnoise")
        text = " ".join([*map(_digest, folders), *map(str, self.versions.items())])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def save(self) -> None:
        assert self.folder is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        about = {
            "target": self.target.name,
            "device": self.target.device,
            "versions": self.versions,
            "date": datetime.date.today().isoformat(),
        }
        text = json.dumps(about | {"rows": list(self.rows.values())}, indent=1)
        self.path("json").write_text(text + "\n", "utf-8")


@cache
def _digest(folder: str) -> str:
    """Of the Python files of a folder of the project."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / folder).rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
