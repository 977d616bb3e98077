"""The code in the README and on pages of the site runs.

Pages with code cells are notebooks, which run when the site is built.
"""

import importlib.util
import re
import sys
from pathlib import Path

import jax
import pytest
from matplotlib import pyplot as plt

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(
    page
    for page in (ROOT / "README.md", *DOCS.glob("**/*.md"))
    if "_build" not in page.parts and "gallery" not in page.parts
)
# whose code a block of a page "Coming from" is, and what it needs
NEEDS = {"Flax": "flax", "Keras": "keras", "PyTorch": "torch", "timm": "timm"}
NEEDS |= {"TensorFlow": "tensorflow", "TensorFlow 1": None, "AWD-LSTM": None}

pytestmark = pytest.mark.program


def blocks(page: Path) -> list[str]:
    """The Python of a page, in order."""
    text = page.read_text("utf-8")
    if text.startswith("---\nfile_format: mystnb"):
        return []
    return re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)


def runs(code: str) -> bool:
    """Whether a block is ours, or of a library that is here."""
    match = re.match(r"# (.+)\n", code)
    if match is None or match[1] not in NEEDS:
        return True
    package = NEEDS[match[1]]
    return package is not None and importlib.util.find_spec(package) is not None


@pytest.fixture
def as_a_user():
    """JAX as it is by default, and pictures that nobody sees."""
    plt.switch_backend("agg")
    before = {name: getattr(jax.config, name) for name in SETTINGS}
    for name, value in SETTINGS.items():
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


SETTINGS = {
    "jax_debug_key_reuse": False,
    "jax_legacy_prng_key": "allow",
    "jax_numpy_rank_promotion": "allow",
}


def with_code(pages: list[Path]) -> list[Path]:
    return [page for page in pages if blocks(page)]


@pytest.mark.parametrize(
    "page", with_code(PAGES), ids=lambda page: str(page.relative_to(ROOT))
)
@pytest.mark.filterwarnings("default")
def test_code_of_a_page_runs(page, as_a_user, monkeypatch):
    """As one program, without what needs a library that is not installed."""
    code = blocks(page)
    module = type(sys)("page")
    monkeypatch.setitem(sys.modules, "page", module)
    for block in filter(runs, code):
        if block.startswith("# both") and not all(map(runs, code)):
            continue
        exec(compile(block, str(page), "exec"), vars(module))
    plt.close("all")
