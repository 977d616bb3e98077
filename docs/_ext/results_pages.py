"""Tables of measurements, from the files that the benchmarks write."""

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
RESULTS = BENCHMARKS / "results"
LIBRARIES = ("flax.linen", "flax.nnx", "equinox", "haiku", "keras")
# what is shown, the case and the size in the file, and our row of it
CPU = (
    ("`dropout`, 1M elements", "forward dropout", 2**20, "jaxnoise"),
    ("`dropout`, 1M, ``bits=8``", "forward dropout", 2**20, "jaxnoise, bits=8"),
    ("`dropout`, 16M elements", "forward dropout", 2**24, "jaxnoise"),
    ("`gaussian_noise`, 1M", "forward gaussian_noise", 2**20, "jaxnoise"),
    (
        "gradient of dropout, tanh, dropout, 1M",
        *("gradient elementwise", 2**20, "jaxnoise"),
    ),
    ("`dropout` called eagerly, 1M", "eager function", 2**20, "jaxnoise"),
)
COMPILED = (
    ("TPU v5e, cycles", "tpu-v5e", "transformer", "cycles"),
    ("TPU v6e, cycles", None, "v6e cycles", ""),
    (
        "TPU v5e, cycles, with dropout on the attention weights",
        *("tpu-v5e", "transformer with attention noise", "cycles"),
    ),
    ("H100, bytes", "h100", "transformer", "bytes"),
)


def cpu_times() -> list[list[str]]:
    """Median milliseconds: ours, the fastest of the others, the formula, a copy."""
    rows = json.loads((RESULTS / "noise-cpu.json").read_text("utf-8"))["rows"]
    lines = [["", "jaxnoise", "the fastest of the others", "``jax.random``", "a copy"]]
    for title, case, size, ours in CPU:
        found = {
            row["name"]: row["median_ms"]
            for row in rows
            if (row["case"], row["size"], row["dtype"]) == (case, size, "float32")
        }
        others = [found[name] for name in LIBRARIES if name in found]
        times = [found[ours], min(others, default=None), found.get("jax.random")]
        if ours != "jaxnoise":  # the others have no such option
            times[1:] = [None, None]
        lines.append([title, *map(_milliseconds, [*times, found["copy"]])])
    return lines


def _milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}" if value < 10 else f"{value:.0f}"


def transformer_steps() -> list[list[str]]:
    """A training step of a transformer over the one without noise."""
    lines = [["", "flax", "jaxnoise", "jaxnoise, ``bits=8``"]]
    for title, target, table, unit in COMPILED:
        if target is None:
            lines.append([title, *_of_notes(table)])
            continue
        path = RESULTS / f"compiled-{target}.json"
        rows = json.loads(path.read_text("utf-8"))["rows"]
        values = {row["row"]: row[unit] for row in rows if row["table"] == table}
        names = ("flax.linen", "jaxnoise", "jaxnoise, bits=8")
        cells = [f"{values[name] / values['none']:.2f}" for name in names]
        lines.append([title, *cells])
    return lines


def _of_notes(column: str) -> list[str]:
    """The same of a target whose step stands in the notes alone."""
    text = (BENCHMARKS / "COMPILED.md").read_text("utf-8")
    section = text.partition("## The step as a whole")[2].partition("\n## ")[0]
    table = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line.startswith("|")
    ]
    index = table[0].index(column)
    rows = {row[0].strip("`"): row[index] for row in table}
    names = ("flax.linen.Dropout", "bits=32", "bits=8")
    return [f"{float(rows[name]):.2f}" for name in names]


TABLES = {"cpu-times": cpu_times, "transformer-steps": transformer_steps}


class Table(SphinxDirective):
    """`.. measured:: name`: one of the tables of this file."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        for path in (RESULTS.glob("*.json"), [BENCHMARKS / "COMPILED.md"]):
            for file in path:
                self.env.note_dependency(str(file))
        lines = [".. list-table::", "   :header-rows: 1", ""]
        for row in TABLES[self.arguments[0]]():
            for number, cell in enumerate(row):
                text = cell.replace("`dropout`", ":py:obj:`~jaxnoise.dropout`")
                text = text.replace(
                    "`gaussian_noise`", ":py:obj:`~jaxnoise.gaussian_noise`"
                )
                lines.append(f"   {'* -' if number == 0 else '  -'} {text}".rstrip())
        container = nodes.container()
        container.document = self.state.document
        source = StringList(lines, source=self.get_source_info()[0])
        self.state.nested_parse(source, self.content_offset, container)
        return container.children


def setup(app) -> dict[str, Any]:
    app.add_directive("measured", Table)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
