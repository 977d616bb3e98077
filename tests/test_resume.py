"""Examples that are killed and restarted end with the bits of one that was not.

Real processes and a real SIGKILL: at a random step, while a checkpoint is being
written, and while an old one is being deleted. A failure prints the seed of the step;
JAXNOISE_RESUME_SEED repeats it.
"""

import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

pytestmark = pytest.mark.program

CHILD = Path(__file__).with_name("support") / "killed_example.py"
SEED = int(os.environ.get("JAXNOISE_RESUME_SEED", random.randrange(2**32)))
TIMEOUT = 300  # seconds; a run takes some 5
TEXT = "the cat sat on the mat.\nthe dog sat on the log.\n" * 12

# The arguments, the steps in all, and the second moment to be killed at, after the
# random step. There are 28 and 44 steps in an epoch, and a checkpoint after each.
RUNS = {
    "digits": (["--epochs=3", "--seeds=1", "--only=GaussianNoise"], 6 * 28, "writing"),
    "language_model": (
        "--text=../text.txt --method=weightdrop --embedding=3 --features=4 --layers=1 "
        "--rows=2 --length=6 --epochs=4 --sample=20".split(),
        4 * 44,
        "deleting",
    ),
}


def run(name, folder, moment="never", number=0):
    """Output of one process, which has to die if there is a moment to die at."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, str(CHILD), name, moment, str(number), *RUNS[name][0]]
    done = subprocess.run(
        [*command, "--checkpoint", "run", "--resume"],
        cwd=folder,
        # all processes of a test share what the first one compiled
        env=os.environ
        | {
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(folder.parent / "cache"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        },
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    expected = 0 if moment == "never" else -signal.SIGKILL
    assert done.returncode == expected, done.stderr[-3000:]
    return done.stdout


def left_behind(folder):
    """The folders of the checkpoints, and those of them that are whole."""
    entries = {entry.name for entry in (folder / "run").iterdir()}
    parts = ("state", "notes", "_CHECKPOINT_METADATA")
    whole = {
        name
        for name in entries
        if name.isdecimal() and all((folder / "run" / name / p).exists() for p in parts)
    }
    return entries, whole


def final(folder):
    """The step and every array of the one checkpoint that is in a folder."""
    (step,) = os.listdir(folder / "run")
    state = ocp.StandardCheckpointer().restore(folder / "run" / step / "state")
    return int(step), state


@pytest.mark.parametrize("name", RUNS)
def test_killed_run_ends_with_the_same_bits(name, tmp_path):
    (tmp_path / "text.txt").write_text(TEXT, "utf-8")
    _, steps, moment = RUNS[name]
    # not in the last part, so that there is something left to be killed at
    step = random.Random(SEED).randrange(1, steps // 2)
    print(f"JAXNOISE_RESUME_SEED={SEED}: {name} is killed at step {step} of {steps}")
    untouched, folder = tmp_path / "untouched", tmp_path / "killed"
    expected = run(name, untouched)

    run(name, folder, "step", step)
    run(name, folder, moment)
    entries, whole = left_behind(folder)
    assert entries - whole  # a part of a checkpoint, in the way of the next process
    output = run(name, folder)

    resumed = re.search(r"^resumed (?:at step|after) (\d+) .*\n", output, re.MULTILINE)
    assert (int(resumed[1]) > 0) if resumed else not whole
    assert output.replace(resumed[0] if resumed else "", "") == expected
    (at, state), (at_expected, state_expected) = final(folder), final(untouched)
    assert at == at_expected
    leaves, structure = jax.tree.flatten(state)
    leaves_expected, structure_expected = jax.tree.flatten(state_expected)
    assert structure == structure_expected and len(leaves) > 10
    for leaf, leaf_expected in zip(leaves, leaves_expected, strict=True):
        assert leaf.dtype == leaf_expected.dtype
        np.testing.assert_array_equal(leaf, leaf_expected)
