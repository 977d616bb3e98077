"""What the package promises as a whole: light import, types, complete pages."""

import importlib
import importlib.metadata
import inspect
import pydoc
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import public_names
import pytest

import jaxnoise as jn
import jaxnoise.linen as jnn
import jaxnoise.nnx as jnx
from jaxnoise import losses, tree, weights
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
            _, mean, variance = public_names.law(getattr(jn, name))
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


def test_the_page_of_laws_has_every_function():
    """Those with a case; the site makes the tables from their docstrings."""
    page = (ROOT / "docs" / "laws.md").read_text("utf-8")
    listed = {
        f"{module}.{name}".removeprefix("jaxnoise.")
        for module, names in re.findall(r"\.\. laws:: (\S+)\n\n((?: .*\n)+)", page)
        for name in names.split()
    }
    assert listed == {name for case in (*CASES, *WEIGHT_CASES) for name in case.covers}
    for name in listed:
        assert public_names.law(public_names.find(f"jaxnoise.{name}")), name


def test_the_site_documents_every_public_name():
    """Each stands on one page of the reference, and each module has one."""
    found = []
    for page in (ROOT / "docs" / "api").glob("*.rst"):
        entries = r"\.\. entries:: (\S+)\n\n((?: .*\n?)+)"
        for module, names in re.findall(entries, page.read_text("utf-8")):
            found += [f"{module}.{name}" for name in names.split()]
    assert sorted(found) == sorted(public_names.names())
    modules = {f"jaxnoise.{name}" for name in PUBLIC}
    assert {*public_names.MODULES} == {"jaxnoise"} | modules


def test_every_noise_has_a_picture():
    for name in jn.__all__:
        if name not in ("dropout_mask", "apply_mask"):  # in the picture of dropout
            assert (ROOT / "docs" / "noises" / f"plot_{name}.py").exists(), name


def test_the_readme_is_short_and_its_links_lead_somewhere():
    """To the addresses of pyproject.toml alone, and to what is in this checkout."""
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.splitlines()) <= 150
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    urls = pyproject["project"]["urls"]
    home = urls["Repository"]
    roots = {
        f"{urls['Documentation']}/en/latest/": ROOT / "docs",
        f"{home}/blob/main/": ROOT,
        f"{home.replace('github.com', 'raw.githubusercontent.com')}/main/": ROOT,
    }
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) > 20
    for link in links:
        root = next((root for root in roots if link.startswith(root)), None)
        assert root, f"{link} is none of {list(roots)}"
        path = link.removeprefix(root) or "index.html"
        if path.startswith("gallery/"):  # made by the build
            continue
        found = [(roots[root] / path).with_suffix(s) for s in (".md", ".rst")]
        assert (roots[root] / path).exists() or any(f.exists() for f in found), link


def test_the_changelog_names_every_function():
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert [name for name in jn.__all__ if f"`{name}" not in text] == []
