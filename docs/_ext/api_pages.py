"""The reference: entries for the public names, and an error where one is missing."""

import importlib
import inspect
import re
from typing import Any

import public_names
from docutils import nodes
from docutils.statemachine import StringList
from signatures import signature
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

logger = logging.getLogger(__name__)
# what a user calls; other methods are flax's, or for classes that inherit
_METHODS = {"__call__", "sample_noise", "expected_noise", "initialize_carry"}
_METHODS |= {"kl", "sparsity", "broken"}
_IN_DROPOUT = {"dropout_mask", "apply_mask"}
# names of arguments that are described together, on more than one line
_LIST = r"\w+, ?[^\n:]*\n(?: [^\n:]*\n)* [^\n:]*:"


class Entries(SphinxDirective):
    """`.. entries:: module` and names: a table of what they are, then each in full."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        module, names = self.arguments[0], " ".join(self.content).split()
        lines = [".. list-table::", "   :class: summary", "   :widths: 30 70", ""]
        for name in names:
            full = f"{module}.{name}"
            what = _escaped(public_names.first_sentence(public_names.find(full), full))
            lines += [f"   * - :py:obj:`~{module}.{name}`", f"     - {what}"]
        lines += [""]
        for name in names:
            lines += [*_entry(f"{module}.{name}"), ""]
        container = nodes.container()
        container.document = self.state.document
        text = StringList(lines, source=self.get_source_info()[0])
        self.state.nested_parse(text, self.content_offset, container)
        return container.children


def _entry(name: str) -> list[str]:
    value = public_names.find(name)
    module, _, short = name.rpartition(".")
    for other in public_names.MODULES[: public_names.MODULES.index(module)]:
        if vars(importlib.import_module(other)).get(short) is value:
            same = f"   The same as :py:obj:`{other}.{short}`."
            return [f".. py:class:: {short}", f"   :module: {module}", "", same]
    if inspect.isclass(value):
        return [
            f".. autoclass:: {name}",
            "   :members:",
            "   :inherited-members:",
            "   :special-members: __call__",
        ]
    if inspect.isroutine(value) or hasattr(value, "__wrapped__"):
        return [f".. autofunction:: {name}"]
    what = _escaped(public_names.first_sentence(value, name))
    return [f".. py:data:: {short}", f"   :module: {module}", "", f"   {what}"]


def show_signature(app, what, name, value, options, text, result):
    if what in ("class", "function", "method"):
        return signature(value) or (text, result)
    return None


def skip_member(app, what, name, value, skip, options):
    """Methods of flax are documented there, and fields in the text of their class."""
    if what != "class" or skip:
        return None
    function = inspect.unwrap(getattr(value, "fget", None) or value)
    module = getattr(function, "__module__", "") or ""
    ours = module.startswith("jaxnoise") and inspect.isfunction(function)
    return not (ours and name in _METHODS and not _common(module, name, function))


def _common(module: str, name: str, function: Any) -> bool:
    """Whether it is the call of all noise layers, which a page has once, on its top."""
    api = importlib.import_module(".".join(module.split(".")[:2]))
    layer = getattr(api, "GaussianNoise", None)
    if layer is None or name != "__call__" or name in vars(layer):
        return False
    return inspect.unwrap(layer.__call__) is function


def rewrite(app, what, name, value, options, lines):
    """Boxes for laws and sharp bits; stars, bars and the like are what they are."""
    found: list[str] = []
    text = re.sub(rf"(?m)^( +){_LIST}", _on_one_line, "\n".join(lines))
    for paragraph in re.split(r"\n(?:[ \t]*\n)+", text):
        head, _, rest = paragraph.partition(":")
        if what == "class" and head == "Attributes":
            # fields are what the constructor takes
            found += ["", *_escaped(f"Args:{rest}").split("\n")]
        elif head == "Law" and rest:
            found += _box("Law", "law", rest)
        elif head == "Sharp bits" and rest:
            text = rest.strip()
            found += _box("Sharp bits", "caution", text[:1].upper() + text[1:])
        elif head == "Reference" and rest:
            found += _box("Reference", "reference", rest)
        elif what == "module" and paragraph.startswith("    "):
            found += ["", ".. code-block:: python", "", *paragraph.split("\n")]
        elif what == "class" and re.match(r"\w+: \(", paragraph):
            items = re.sub(r"(?m)^(\w+): ", r"* ``\1``: ", paragraph)
            found += ["", *items.split("\n")]
        elif found and paragraph.startswith("E[") and what == "function":
            found += ["", *(f"   {_escaped(line)}" for line in paragraph.split("\n"))]
        else:
            found += ["", *_escaped(paragraph).split("\n")]
        found.append("")
    lines[:] = found


def _on_one_line(names: re.Match[str]) -> str:
    return names[1] + " ".join(names[0].split())


def _box(title: str, style: str, text: str) -> list[str]:
    head = ["", f".. admonition:: {title}", f"   :class: {style}", ""]
    return [*head, *(f"   {line.strip()}" for line in _escaped(text).split("\n"))]


def _escaped(text: str) -> str:
    """Outside of backticks and doctests, nothing opens emphasis or a substitution."""
    doctest = re.search(r"(?m)^ *>>> ", text)
    end = doctest.start() if doctest else len(text)
    parts = re.split(r"(`+[^`]*`+)", text[:end])
    return "".join(map(_code_or_text, parts)) + text[end:]


def _code_or_text(part: str) -> str:
    if not part.startswith("`"):
        return re.sub(r"([*|]|(?<=\w)_(?!\w))", r"\\\1", part)
    # code is no name to be looked up
    code = part.strip("`")
    return part if re.fullmatch(r"(?!jnx?\.)[\w.]+", code) else f"``{code}``"


def missing(app, env, node, contnode):
    """A name of ours that does not exist is an error; those of JAX have other sites."""
    target = str(node.get("reftarget", ""))
    if re.match(r"(jaxnoise|jn|jnn|jnx)\.", target):
        logger.warning("no entry for %r", target, location=node)
    return None


def covered(app, env):
    """Every public name has an entry."""
    entries = env.get_domain("py").objects
    for name in public_names.names():
        if name not in entries:
            logger.warning("the public name %s has no entry in the reference", name)
    for name in public_names.find("jaxnoise.__all__"):
        page = f"gallery/plot_{name}"
        if name not in _IN_DROPOUT and page not in env.found_docs:
            logger.warning("the noise %s has no picture in the gallery", name)
    for name in public_names.MODULES:
        if name not in env.get_domain("py").modules:
            logger.warning("the public module %s has no page in the reference", name)


def setup(app) -> dict[str, Any]:
    app.add_directive("entries", Entries)
    app.connect("autodoc-process-signature", show_signature)
    app.connect("autodoc-skip-member", skip_member)
    # before napoleon
    app.connect("autodoc-process-docstring", rewrite, priority=400)
    app.connect("missing-reference", missing)
    app.connect("env-check-consistency", covered)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
