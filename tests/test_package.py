"""What the package promises as a whole: light import, types, README that runs."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import jaxnoise as jn

ROOT = Path(__file__).parents[1]


def run(code: str) -> str:
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_import_brings_neither_flax_nor_chex_nor_optax():
    loaded = run(
        "import sys, jaxnoise\n"
        "print([m for m in ('flax', 'chex', 'optax', 'orbax') if m in sys.modules])"
    )
    assert loaded.strip() == "[]"


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


def test_readme_code_runs():
    """The Python blocks of the README, in order, as one program."""
    text = (ROOT / "README.md").read_text("utf-8")
    blocks = [part.split("```")[0] for part in text.split("```python\n")[1:]]
    assert len(blocks) >= 3
    run("\n".join(blocks))
