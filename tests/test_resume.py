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

# The arguments, the last of the random steps to be killed at, and the second moment,
# after that step. There are 28, 44 and 43 steps in an epoch, and a checkpoint after
# each; the transformer has four epochs without noise, and four with it.
RUNS = {
    "digits": (["--epochs=3", "--seeds=1", "--only=GaussianNoise"], 3 * 28, "writing"),
    "language_model": (
        "--text=../text.txt --method=weightdrop --embedding=3 --features=4 --layers=1 "
        "--rows=2 --length=6 --epochs=4 --sample=20".split(),
        2 * 44,
        "deleting",
    ),
    "transformer": (
        "--text=../text.txt --rates 0.2 --block-size=4 --width=4 --heads=1 --layers=2 "
        "--rows=2 --length=6 --epochs=4".split(),
        6 * 43,
        "writing",
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
    """What is in the folders of checkpoints, and those checkpoints that are whole."""
    several = list((folder / "run").glob("rate-*"))
    found = [entry for f in several or [folder / "run"] for entry in f.iterdir()]
    parts = ("state", "notes", "_CHECKPOINT_METADATA")
    whole = {
        entry.relative_to(folder)
        for entry in found
        if entry.name.isdecimal() and all((entry / part).exists() for part in parts)
    }
    return {entry.relative_to(folder) for entry in found}, whole


def final(folder):
    """Every array of the checkpoints in a folder, by where they are and their steps."""
    restore = ocp.StandardCheckpointer().restore
    return {
        str(path): restore(folder / path / "state") for path in left_behind(folder)[0]
    }


@pytest.mark.parametrize("name", RUNS)
def test_killed_run_ends_with_the_same_bits(name, tmp_path):
    (tmp_path / "text.txt").write_text(TEXT, "utf-8")
    _, latest, moment = RUNS[name]
    # not in the last part, so that there is something left to be killed at
    step = random.Random(SEED).randrange(1, latest)
    print(f"JAXNOISE_RESUME_SEED={SEED}: {name} is killed at step {step}")
    untouched, folder = tmp_path / "untouched", tmp_path / "killed"
    expected = run(name, untouched)

    run(name, folder, "step", step)
    run(name, folder, moment)
    entries, whole = left_behind(folder)
    assert entries - whole  # a part of a checkpoint, in the way of the next process
    output = run(name, folder)

    line = re.compile(
        r"^(?:rate .*, )?resumed (?:at step|after) (\d+) .*\n", re.MULTILINE
    )
    resumed = line.search(output)
    assert (int(resumed[1]) > 0) if resumed else not whole
    assert line.sub("", output) == expected
    leaves, structure = jax.tree.flatten(final(folder))
    leaves_expected, structure_expected = jax.tree.flatten(final(untouched))
    assert structure == structure_expected and len(leaves) > 10
    for leaf, leaf_expected in zip(leaves, leaves_expected, strict=True):
        assert leaf.dtype == leaf_expected.dtype
        np.testing.assert_array_equal(leaf, leaf_expected)
