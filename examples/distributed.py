"""Data-parallel training over processes: one noise, of which each draws its own rows.

The MLP of `digits_nets.py` with dropout, on scikit-learn's digits. Every process has
all parameters and its rows of each batch; XLA adds the gradients up. A mask belongs to
the whole batch and one key, so it does not depend on who draws which rows of it. In the
end process 0 trains once more, alone on one of its devices, and compares: all masks are
the same bits, and the parameters are the same up to the order of additions.

    python examples/distributed.py                    # 2 processes on the CPU
    python examples/distributed.py --processes 4 --batch 64 --out run1

On a cluster the same script is started once per process, with --cluster: from the TPU's
metadata or SLURM's environment `jax.distributed.initialize()` finds out who is who.

    # a TPU pod: one process per host, with all of its chips
    gcloud compute tpus tpu-vm ssh $NAME --zone $ZONE --worker all --command \\
        "python examples/distributed.py --cluster --batch 64"
    # SLURM: one process per GPU, each of which sees all GPUs of its node and takes one
    srun --nodes 2 --ntasks-per-node 4 --gpus-per-node 4 \\
        python examples/distributed.py --cluster --batch 64
    # anything else, here on two hosts: process 0 is at the coordinator's address
    python examples/distributed.py --coordinator 10.0.0.1:1234 --processes 2 --process 0
    python examples/distributed.py --coordinator 10.0.0.1:1234 --processes 2 --process 1

A gradient is a mean over B rows. In another order its sum differs by at most 2 (B - 1)
u times the mean size of what is added (Higham, Accuracy and Stability of Numerical
Algorithms, 2002, section 4.2), u = 2^-24 in float32, and the update rounds a weight
once more. With sizes and weights below 1 the tolerance is, to first order,

    steps (2 (B - 1) u learning_rate / (1 - momentum) + 2 u)

which is 5.5e-4 for 280 steps of 32 rows. Measured: 3e-7, as errors of both signs
cancel; sizes up to 0.26; and 3e-3 where the last step alone has other masks.

Processes on one machine meet at 127.0.0.1, at a port that is kept for them. Gloo, which
adds up between CPUs, listens at the address that the machine's own name stands for.
"""

import argparse
import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from digits_data import load_data
from digits_nets import HIDDEN_LAYERS, Case, LinenMLP, linen_net
from flax.traverse_util import flatten_dict
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from local_processes import launch
from sklearn.metrics import accuracy_score

import jaxnoise.linen as jnn
from jaxnoise import keys

MASKS = PartitionSpec(None, None, "data")  # (steps, layers, batch, units)
CASE = Case("MLP", "Dropout", (0.3,), "hidden units")
LEARNING_RATE, MOMENTUM = 0.05, 0.9
TIMEOUT = 600  # seconds; for the processes of this machine, and to find the others


class Run(NamedTuple):
    """The result of a training, on the host."""

    params: Any
    masks: np.ndarray  # True = kept, (steps, layers, batch, units)


def train(mesh: Mesh, seed: int, steps: int, batch: int) -> Run:
    """Train on all devices of a mesh with the one axis "data".

    Every process that has a device in the mesh makes the same calls.
    """
    init, apply = linen_net(CASE)
    whole, rows = (NamedSharding(mesh, PartitionSpec(*a)) for a in ((), ("data",)))
    # not Adam, which makes a whole step of a gradient that is 0 up to rounding
    optimizer = optax.sgd(LEARNING_RATE, MOMENTUM)
    data = load_data()
    epoch_steps = len(data.train_x) // batch

    def key_of(use: str) -> jax.Array:
        return keys.named_key(jax.random.key(seed), use)

    @functools.partial(jax.jit, out_shardings=whole)
    def start():
        params = init(key_of("params"))
        return params, optimizer.init(params)

    @jax.jit
    def order_of(epoch):
        key = keys.step_key(key_of("order of the images"), epoch)
        return jax.random.permutation(key, len(data.train_x))

    @functools.partial(jax.jit, out_shardings=whole, donate_argnums=0)
    def update(state, images, labels, step):
        params, momentum = state

        def loss(params):
            key = keys.step_key(key_of("noise"), step)
            logits: Any = apply(params, images, key)
            entropy = optax.softmax_cross_entropy_with_integer_labels
            return entropy(logits, labels).mean()

        updates, momentum = optimizer.update(jax.grad(loss)(params), momentum)
        return optax.apply_updates(params, updates), momentum

    state = start()
    order: Any = None
    images: Any = None
    for step in range(steps):
        epoch, within = divmod(step, epoch_steps)
        if within == 0:
            order = np.asarray(order_of(epoch))
        index = order[within * batch :][:batch]
        images, labels = (put(a, index, rows) for a in (data.train_x, data.train_y))
        state = update(state, images, labels, np.int32(step))

    @functools.partial(jax.jit, out_shardings=NamedSharding(mesh, MASKS))
    def draw(params, images):
        return masks(LinenMLP(CASE), params, images, key_of("noise"), steps)

    gather = jax.jit(lambda drawn: drawn, out_shardings=whole)
    drawn = gather(draw(state[0], images))
    return Run(jax.device_get(state[0]), np.asarray(drawn))


def put(array: np.ndarray, index: np.ndarray, sharding: NamedSharding) -> jax.Array:
    """The batch `array[index]`, of which this process reads its own rows only."""
    shape = (len(index), *array.shape[1:])

    def read(part: Any) -> np.ndarray:
        return array[index[part[0]]]

    return jax.make_array_from_callback(shape, sharding, read)


def masks(net: Any, params, images, key, steps: int) -> jax.Array:
    """The masks that the dropout layers draw in the steps of a training."""
    # with ones for parameters all units are above 0, and the dropped ones are 0
    params = jax.tree.map(jnp.ones_like, params)

    def of_step(step):
        _, variables = net.apply(
            params,
            images,
            train=True,
            rngs={"dropout": keys.step_key(key, step)},
            capture_intermediates=lambda module, _: isinstance(module, jnn.Dropout),
            mutable=["intermediates"],
        )
        seen = variables["intermediates"]
        layers = (seen[f"Dropout_{n}"]["__call__"][-1] for n in range(HIDDEN_LAYERS))
        return jnp.stack([y != 0 for y in layers])

    return jax.lax.map(of_step, jnp.arange(steps))


def tolerance(steps: int, batch: int) -> float:
    """How far the order of additions may move a parameter; derived at the top."""
    unit = 2.0**-24
    addition = 2 * (batch - 1) * unit * LEARNING_RATE / (1 - MOMENTUM)
    return steps * (addition + 2 * unit)


def compare(run: Run, alone: Run) -> bool:
    """Whether two trainings are the same, in words too."""
    steps, _, batch, _ = run.masks.shape
    masks = run.masks.shape == alone.masks.shape and (run.masks == alone.masks).all()
    pairs = zip(*map(jax.tree.leaves, (run.params, alone.params)), strict=True)
    difference = max(float(np.abs(one - other).max()) for one, other in pairs)
    allowed = tolerance(steps, batch)
    print(f"masks, {run.masks.size:,} bits: {'equal' if masks else 'NOT EQUAL'}")
    print(f"parameters: largest difference {difference:.1e}, tolerance {allowed:.1e}")
    return bool(masks) and difference <= allowed


def work(arguments: argparse.Namespace) -> bool:
    """Train on all devices; whether it is what process 0 does alone on one of them."""
    devices = jax.devices()
    if arguments.batch % len(devices):
        raise SystemExit(
            f"argument --batch: must be a multiple of the {len(devices)} devices, got "
            f"{arguments.batch}"
        )
    settings = arguments.seed, arguments.steps, arguments.batch
    run = train(mesh_of(devices), *settings)
    if jax.process_index() > 0:
        return True
    print(f"{jax.process_count()} processes, {len(devices)} devices", flush=True)
    same = compare(run, train(mesh_of(jax.local_devices()[:1]), *settings))
    data = load_data()
    _, apply = linen_net(CASE)
    labels = np.asarray(apply(run.params, data.test_x)).argmax(-1)
    print(f"accuracy on the test half: {accuracy_score(data.test_y, labels):.2%}")
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        flat: Any = flatten_dict(run.params, sep="/")
        np.savez(arguments.out / "distributed.npz", masks=run.masks, **flat)
    return same


def mesh_of(devices: Sequence[Any]) -> Mesh:
    return Mesh(np.array(devices), ("data",), axis_types=(AxisType.Auto,))


def main(argv: Sequence[str] | None = None) -> bool:
    argv = sys.argv[1:] if argv is None else argv
    arguments = parse(argv)
    if arguments.cluster:
        jax.distributed.initialize()
    elif arguments.coordinator:
        jax.distributed.initialize(
            arguments.coordinator,
            arguments.processes,
            arguments.process,
            cluster_detection_method="deactivate",
            coordinator_bind_address=arguments.coordinator,
            initialization_timeout=TIMEOUT,
        )
    elif arguments.processes > 1:
        command = [sys.executable, str(Path(__file__).resolve()), *argv]
        return launch(command, arguments.processes, TIMEOUT)
    return work(arguments)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    add = parser.add_argument
    add("--processes", type=positive, default=2, help="on this machine, or of all")
    add("--cluster", action="store_true", help="one process of a TPU pod or of SLURM")
    add("--coordinator", metavar="HOST:PORT", help="of process 0, where none is found")
    add("--process", type=int, help="the number of this one, from 0")
    add("--steps", type=positive, default=280)
    add("--batch", type=positive, default=32, help="a multiple of the devices")
    add("--seed", type=int, default=0)
    add("--out", type=Path, help="folder for the parameters and the masks")
    arguments = parser.parse_args(argv)
    if arguments.cluster and arguments.coordinator:
        parser.error("argument --cluster: not together with --coordinator")
    if (arguments.coordinator is None) != (arguments.process is None):
        parser.error("argument --process: only together with --coordinator, and always")
    return arguments


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a positive integer, got {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(not main())
