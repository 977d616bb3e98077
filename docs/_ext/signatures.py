"""Signatures as people read them: `ArrayLike` by its name, defaults as written."""

import ast
import functools
import inspect
import textwrap
import types
import typing
from typing import Any

import flax.typing
import jax
from jax.typing import ArrayLike

# fields that every module of linen has, and that nobody passes
_OF_MODULES = ("parent", "name")
# unions that have a name
_UNIONS = {
    "ArrayLike": ArrayLike,
    "Dtype": flax.typing.Dtype,
    "Precision": flax.typing.PrecisionLike,
    "Initializer": flax.typing.Initializer,
    "DTypeLike": jax.typing.DTypeLike,
}
_NAMES = {jax.Array: "jax.Array", jax.sharding.PartitionSpec: "PartitionSpec"}
_PLAIN = (int, float, str, bool, tuple, list, dict, types.NoneType)


def signature(value: Any) -> tuple[str, str] | None:
    """The arguments and the result of a function or a class, as text."""
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return None
    hidden = _OF_MODULES if "parent" in found.parameters else ("self",)
    parameters = [
        _shown(value, parameter)
        for parameter in found.parameters.values()
        if parameter.name not in hidden
    ]
    text = str(found.replace(parameters=parameters, return_annotation=found.empty))
    result = found.return_annotation
    shown = inspect.isclass(value) or result in (found.empty, None)
    return text, "" if shown else str(annotation(result))


class _Text:
    """Text that `inspect.Signature` prints without quotes."""

    def __init__(self, text: str):
        self.text = text

    def __repr__(self) -> str:
        return self.text

    __str__ = __repr__


def _shown(owner: Any, parameter: inspect.Parameter) -> inspect.Parameter:
    note, default = parameter.annotation, parameter.default
    if note is not parameter.empty:
        note = _Text(annotation(note))
    if default is not parameter.empty and not isinstance(default, _PLAIN):
        default = _Text(_as_written(owner, parameter.name) or _called(default))
    return parameter.replace(annotation=note, default=default)


def annotation(value: Any) -> str:
    """A type as it is written in the source of jaxnoise."""
    if value is None or value is types.NoneType:
        return "None"
    if value is Ellipsis:
        return "..."
    if isinstance(value, type) and value in _NAMES:
        return _NAMES[value]
    if isinstance(value, str):
        return value
    origin, arguments = typing.get_origin(value), typing.get_args(value)
    if origin in (typing.Union, types.UnionType):
        return _union(arguments)
    if isinstance(value, list):
        return f"[{', '.join(map(annotation, value))}]"
    if origin is typing.Literal:
        return f"Literal[{', '.join(map(repr, arguments))}]"
    if origin is not None:
        inner = ", ".join(map(annotation, arguments))
        name = getattr(origin, "__name__", str(origin))
        return f"{name}[{inner}]" if inner else name
    return getattr(value, "__name__", str(value).removeprefix("typing."))


def _union(arguments: tuple[Any, ...]) -> str:
    words, rest = [], list(arguments)
    for name, union in _UNIONS.items():
        parts = [part for part in typing.get_args(union) if part is not type(None)]
        if parts and all(part in rest for part in parts):
            words.append(name)
            rest = [kind for kind in rest if kind not in parts]
    return " | ".join([*words, *dict.fromkeys(map(annotation, rest))])


def _called(value: Any) -> str:
    """The name of a default that is a function or an object."""
    name = getattr(value, "__name__", type(value).__name__)
    return name if name.isidentifier() else "..."


def _as_written(owner: Any, name: str) -> str | None:
    """The default of an argument or a field, from the source that gives it."""
    kinds = owner.__mro__ if inspect.isclass(owner) else (owner,)
    for kind in kinds:
        found = _defaults(kind).get(name)
        if found:
            return found
    return None


@functools.cache
def _defaults(value: Any) -> dict[str, str]:
    """Text of the defaults in a function, or in a class and its constructor."""
    try:
        source = textwrap.dedent(inspect.getsource(inspect.unwrap(value)))
        (node,) = ast.parse(source).body
    except (OSError, TypeError, SyntaxError, ValueError):
        return {}
    if isinstance(node, ast.FunctionDef):
        return _of_arguments(node.args)
    found: dict[str, str] = {}
    for child in getattr(node, "body", ()):
        if isinstance(child, ast.AnnAssign) and child.value is not None:
            found[ast.unparse(child.target)] = ast.unparse(child.value)
        elif isinstance(child, ast.FunctionDef) and child.name == "__init__":
            found |= _of_arguments(child.args)
    return found


def _of_arguments(arguments: ast.arguments) -> dict[str, str]:
    plain = [*arguments.posonlyargs, *arguments.args]
    pairs = list(zip(reversed(plain), reversed(arguments.defaults), strict=False))
    pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return {argument.arg: ast.unparse(value) for argument, value in pairs if value}
