"""Tables of laws, of promises and of the noises, from the code."""

import ast
import re
from pathlib import Path
from typing import Any

import public_names
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective
from sphinx.util.parsing import nested_parse_to_nodes

ROOT = Path(__file__).parents[2]


class Laws(SphinxDirective):
    """`.. laws:: module` and names: call, law, mean and variance of each function."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        module, names = self.arguments[0], " ".join(self.content).split()
        lines = [".. list-table::", "   :class: laws", "   :header-rows: 1", ""]
        lines += ["   * - Function and law", "     - Mean", "     - Variance"]
        for name in names:
            lines += _row(f"{module}.{name}")
        return _parsed(self, lines)


def _row(name: str) -> list[str]:
    law = public_names.law(public_names.find(name))
    if law is None:
        raise ValueError(f"{name} has no law in its docstring")
    mean, variance = (f"``{text}``" if text else "" for text in law[1:])
    return [
        f"   * - :py:obj:`{public_names.call(name)} <{name}>`",
        "",
        f"       ``{law.rule}``",
        f"     - {mean}",
        f"     - {variance}",
    ]


class Promises(SphinxDirective):
    """`.. promises::`: the checks of `jaxnoise.testing` and what each one asks."""

    def run(self) -> list[nodes.Node]:
        from jaxnoise.testing import LAWS

        lines = [".. list-table::", "   :class: laws", "   :header-rows: 1", ""]
        lines += ["   * - Check", "     - What it asks"]
        for name, check in LAWS.items():
            text = " ".join((check.__doc__ or "").split("\n\n")[0].split())
            text = re.sub(r"([*|])", r"\\\1", text)
            lines += [f"   * - ``{name}``", f"     - {text}"]
        return _parsed(self, lines)


class Examples(SphinxDirective):
    """`.. examples::`: the programs in `examples/`, with their text."""

    def run(self) -> list[nodes.Node]:
        lines: list[str] = []
        for path in sorted((ROOT / "examples").glob("*.py")):
            source = path.read_text("utf-8")
            self.env.note_dependency(str(path))
            if '__name__ == "__main__"' not in source:
                continue
            text = ast.get_docstring(ast.parse(source)) or ""
            lines += [path.name, "-" * len(path.name), "", "::", ""]
            lines += [f"   {line}".rstrip() for line in text.splitlines()]
            lines += ["", f".. dropdown:: {path.name}", ""]
            lines += [f"   .. literalinclude:: /../examples/{path.name}", ""]
        return _parsed(self, lines, sections=True)


def _parsed(
    directive: SphinxDirective, lines: list[str], sections: bool = False
) -> list[nodes.Node]:
    text = StringList(lines, source=directive.get_source_info()[0])
    return nested_parse_to_nodes(directive.state, text, allow_section_headings=sections)


def setup(app) -> dict[str, Any]:
    app.add_directive("laws", Laws)
    app.add_directive("promises", Promises)
    app.add_directive("examples", Examples)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
