"""What is public of jaxnoise: its modules, their names, and the laws in docstrings."""

import importlib
import inspect
import re
import sys
import types
import typing
from typing import Any, NamedTuple

from signatures import annotation

MODULES = (
    *("jaxnoise", "jaxnoise.linen", "jaxnoise.nnx", "jaxnoise.recurrent"),
    *("jaxnoise.tree", "jaxnoise.weights", "jaxnoise.learned", "jaxnoise.mc"),
    *("jaxnoise.schedules", "jaxnoise.keys", "jaxnoise.losses", "jaxnoise.testing"),
)


class Law(NamedTuple):
    """What a docstring promises, each on one line; "" where it says nothing."""

    rule: str
    mean: str
    variance: str


def names() -> list[str]:
    """Every public name, in full."""
    modules = {module: importlib.import_module(module) for module in MODULES}
    return [f"{name}.{key}" for name in modules for key in modules[name].__all__]


def find(name: str) -> Any:
    """The object of a public name."""
    module, _, short = name.rpartition(".")
    return getattr(importlib.import_module(module), short)


def law(function: Any) -> Law | None:
    """The law in the docstring of a function, None if there is none."""
    text = " ".join((inspect.getdoc(function) or "").split("Args:")[0].split())
    rule = re.search(r"Law: (.*?)\.(?= [A-Z]|$)", text)
    if rule is None:
        return None
    moments = re.search(r"E\[\w\] = (.*?), Var\[\w\] = (.*?)\.(?: |$)", text)
    text = re.sub(r"i\.i\.d$", "i.i.d.", rule[1].replace("`", ""))
    return Law(text, *(moments.groups() if moments else ("", "")))


def call(name: str) -> str:
    """How a function is called with what it needs: `dropout(key, x, rate)`."""
    parameters = inspect.signature(find(name)).parameters.values()
    needed = ", ".join(p.name for p in parameters if p.default is p.empty)
    return f"{name.removeprefix('jaxnoise.')}({needed})"


def first_sentence(value: Any, name: str) -> str:
    """What an object is, in the words of its docstring."""
    kinds = (type, types.FunctionType, types.MethodType)
    documented = isinstance(value, kinds) or hasattr(value, "__wrapped__")
    text = inspect.getdoc(value) if documented else _comment(value, name)
    text = " ".join((text or "").split("\n\n")[0].split())
    return re.split(r"(?<=[^.]\.)\s", text)[0]


def _comment(value: Any, name: str) -> str:
    """The string below a constant, wherever in jaxnoise it is defined."""
    from sphinx.pycode import ModuleAnalyzer  # the tests have no Sphinx

    module, _, short = name.rpartition(".")
    for key in [key for key in sys.modules if key.startswith(module)]:
        if vars(sys.modules[key]).get(short) is value:
            comments = ModuleAnalyzer.for_module(key).find_attr_docs()
            if found := comments.get(("", short)):
                return " ".join(found)
    return annotation(value) if typing.get_origin(value) else "All of them, as a tuple."
