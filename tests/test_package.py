"""What the package promises as a whole: light import, types, README that runs."""

import importlib.metadata
import inspect
import pydoc
import re
import subprocess
import sys
from pathlib import Path

import pytest

import jaxnoise as jn
import jaxnoise.linen as jnn
import jaxnoise.nnx as jnx
from jaxnoise import learned, losses, tree, weights
from jaxnoise.testing import CASES
from jaxnoise.testing._weight_cases import WEIGHT_CASES

ROOT = Path(__file__).parents[1]


def run(code: str) -> str:
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


PUBLIC = (
    *("keys", "learned", "linen", "losses", "mc", "nnx", "recurrent", "schedules"),
    *("testing", "tree", "weights"),
)


def test_import_brings_neither_flax_nor_chex_nor_optax():
    """Nor does `import *`; each module comes when it is asked for."""
    loaded = run(
        "import sys, jaxnoise\n"
        "from jaxnoise import *\n"
        "heavy = ('flax', 'chex', 'optax', 'orbax')\n"
        "print([m for m in heavy if m in sys.modules], callable(drop_path))\n"
        f"for name in {PUBLIC}:\n"
        "    assert f'jaxnoise.{name}' == getattr(jaxnoise, name).__name__\n"
        "print('flax' in sys.modules)"
    )
    assert loaded.split("\n") == ["[] True", "True", ""]


def test_dir_and_help_show_what_is_public():
    assert dir(jn) == sorted([*jn.__all__, *PUBLIC, "__version__"])
    shown = pydoc.plain(pydoc.render_doc(jn)).partition("FUNCTIONS")[2]
    for name in jn.__all__:
        assert re.search(rf"^ +{name}\(key, |^ +{name}\($|^ +apply_mask", shown, re.M)
    with pytest.raises(AttributeError, match="'jaxnoise' has no attribute 'droput'"):
        _ = jn.droput  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("name", PUBLIC)
def test_each_module_says_what_is_public(name):
    """In `__all__` and in `dir`: all that it defines or gathers, and nothing else."""
    module = importlib.import_module(f"jaxnoise.{name}")
    assert sorted(module.__all__) == dir(module)
    own = {
        key
        for key, value in vars(module).items()
        if not (key.startswith("_") or inspect.ismodule(value))
        if getattr(value, "__module__", "jaxnoise").startswith("jaxnoise")
    }
    aliases = {"Schedule"} if name == "schedules" else set()
    assert own | aliases == set(module.__all__)


def test_linen_and_nnx_do_not_import_each_other():
    for one, other in (("linen", "nnx"), ("nnx", "linen")):
        name = f"jaxnoise.{other}"
        assert run(f"import sys, jaxnoise.{one}; print('{name}' in sys.modules)") == (
            "False\n"
        )


def test_version_and_types():
    assert importlib.metadata.version("jaxnoise") == jn.__version__
    assert (Path(jn.__file__).parent / "py.typed").exists()
    assert f"## {jn.__version__}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def law(function) -> tuple[str, str, str]:
    """Law, E and Var of a docstring, each on one line; "" where it gives none."""
    text = " ".join(inspect.getdoc(function).split("Args:")[0].split())
    rule = re.search(r"Law: (.*?)\.(?= [A-Z]|$)", text)
    moments = re.search(r"(E\[\w\]) = (.*?), Var\[\w\] = (.*?)\.(?: |$)", text)
    return rule[1].replace("`", ""), *(moments.groups()[1:] if moments else ("", ""))


def evaluate(formula: str, **values: float) -> float:
    """A formula of a docstring: ^ is a power, a space between factors a product."""
    python = re.sub(r"(?<=[\w)]) (?=[\w(])", " * ", formula.replace("^", "**"))
    return eval(python, values)


@pytest.mark.parametrize("amount", [0.1, 0.5, 0.9])
def test_moments_of_the_docstrings_are_those_of_the_laws(amount):
    """What the table says is what `jaxnoise.testing` measures."""
    floor, seen = -1.7580993408473766, 0
    keep = 1 - amount
    values = {"x": 1.5, "table": 1.5, "rate": amount, "q": keep, "A": floor}
    values["a"] = (keep * (1 + amount * floor**2)) ** -0.5
    values["scale"] = values["alpha"] = amount
    values |= {"embeddings": 1.5, "L": 1, "d": 1, "m": -0.25, "w": 1.6875}
    values |= {"lower": 1 - amount, "upper": 1 + amount, "z": 1.5**2}
    for case in CASES:
        for name in case.covers:
            _, mean, variance = law(getattr(jn, name))
            if case.mean is None or case.variance is None or name == "dropout_mask":
                continue
            values["stddev"] = 0.7 if name == "real_gaussian_dropout" else amount
            expected = case.mean(1.5, amount), case.variance(1.5, amount)
            found = evaluate(mean, **values), evaluate(variance, **values)
            assert found == pytest.approx(expected), name
            seen += 1
    assert seen >= 17


AMOUNTS = {"rate", "stddev", "scale", "alpha", "beta"}


@pytest.mark.parametrize("module", [jn, tree, weights, losses])
def test_docstrings_say_what_a_traced_amount_does(module):
    """That it is not refused as a known one is, and what it does instead."""
    seen = 0
    for name, function in vars(module).items():
        if not inspect.isfunction(function) or name.startswith("_"):
            continue
        # the scale of attention is no noise
        others = {"scale"} if name == "dot_product_attention" else set()
        for amount in AMOUNTS & set(inspect.signature(function).parameters) - others:
            text = inspect.getdoc(function)
            entry = re.search(rf"^  {amount}: (.*?)\n(?=  \w|\n)", text, re.M | re.S)
            assert "raced" in " ".join(entry[1].split()), f"{name}: {amount}"
            assert re.search(rf"a known {amount}", text), f"{name}: {amount}"
            seen += 1
    assert seen


def test_docs_say_what_rate_1_does():
    """It is legal, and often meant as 1 %."""
    for noise in (jn.dropout, jnn.Dropout, jnx.Dropout):
        assert "1 % is 0.01" in " ".join((inspect.getdoc(noise) or "").split())


NAMES = [name for case in (*CASES, *WEIGHT_CASES) for name in case.covers]
MODULES = {"tree": tree, "weights": weights, "learned": learned}


def table(names: list[str]) -> str:
    """A table of functions as it is in the README, from their docstrings."""
    lines = ["| function | law | E | Var |", "|---|---|---|---|"]
    for name in names:
        module, _, short = name.rpartition(".")
        function = getattr(MODULES.get(module, jn), short)
        parameters = inspect.signature(function).parameters.values()
        call = ", ".join(p.name for p in parameters if p.default is p.empty)
        cells = [
            f"`{cell}`" if cell else "" for cell in (f"{name}({call})", *law(function))
        ]
        lines.append(f"| {' | '.join(cells)} |".replace("  ", " "))
    return "\n".join(lines)


@pytest.mark.parametrize("of_a_module", [False, True])
def test_readme_tables_are_those_of_the_docstrings(of_a_module):
    expected = table([name for name in NAMES if ("." in name) == of_a_module])
    assert expected in (ROOT / "README.md").read_text("utf-8"), expected


@pytest.mark.program
def test_readme_code_runs():
    """The Python blocks of the README, in order, as one program."""
    text = (ROOT / "README.md").read_text("utf-8")
    blocks = [part.split("```")[0] for part in text.split("```python\n")[1:]]
    assert len(blocks) >= 3
    run("\n".join(blocks))


def test_the_changelog_names_every_function():
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert [name for name in jn.__all__ if f"`{name}" not in text] == []
