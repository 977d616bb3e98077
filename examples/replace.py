"""One model, written with `flax.linen.Dropout` alone, trained with every noise.

The CNN below knows nothing of jaxnoise. `jaxnoise.linen.replace_dropout` is a context
around the training, in which each of its three Dropouts is another noise, and all else
is the same: initial parameters, order of the images, keys. The training is one jitted
function, compiled anew for each noise because the context is a part of what `jax.jit`
remembers it by. Data is scikit-learn's digits (1797 images of 8 x 8 pixels, nothing is
downloaded), half to train on and half to test on. Each noise has the rates of the
model, not its best ones; the alpha family is for SELU and does badly after ReLU.

Prints accuracy and negative log-likelihood on the test half, and the seconds that
training took, compilation included. Two runs with the same arguments print the same,
but for the seconds.

    python examples/replace.py
    python examples/replace.py --epochs 30 --only "as it is" gaussian_dropout drop_block
"""

import argparse
import contextlib
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from digits import load_data
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from scipy.special import softmax
from sklearn.metrics import accuracy_score, log_loss

import jaxnoise as jn
import jaxnoise.linen as jnn

BATCH, LEARNING_RATE = 32, 4e-3


class CNN(nn.Module):
    """A model as they are: convolutions, pooling, dropout."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        for channels in (8, 16):
            x = nn.relu(nn.Conv(channels, (3, 3))(x))
            x = nn.max_pool(x, (2, 2), (2, 2))
            x = nn.Dropout(0.1)(x, deterministic=not train)
        x = nn.relu(nn.Dense(64)(x.reshape(len(x), -1)))
        x = nn.Dropout(0.3)(x, deterministic=not train)
        return nn.Dense(10)(x)


def on_maps(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """A noise on feature maps, and dropout on the units that come after them."""

    def noise(key: jax.Array, x: jax.Array, rate: Any) -> jax.Array:
        return (function if x.ndim == 4 else jn.dropout)(key, x, rate)

    return noise


class Replacement(NamedTuple):
    """A noise for the places of the dropouts: a function or a layer, and its amount.

    None for the amount is the rate of each Dropout; None for the noise, the model as
    it is.
    """

    noise: Any
    rate: float | None = None

    def __call__(self) -> contextlib.AbstractContextManager[Any]:
        if self.noise is None:
            return contextlib.nullcontext()
        return jnn.replace_dropout(self.noise, self.rate)


blocks = functools.partial(jn.drop_block, block_size=2)
both = functools.partial(jn.real_gaussian_dropout, stddev=0.5)
REPLACEMENTS = {
    "none": Replacement(jn.dropout, 0.0),
    "as it is": Replacement(None),
    "dropout": Replacement(jn.dropout),
    "gaussian_dropout": Replacement(jn.gaussian_dropout),
    "alpha_dropout": Replacement(jn.alpha_dropout),
    "feature_alpha_dropout": Replacement(on_maps(jn.feature_alpha_dropout)),
    "spatial_dropout": Replacement(on_maps(jn.spatial_dropout)),
    "drop_block": Replacement(on_maps(blocks)),
    "drop_path": Replacement(jn.drop_path, 0.05),
    "real_gaussian_dropout": Replacement(both),
    "gaussian_noise": Replacement(jnn.GaussianNoise(0.3)),
    "uniform_noise": Replacement(jnn.UniformNoise(0.5)),
    "laplace_noise": Replacement(jnn.LaplaceNoise(0.2)),
}


class Result(NamedTuple):
    name: str
    accuracy: float
    nll: float
    seconds: float


class Start(NamedTuple):
    """Shared by all trainings: parameters, and for each step images and a key."""

    params: Any
    batches: jax.Array
    keys: jax.Array


@functools.partial(jax.jit, static_argnames=("size", "epochs"))
def prepare(key: jax.Array, *, size: int, epochs: int) -> Start:
    init_key, order_key, noise_key = jax.random.split(key, 3)
    params = CNN().init(init_key, jnp.zeros((1, 8, 8, 1)), train=False)
    orders = jax.vmap(lambda key: jax.random.permutation(key, size))
    order = orders(jax.random.split(order_key, epochs))[:, : size // BATCH * BATCH]
    batches = order.reshape(-1, BATCH)
    return Start(params, batches, jax.random.split(noise_key, len(batches)))


@jax.jit
def train(start: Start, images: jax.Array, labels: jax.Array) -> Any:
    """Parameters after Adam with a cosine decay."""
    model = CNN()
    decay = optax.cosine_decay_schedule(LEARNING_RATE, len(start.batches))
    optimizer = optax.adam(decay)

    def loss(params, index, key):
        rngs = {"dropout": key}
        logits: Any = model.apply(params, images[index], train=True, rngs=rngs)
        entropy = optax.softmax_cross_entropy_with_integer_labels
        return entropy(logits, labels[index]).mean()

    def step(state, batch):
        params, optimizer_state = state
        updates, optimizer_state = optimizer.update(
            jax.grad(loss)(params, *batch), optimizer_state
        )
        return (optax.apply_updates(params, updates), optimizer_state), None

    state = start.params, optimizer.init(start.params)
    (params, _), _ = jax.lax.scan(step, state, (start.batches, start.keys))
    return params


@jax.jit
def predict(params: Any, images: jax.Array) -> jax.Array:
    logits: Any = CNN().apply(params, images, train=False)
    return logits


def run(names: Sequence[str], epochs: int, seed: int) -> list[Result]:
    """One result a noise, behind a progress bar on stderr."""
    data, results = load_data(), []
    images, labels = jnp.asarray(data.train_x), jnp.asarray(data.train_y)
    start = prepare(jax.random.key(seed), size=len(images), epochs=epochs)
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=len(names))
        for name in names:
            progress.update(task, description=name)
            begin = time.perf_counter()
            with REPLACEMENTS[name]():
                params = train(start, images, labels)
            jax.block_until_ready(params)
            seconds = time.perf_counter() - begin
            logits = np.asarray(predict(params, data.test_x), np.float64)
            p, truth = softmax(logits, axis=-1), data.test_y
            accuracy = float(accuracy_score(truth, p.argmax(-1)))
            results.append(Result(name, accuracy, float(log_loss(truth, p)), seconds))
            progress.advance(task)
    return results


def show_table(results: Sequence[Result], title: str) -> None:
    table = Table("noise", "rate", title=title)
    for column in ("accuracy, %", "NLL, nats", "seconds"):
        table.add_column(column, justify="right")
    for name, accuracy, nll, seconds in results:
        noise, rate = REPLACEMENTS[name]
        shown = "its own" if rate is None else f"{rate:g}"
        if isinstance(noise, nn.Module):
            shown = f"{getattr(noise, 'stddev', getattr(noise, 'scale', None)):g}"
        table.add_row(
            *(name, shown, f"{100 * accuracy:.2f}", f"{nll:.4f}", f"{seconds:.1f}")
        )
    Console(width=88).print(table)


def main(argv: Sequence[str] | None = None) -> list[Result]:
    arguments = parse(argv)
    names = [n for n in REPLACEMENTS if n in (arguments.only or REPLACEMENTS)]
    results = run(names, arguments.epochs, arguments.seed)
    show_table(results, f"digits, {arguments.epochs} epochs, seed {arguments.seed}")
    return results


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    kind = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=kind)
    parser.add_argument("--epochs", type=_positive, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=REPLACEMENTS, metavar="NOISE")
    return parser.parse_args(argv)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a positive integer, got {text!r}")
    return int(text)


if __name__ == "__main__":
    main()
