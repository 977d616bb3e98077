"""Tables of laws, of promises and of the noises, from the code."""

import re
from typing import Any

import public
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective


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
    law = public.law(public.find(name))
    if law is None:
        raise ValueError(f"{name} has no law in its docstring")
    mean, variance = (f"``{text}``" if text else "" for text in law[1:])
    return [
        f"   * - :py:obj:`{public.call(name)} <{name}>`",
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


def _parsed(directive: SphinxDirective, lines: list[str]) -> list[nodes.Node]:
    container = nodes.container()
    container.document = directive.state.document
    text = StringList(lines, source=directive.get_source_info()[0])
    directive.state.nested_parse(text, directive.content_offset, container)
    return container.children


def setup(app) -> dict[str, Any]:
    app.add_directive("laws", Laws)
    app.add_directive("promises", Promises)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
