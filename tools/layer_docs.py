#!/usr/bin/env python3
"""Write the docstrings of layers from those of their functions.

    python tools/layer_docs.py [--check]

Between its summary and its law a layer says in its own words what it is. The rest is
made here: summary, law and reference are those of the function, the attributes are its
parameters with their defaults, and the example calls the layer. It is written into the
source, where `help`, editors and Sphinx find it. With `--check` nothing is written, and
the exit status is 1 if something would be.
"""

import argparse
import ast
import inspect
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import jax.numpy as jnp

import jaxnoise.linen
import jaxnoise.nnx
from jaxnoise._flax._layer import FunctionLayer

WIDTH = 88
HEADINGS = ("Law", "Args", "Returns", "Raises", "Sharp bits", "Example", "Reference")
# what the examples call layers with
VALUES = {
    "rate": "0.1",
    "stddev": "0.1",
    "scale": "0.1",
    "alpha": "5.0",
    "block_size": "3",
    "lower": "0.1",
    "upper": "0.3",
    "mask_id": "0",
}
INPUTS = {"TokenDropout": "jnp.arange(6)", "NeftuneNoise": "jnp.ones((2, 5, 3))"}
IMAGES = "jnp.ones((2, 8, 8, 3))"
COMMON = {
    "linen": {
        "deterministic": "True for no noise. Here or at the call, not in both.",
        "rng_collection": "name of the stream of `rngs` that the key comes from.",
    },
    "nnx": {
        "deterministic": (
            "True for no noise. The call may say otherwise; `model.train()`, "
            "`model.eval()` and `nnx.view` set it."
        ),
        "rng_collection": "name of the stream of `rngs` that keys come from.",
        "rngs": (
            "`nnx.Rngs` or a stream, of which the layer takes a fork; None where the "
            "call brings a key."
        ),
    },
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("layer_docs.py", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check, stale = parser.parse_args(argv).check, []
    for path in files():
        text = path.read_text("utf-8")
        new = rewritten(path, text)
        if new != text:
            stale.append(path)
            if not check:
                path.write_text(new, "utf-8")
    for path in stale:
        print(f"{path}: {'stale' if check else 'written'}")
    return 1 if check and stale else 0


def layers() -> dict[Path, list[type[FunctionLayer]]]:
    """The layers that have a function, by the file that they are in."""
    found: dict[Path, list[type[FunctionLayer]]] = {}
    for package in (jaxnoise.linen, jaxnoise.nnx):
        for name in package.__all__:
            layer = getattr(package, name)
            if isinstance(layer, type) and "function" in vars(layer):
                path = Path(inspect.getfile(layer))
                found.setdefault(path, []).append(layer)
    return found


def files() -> list[Path]:
    return sorted(layers())


def rewritten(path: Path, text: str) -> str:
    """The source with the docstrings of its layers made anew."""
    lines = text.split("\n")
    nodes = {n.name: n for n in ast.parse(text).body if isinstance(n, ast.ClassDef)}
    for layer in sorted(layers()[path], key=lambda k: -nodes[k.__name__].lineno):
        node = nodes[layer.__name__]
        first: Any = node.body[0]
        own, *_ = re.split(r"\n\s*Law:", first.value.value)
        made = docstring(layer, textwrap.dedent("    " + own).strip())
        raw = "r" if "\\" in made else ""
        made = textwrap.indent(f'{raw}"""{made}\n"""', "    ")
        lines[first.lineno - 1 : first.end_lineno] = made.split("\n")
    return "\n".join(lines)


def docstring(layer: type[FunctionLayer], own: str) -> str:
    parts = sections(layer.function)
    framework = layer.__module__.split(".")[1]
    own = own.removeprefix(parts["Summary"]).strip()
    text = [parts["Summary"], own, parts["Law"]]
    text.append(attributes(layer, framework, parts["Args"]))
    text.append(example(layer, framework))
    if "Reference" in parts:
        text.append(parts["Reference"])
    return "\n\n".join(part.strip() for part in text)


def sections(function: Any) -> dict[str, str]:
    """The parts of a docstring, each with its heading."""
    pattern = rf"^(?=(?:{'|'.join(HEADINGS)}):)"
    text = inspect.getdoc(function) or ""
    first, *parts = re.split(pattern, text, flags=re.MULTILINE)
    found = {part.partition(":")[0]: part for part in parts}
    return found | {"Summary": first.partition("\n\n")[0].strip()}


def attributes(layer: type[FunctionLayer], framework: str, arguments: str) -> str:
    told = described(arguments)
    common = COMMON[framework]
    lines = ["Attributes:" if framework == "linen" else "Args:"]
    for name, parameter in inspect.signature(layer).parameters.items():
        if name not in (*told, *common):  # of every module: parent, name
            continue
        words = told.get(name) or common[name]
        default = parameter.default
        if default is not parameter.empty:
            words += f" Default: {default!r}."
        lines += textwrap.wrap(
            f"{name}: {words}",
            WIDTH - 4,
            initial_indent="  ",
            subsequent_indent="    ",
            break_on_hyphens=False,
            break_long_words=False,
        )
    return "\n".join(lines)


def described(arguments: str) -> dict[str, str]:
    """The description of each argument of a list, in one line."""
    found = {}
    for entry in re.split(r"\n  (?=\w)", arguments)[1:]:
        names, _, words = entry.partition(":")
        for name in names.split(","):
            found[name.strip()] = " ".join(words.split())
    return found


def example(layer: type[FunctionLayer], framework: str) -> str:
    given = [
        VALUES[name]
        for name, parameter in inspect.signature(layer).parameters.items()
        if parameter.default is parameter.empty
    ]
    takes = inspect.signature(layer.function).parameters
    x = IMAGES if "batch_dims" in takes else "jnp.ones((2, 3))"
    x = INPUTS.get(layer.__name__, x)
    shape = eval(x, {"jnp": jnp}).shape
    call = f"{layer.__name__}({', '.join(given)}"
    if framework == "linen":
        lines = [
            "import jax, jax.numpy as jnp, jaxnoise.linen as jnn",
            f"x, layer = {x}, jnn.{call})",
            'rngs = {"dropout": jax.random.key(0)}',
            "layer.apply({}, x, deterministic=False, rngs=rngs).shape",
        ]
    else:
        lines = [
            "import jax.numpy as jnp, jaxnoise.nnx as jnx",
            "from flax import nnx",
            f"layer = jnx.{call}, rngs=nnx.Rngs(0))",
            f"layer({x}).shape",
        ]
    told = "\n".join(f"  >>> {line}" for line in lines)
    return f"Example:\n{told}\n  {shape}"


if __name__ == "__main__":
    sys.exit(main())
