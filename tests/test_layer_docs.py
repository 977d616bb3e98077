"""Docstrings of layers: made from those of their functions, and complete."""

import importlib.util
import inspect
from pathlib import Path

import flax.linen as nn
import pytest
from flax import nnx

import jaxnoise.linen as jnn
import jaxnoise.nnx as jnx

TOOL = Path(__file__).parents[1] / "tools" / "layer_docs.py"
LAYERS = [
    pytest.param(layer, id=f"{package.__name__}.{name}")
    for package in (jnn, jnx)
    for name in package.__all__
    if isinstance(layer := getattr(package, name), type)
    and issubclass(layer, nn.Module | nnx.Module)
]


def tool():
    spec = importlib.util.spec_from_file_location("layer_docs", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_docstrings_are_those_that_are_made():
    """After a change of a function's docstring: python tools/layer_docs.py."""
    assert tool().main(["--check"]) == 0


def test_a_stale_docstring_is_found():
    made = tool()
    path = Path(inspect.getfile(jnn.GaussianNoise))
    text = path.read_text("utf-8")
    assert made.rewritten(path, text) == text
    stale = text.replace("Law: y = x + stddev n", "Law: y = x - stddev n")
    assert stale != text and made.rewritten(path, stale) == text


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_explains_itself(layer):
    """Its attributes, an example, and as much as fills a screen."""
    text = inspect.getdoc(layer)
    assert "Attributes:\n" in text or "Args:\n" in text
    assert "Example:\n" in text and ">>> " in text
    own = set(inspect.signature(layer).parameters) - {"parent", "name"}
    if "**options: the others of" in text:  # a cell of flax, which explains them
        own -= set(
            inspect.signature(
                next(
                    k for k in layer.__mro__ if k.__module__.startswith("flax")
                ).__init__
            ).parameters
        )
    assert {name for name in own if name not in text} == set()
