"""A schedule as the rate of a dropout: the training step compiles once.

Amounts may be traced, so any optax schedule is a rate, and the layer takes
it like a number. A small net is trained on scikit-learn's digits (nothing is
downloaded) under each schedule. Prints the rate at the start, halfway and at the end,
how often the step was traced, which is how often XLA compiled it, and negative
log-likelihood and accuracy on the test half. The last row gives the same rates as
Python numbers, a static argument: one compilation for each value.

    python examples/schedule.py
    python examples/schedule.py --epochs 40 --rate 0.3
"""

import argparse
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from digits import load_data
from rich.console import Console
from rich.table import Table

import jaxnoise.linen as jnn
from jaxnoise import schedules

BATCH, LEARNING_RATE = 32, 2e-3
STATIC_STEPS = 2  # of the row that compiles anew


class Net(nn.Module):
    """An MLP with dropout whose rate is a Python number or a traced one."""

    rate: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = x.reshape(len(x), -1)
        for features in (128, 128):
            x = nn.relu(nn.Dense(features)(x))
            x = jnn.Dropout(self.rate, deterministic=not train)(x)
        return nn.Dense(10)(x)


class Result(NamedTuple):
    """Of one schedule: rates at three steps, traces of the step, and test scores."""

    rates: tuple[float, ...]
    steps: int
    traces: int
    nll: float
    accuracy: float


def all_schedules(rate: float, steps: int) -> dict[str, Callable[[Any], Any]]:
    """From optax, from jaxnoise, and from both."""
    rise = schedules.curriculum_dropout(rate, steps // 2)
    fall = optax.linear_schedule(rate, 0.0, steps // 2)
    return {
        "optax.constant_schedule": optax.constant_schedule(rate),
        "optax.linear_schedule": optax.linear_schedule(0.0, rate, steps),
        "optax.cosine_decay_schedule": optax.cosine_decay_schedule(rate, steps),
        "optax.join_schedules": optax.join_schedules([rise, fall], [steps // 2]),
        "curriculum_dropout": schedules.curriculum_dropout(rate, steps),
        "early_dropout": schedules.early_dropout(rate, steps // 2),
        "late_dropout": schedules.late_dropout(rate, steps // 2),
    }


def train(
    schedule: Callable[[Any], Any], steps: int, seed: int, *, static: bool = False
) -> Result:
    """Train for a number of steps.

    Args:
      schedule: from a step to a rate.
      steps: how many.
      seed: of parameters, order of the images and noise.
      static: whether the rate goes into the step as a Python number.
    """
    data, traces = load_data(), []
    images, labels = jnp.asarray(data.train_x), jnp.asarray(data.train_y)
    init_key, order_key, noise_key = jax.random.split(jax.random.key(seed), 3)
    params: Any = Net(0.0).init(init_key, images[:1], train=False)
    optimizer = optax.adam(LEARNING_RATE)
    state = optimizer.init(params)

    @functools.partial(jax.jit, static_argnames="fixed")
    def update(params, state, step, fixed=None):
        traces.append(step)  # Python runs when JAX traces, not when it computes
        net = Net(schedule(step) if fixed is None else fixed)
        order, noise = (jax.random.fold_in(k, step) for k in (order_key, noise_key))
        index = jax.random.randint(order, (BATCH,), 0, len(images))

        def loss(params):
            rngs = {"dropout": noise}
            logits: Any = net.apply(params, images[index], train=True, rngs=rngs)
            entropy = optax.softmax_cross_entropy_with_integer_labels
            return entropy(logits, labels[index]).mean()

        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    for step in range(steps):
        fixed = float(schedule(step)) if static else None
        params, state = update(params, state, step, fixed)

    logits: Any = jax.jit(lambda params, x: Net(0.0).apply(params, x, train=False))(
        params, data.test_x
    )
    truth = jnp.asarray(data.test_y)
    nll = optax.softmax_cross_entropy_with_integer_labels(logits, truth).mean()
    accuracy = float(np.mean(logits.argmax(-1) == truth))
    rates = tuple(float(schedule(step)) for step in (0, steps // 2, steps - 1))
    return Result(rates, steps, len(traces), float(nll), accuracy)


def show_table(results: dict[str, Result]) -> None:
    table = Table(title="One compilation for all rates")
    table.add_column("schedule", no_wrap=True)
    columns = ("first rate", "halfway", "last", "steps", "compilations")
    for column in (*columns, "NLL, nats", "accuracy, %"):
        table.add_column(column, justify="right")
    for name, (rates, steps, traces, nll, accuracy) in results.items():
        cells = [f"{rate:.3f}" for rate in rates]
        scores = f"{nll:.4f}", f"{100 * accuracy:.2f}"
        if steps == STATIC_STEPS:
            scores = "", ""  # of a net that has not been trained
        table.add_row(name, *cells, str(steps), str(traces), *scores)
    Console(width=110).print(table)


def main(argv: Sequence[str] | None = None) -> dict[str, Result]:
    arguments = parse(argv)
    steps = arguments.epochs * (len(load_data().train_x) // BATCH)
    named = all_schedules(arguments.rate, steps)
    results = {name: train(f, steps, arguments.seed) for name, f in named.items()}
    rising = optax.linear_schedule(0.0, arguments.rate, STATIC_STEPS)
    results["linear, as Python numbers"] = train(
        rising, STATIC_STEPS, arguments.seed, static=True
    )
    show_table(results)
    return results


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    kind = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=kind)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rate", type=float, default=0.5, help="the largest")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    if arguments.epochs < 1:
        parser.error(f"argument --epochs: must be at least 1, got {arguments.epochs}")
    if not 0 < arguments.rate <= 1:
        parser.error(f"argument --rate: must be in (0, 1], got {arguments.rate}")
    return arguments


if __name__ == "__main__":
    main()
