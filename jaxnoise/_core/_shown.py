"""Values in error messages: short whatever they are, and never an array or a tree."""

import reprlib
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

_LONGEST = 80


def shown(value: Any) -> str:
    """`repr` of a small value; what kind of thing a large one is."""
    if _is_array(value) and not isinstance(value, Tracer) and value.size != 1:
        return f"an array of dtype {value.dtype} and shape {value.shape}"
    try:
        return short(_SMALL.repr(value))
    # of a deleted array, or of an int of 10^4300 and above
    except (RuntimeError, ValueError):
        return "a value that cannot be printed"


def short(text: str, longest: int = _LONGEST) -> str:
    """The beginning of a text that may be long."""
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def listed(names: Iterable[str]) -> str:
    """The first of some names, and how many more there are."""
    found = list(names)
    first, length = [], 0
    for name in found:
        first.append(short(name))
        length += len(first[-1])
        if length > 2 * _LONGEST:
            break
    more = f" and {len(found) - len(first)} more" if len(found) > len(first) else ""
    return (", ".join(first) or "(there is none)") + more


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray | jax.Array | jax.ShapeDtypeStruct)


class _Small(reprlib.Repr):
    """Containers by their first items, arrays by their types, and no long `repr`."""

    def __init__(self):
        super().__init__()
        self.maxlevel, self.maxother, self.maxstring = 2, _LONGEST, _LONGEST

    def repr1(self, x, level):
        if isinstance(x, Tracer):
            return f"a traced {x.dtype}[{','.join(map(str, x.shape))}]"
        if _is_array(x) and x.size != 1:
            return f"{x.dtype}[{','.join(map(str, x.shape))}]"
        return super().repr1(x, level)

    def repr_instance(self, x, level):
        name = type(x).__name__
        if x is not None and not _is_leaf(x):
            return f"<{name} of {len(jax.tree.leaves(x))} leaves>"
        text = repr(x)
        return text if len(text) <= self.maxother else f"<{name}>"


def _is_leaf(value: Any) -> bool:
    leaves = jax.tree.leaves(value)
    return len(leaves) == 1 and leaves[0] is value


_SMALL = _Small()
