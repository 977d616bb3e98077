"""Training over two processes against training in one: masks to the bit, and how near.

A run that hangs is killed with all of its processes.
"""

import errno
import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

pytestmark = pytest.mark.program

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SEED, STEPS, BATCH = 3, 12, 32


@pytest.fixture(autouse=True)
def import_path(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))


@pytest.fixture
def distributed():
    return importlib.import_module("distributed")


@pytest.fixture
def local_processes():
    return importlib.import_module("local_processes")


@pytest.fixture(scope="module")
def alone():
    """The same training on one device of this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        distributed = importlib.import_module("distributed")
        mesh = distributed.mesh_of(jax.devices()[:1])
        return distributed.train(mesh, SEED, STEPS, BATCH)


def run(*arguments):
    """The output of the example, in a session of its own that can be killed."""
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "distributed.py"), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=300)
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:  # as it should be: nobody is left
            pass
    assert process.returncode == 0, output
    return output


def test_two_processes_are_one(distributed, alone, tmp_path):
    flags = {"seed": SEED, "steps": STEPS, "batch": BATCH, "out": tmp_path}
    output = run(*(f"--{name}={value}" for name, value in flags.items()))
    assert "2 processes, 2 devices" in output
    saved = dict(np.load(tmp_path / "distributed.npz"))
    masks = saved.pop("masks")
    assert f"masks, {masks.size:,} bits: equal" in output

    assert masks.shape == (STEPS, 2, BATCH, 128)
    np.testing.assert_array_equal(masks, alone.masks)
    # false alarm 1e-6; detects a rate that is off by 0.005
    assert abs(masks.mean() - 0.7) < 4.9 * (0.21 / masks.size) ** 0.5 < 0.01
    for one, other in ((0, 1), (2, 3)):  # no step, layer or half of a batch twice
        assert (masks[one] != masks[other]).mean() > 0.3
        assert (masks[one, 0] != masks[one, 1]).mean() > 0.3
        assert (masks[one, :, : BATCH // 2] != masks[one, :, BATCH // 2 :]).mean() > 0.3

    params = flatten_dict(alone.params, sep="/")
    assert set(saved) == set(params) and len(params) == 6
    allowed = distributed.tolerance(STEPS, BATCH)
    assert allowed < 2.5e-5
    for name, expected in params.items():
        np.testing.assert_allclose(saved[name], expected, rtol=0, atol=allowed)


def test_what_the_tolerance_takes_for_granted(distributed, alone):
    """What is added up in a gradient, and the weights, are below 1 in size.

    And it is no wide tolerance: other masks in the last step alone are 100 times that.
    """
    data = distributed.load_data()
    _, apply = distributed.linen_net(distributed.CASE)
    entropy = distributed.optax.softmax_cross_entropy_with_integer_labels
    x, y = data.train_x[:BATCH], data.train_y[:BATCH]
    each = jax.jit(jax.jacrev(lambda params, key: entropy(apply(params, x, key), y)))
    rows, others = (each(alone.params, jax.random.key(seed)) for seed in (1, 2))
    change = 0.0
    for leaf, other, weight in zip(
        *map(jax.tree.leaves, (rows, others, alone.params)), strict=True
    ):
        assert leaf.shape == (BATCH, *weight.shape) and np.abs(weight).max() < 1
        assert 0 < jnp.abs(leaf).mean(0).max() < 1
        change = max(change, float(jnp.abs(leaf.mean(0) - other.mean(0)).max()))
    allowed = distributed.tolerance(STEPS, BATCH)
    assert distributed.LEARNING_RATE * change > 100 * allowed


def test_compare_sees_a_bit_and_a_weight(distributed, capsys):
    masks = np.ones((3, 2, 4, 5), bool)
    run = distributed.Run({"w": np.zeros(3, np.float32)}, masks)
    assert distributed.compare(run, run)
    flipped = masks.copy()
    flipped[1, 1, 2, 3] = False
    assert not distributed.compare(run, run._replace(masks=flipped))
    assert "NOT EQUAL" in capsys.readouterr().out
    for change, same in ((0.9, True), (1.1, False)):
        weights = np.array([0, 0, -change * distributed.tolerance(3, 4)], np.float32)
        assert distributed.compare(run, run._replace(params={"w": weights})) is same


# --- the processes of this machine --------------------------------------------------


def script(tmp_path, body):
    """A program that is told its number and its port, and leaves its process id."""
    path = tmp_path / "script.py"
    path.write_text(
        "import os, pathlib, socket, sys, time\n"
        "given = dict(flag[2:].split('=') for flag in sys.argv[1:])\n"
        "index, port = int(given['process']), given['coordinator'].split(':')[1]\n"
        "here = pathlib.Path(__file__)\n"
        "here.with_name(f'pid{index}').write_text(str(os.getpid()))\n"
        "while len(list(here.parent.glob('pid*'))) < int(given['processes']):\n"
        "    time.sleep(0.01)\n" + body,
        "utf-8",
    )
    return [sys.executable, str(path)]


def assert_gone(tmp_path, count):
    pids = [int(path.read_text() or 0) for path in tmp_path.glob("pid*")]
    assert len(pids) == count
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_process_that_fails_ends_the_others(local_processes, tmp_path, capfd):
    command = script(tmp_path, "time.sleep(600 * (index != 1))\nsys.exit(3)")
    assert not local_processes.launch(command, 3, timeout=60)
    assert "process 1 ended with status 3" in capfd.readouterr().err
    assert_gone(tmp_path, 3)


def test_processes_that_hang_are_ended(local_processes, tmp_path, capfd):
    command = script(tmp_path, "time.sleep(600)")
    assert not local_processes.launch(command, 2, timeout=3)
    assert "have not ended after 3 seconds" in capfd.readouterr().err
    assert_gone(tmp_path, 2)


def test_port_is_kept_for_who_asks_to_share_it(local_processes, tmp_path):
    body = (
        "address = ('127.0.0.1', int(port))\n"
        "try:\n"
        "    socket.socket().bind(address)\n"
        "except OSError as error:\n"
        f"    assert error.errno == {errno.EADDRINUSE}\n"
        "else:\n"
        "    sys.exit(1)\n"
        "if index == 0:\n"
        "    own = socket.socket()\n"
        "    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)\n"
        "    own.bind(address)\n"
        "    own.listen()\n"
        "    socket.create_connection(address, timeout=10)\n"
        "assert os.environ['JAX_PLATFORMS'] == 'cpu'\n"
    )
    assert local_processes.launch(script(tmp_path, body), 2, timeout=60)


# --- the command --------------------------------------------------------------------


def test_help_says_how_to_launch(distributed, capsys):
    with pytest.raises(SystemExit) as done:
        distributed.main(["--help"])
    assert done.value.code == 0
    text = capsys.readouterr().out
    for words in (
        "gcloud compute tpus tpu-vm ssh",
        "srun --nodes",
        "--coordinator 10.",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--cluster", "--coordinator=a:1", "--process=0"], "not together with"),
        (["--coordinator=a:1"], "only together with --coordinator, and always"),
        (["--process=1"], "only together with --coordinator, and always"),
        (["--steps=0"], "must be a positive integer, got '0'"),
    ],
)
def test_bad_arguments(distributed, flags, message, capsys):
    with pytest.raises(SystemExit):
        distributed.main(flags)
    assert message in capsys.readouterr().err


def test_a_batch_that_devices_cannot_share_is_refused(distributed):
    with pytest.raises(SystemExit, match="a multiple of the 8 devices, got 12"):
        distributed.main(["--processes=1", "--batch=12"])
