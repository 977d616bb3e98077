"""What the compilers for TPU and H100 say of a few programs.

They compile for devices that need not be there. The tests run where the compilers are
installed, `pip install -e '.[compiled]'`, and are skipped elsewhere.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.compiled._targets import INSTALL, TARGETS, Target

pytestmark = pytest.mark.program

ROOT = Path(__file__).parents[1]

# What a row may cost, and no more, with jax 0.10.2 and the compilers that the extra
# names: cycles and bytes over those of the first row of its table or over those of the
# peer, blocks of threefry for an element, kernels in a step of a loop.
DROPOUT, GRADIENT = "forward dropout bfloat16", "gradient dropout bfloat16"
LSTM = "LSTM 20x35x650x650 float32"
BOUNDS = {
    "tpu-v5e": {
        (DROPOUT, "jaxnoise"): {"cycles": 1.68, "cycles / peer": 0.889, "blocks": 1},
        (DROPOUT, "jaxnoise, bits=16"): {"cycles": 1.5, "blocks": 1 / 4},
        (DROPOUT, "jaxnoise, bits=8"): {"cycles": 1.292, "blocks": 1 / 8},
        (GRADIENT, "jaxnoise"): {"cycles / peer": 0.982, "bytes": 1.502, "blocks": 1},
        (GRADIENT, "jaxnoise, bits=8"): {"cycles / peer": 0.77, "blocks": 1 / 8},
        ("forward gaussian_noise bfloat16", "jaxnoise"): {"cycles / peer": 0.927},
        ("forward spatial_dropout bfloat16", "jaxnoise"): {"cycles": 1.022},
    },
    "h100": {
        (DROPOUT, "jaxnoise"): {"bytes": 1.001, "blocks": 1},
        (DROPOUT, "jaxnoise, bits=16"): {"bytes": 1.064, "blocks": 1 / 4},
        (DROPOUT, "jaxnoise, bits=8"): {"bytes": 1.063, "blocks": 1 / 8},
        (GRADIENT, "jaxnoise"): {"bytes": 1.001, "bytes / peer": 1, "blocks": 1},
        (GRADIENT, "jaxnoise, bits=8"): {"bytes": 1.063, "blocks": 1 / 8},
        ("LSTM 20x35x650x650 float32", "jaxnoise"): {
            "step_kernels": 13,
            "bytes": 0.376,
        },
    },
}


@pytest.mark.parametrize("name", BOUNDS)
def test_compilers_see_no_more_than_the_bounds(name, tmp_path):
    """Cost of ours as its compiler sees it, and no collectives on 2 x 2 chips."""
    rows = compile_for(TARGETS[name], tmp_path)
    beyond = {}
    for (table, row), bounds in BOUNDS[name].items():
        for quantity, bound in bounds.items():
            if (found := cost_of(rows, table, row, quantity)) > bound:
                beyond[table, row, quantity] = found
    assert not beyond
    # a gradient for parameters is added up over the chips
    of_noise = ("forward", "gradient")
    sent = {
        k: r.get("collectives") for k, r in rows.items() if k[0].startswith(of_noise)
    }
    assert sent and not any(sent.values()), sent


ATTENTION = """
import jax, jax.numpy as jnp, jaxnoise as jn
from jax.sharding import PartitionSpec
from benchmarks.compiled._targets import AXES, TARGETS
from jaxnoise.testing._hlo import collectives

chips = TARGETS["tpu-v5e"].chips()
key = jax.eval_shape(lambda: jax.random.key(0))
x = jax.ShapeDtypeStruct((4, 256, 16, 64), jnp.bfloat16)
spec = PartitionSpec(AXES[0], None, AXES[1], None)

def gradient(key, *qkv):
    def loss(qkv):
        ys = [
            jn.dot_product_attention(key, *qkv, 0.5, bits=bits, block_size=size)
            for bits in (32, 8)
            for size in (None, 96)
        ]
        return sum(jnp.sin(y).sum() for y in ys)
    return jax.grad(loss)(qkv)

compiled = chips.compile(gradient, (key, x, x, x), (PartitionSpec(), spec, spec, spec))
print(dict(collectives(compiled.text)))
"""


def test_attention_over_batch_and_heads_sends_nothing_on_2x2_chips():
    """Forward and backward, as a whole and by blocks, with 32 and with 8 bits."""
    if complaint := TARGETS["tpu-v5e"].missing():
        pytest.skip(complaint)
    command = [sys.executable, "-c", ATTENTION]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "{}"


def cost_of(rows, table, row, quantity):
    column, _, over = quantity.partition(" / ")
    found = rows[table, row]
    if column == "blocks":
        return found[column] / found["elements"]
    if column == "step_kernels":
        return found[column]
    first = next(other for (name, _), other in rows.items() if name == table)
    return found[column] / (rows[table, found["peer"]] if over else first)[column]


def compile_for(target: Target, folder: Path):
    """The rows that are bounded, by the command, in a process that is its own."""
    if complaint := target.missing():
        pytest.skip(complaint)
    bounds = BOUNDS[target.name]
    command = [sys.executable, "-m", "benchmarks.compiled", "--target", target.name]
    command += ["--only", ",".join(dict.fromkeys(table for table, _ in bounds))]
    for name in dict.fromkeys(row for _, row in bounds):
        command += ["--row", name]
    command += ["--out", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    saved = json.loads((folder / f"compiled-{target.name}.json").read_text())
    return {(row["table"], row["row"]): row for row in saved["rows"]}


BLOCKS = """
import jax, jax.numpy as jnp, jaxnoise as jn
from benchmarks.compiled._targets import TARGETS

key = jax.eval_shape(lambda: jax.random.key(0))
x = jax.ShapeDtypeStruct((1024, 4, 4, 8), jnp.bfloat16)

def gradient(key, x):
    def loss(x):
        y = jn.drop_block(key, jnp.sin(x), 0.1, 3)
        return (y.astype(jnp.float32) ** 2).sum()
    return jax.grad(loss)(x)

TARGETS["tpu-v6e"].chips().compile(gradient, (key, x))
"""


def test_drop_block_compiles_for_v6e():
    """Its compiler aborts over this program where the blocks are joined as bools."""
    if complaint := TARGETS["tpu-v6e"].missing():
        pytest.skip(complaint)
    command = [sys.executable, "-c", BLOCKS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_compilers_leave_jax_as_it_is():
    """With them and without their devices, JAX still finds the CPU, and no warning."""
    if all(target.missing() for target in TARGETS.values()):
        pytest.skip(f"no compiler is installed; this line installs them: {INSTALL}")
    code = "import jax; print(jax.devices()[0].platform)"
    command = [sys.executable, "-W", "error", "-c", code]
    quiet = os.environ | {"JAX_PLATFORMS": "cpu"}
    for env in (None, quiet):
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr or env is None
