"""Signatures: what type checkers, `help` and notebooks know of a call."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import typed_calls
from flax import nnx

import jaxnoise.nnx as jnx

pytestmark = pytest.mark.program

CLASSES = [name for name in jnx.__all__ if isinstance(getattr(jnx, name), type)]
LAYERS = [name for name in CLASSES if issubclass(getattr(jnx, name), nnx.Module)]
BASES = {
    **{"LSTMCell": nnx.LSTMCell, "GRUCell": nnx.GRUCell, "RNN": nnx.RNN},
    "SimpleCell": nnx.SimpleCell,
    "Embed": nnx.Embed,
    **{name: nnx.Linear for name in LAYERS if name.endswith("Dense")},
}
# what a dense layer of jaxnoise does not have of `flax.nnx.Linear`
NOT_TAKEN = {"promote_dtype", "dot_general", "preferred_element_type"}
NOT_TAKEN |= {"kernel_metadata", "bias_metadata"}


def parameters(kind) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(kind).parameters)


@pytest.mark.parametrize("name", LAYERS)
def test_signature_has_every_argument(name):
    """No `**options`, no `*args`: names, defaults, and what is required."""
    found = parameters(getattr(jnx, name))
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    assert not [p for p in found.values() if p.kind in variadic]
    assert "self" not in found
    if name.endswith("Wrapper"):  # which has no parameters, and whose RNN draws
        assert found["deterministic"].default is False and "rngs" not in found
        return
    assert "rngs" in found
    if name not in BASES:
        assert found["deterministic"].default is False
        assert found["rng_collection"].default == "dropout"
        assert found["rngs"].default is None
        return
    theirs = parameters(BASES[name].__init__)
    theirs.pop("self")
    for key in NOT_TAKEN if name.endswith("Dense") else ():
        theirs.pop(key)
    assert set(theirs) <= set(found)
    for key, parameter in theirs.items():
        own = ("kernel_init", "bias_init") if name.endswith("Dense") else ()
        if key not in own:
            assert found[key].default is parameter.default, key
            assert found[key].kind == parameter.kind, key


def test_signatures_of_a_layer_and_of_a_class_by_a_user():
    class Own(jnx.Dropout):
        def __init__(self, strength: int):
            super().__init__(strength / 10)

    class Passing(jnx.Dropout):
        def __init__(self, strength, **options):
            super().__init__(strength / 10, **options)

    assert str(inspect.signature(Own)) == "(strength: int)"
    assert str(inspect.signature(Passing)) == "(strength, **options)"
    assert list(parameters(Own(1))) == ["inputs", "deterministic", "rngs", "mask"]


def test_calls_that_are_right_run():
    made = nnx.eval_shape(lambda: typed_calls.right(nnx.Rngs(0, dropout=1)))
    assert len(made) == 12


def test_pyright_accepts_what_is_right_and_nothing_else():
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable]
    command.append("tests/support/typed_calls.py")
    done = subprocess.run(command, capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stdout + done.stderr
