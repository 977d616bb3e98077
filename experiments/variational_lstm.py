"""The variational LSTM does not over-fit on sentiment

Gal, Ghahramani, *A theoretically grounded application of dropout in recurrent neural
networks*, NeurIPS 2016, section 4.1 and figure 2: an LSTM rates film reviews. Without
noise it over-fits, and so it does with *naive* dropout, new masks at each step and none
on the recurrence; with one mask for all steps, on inputs, recurrence and words, it does
not.

**Data**: the scale data set v1.0 of Pang and Lee (2005), 5,006 reviews, free for
research. `python -m experiments variational_lstm` without `--data` says where it is.

**As in the paper**: embedding and LSTM of 128, a fifth of the reviews for testing,
standardised ratings, mean squared error, Adam. **Changed**: the first 200 words of each
review in place of all of it in chunks; a tenth of the training reviews is for
validation; words that are seen once are unknown; a learning rate that falls to 0.

**Control**: *stopped* is the net without noise after the epoch that is best on
validation. Learning rates and rates are chosen on validation, 4 trials for each method.
"""

import functools
import gzip
from collections import Counter
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import jaxnoise.linen as jnn
from experiments._data import PANG_LEE, Part, Split
from experiments._fit import Fit
from experiments._lab import Lab
from experiments._report import Outcome, Table, above, mean_and_spread

PAPER = "Gal, Ghahramani 2016"
PLAIN, NAIVE, VARIATIONAL = "no noise", "naive", "variational"
STOPPED = f"{PLAIN}, stopped"


class Settings(NamedTuple):
    reviews: int = 5006
    words: int = 200
    vocabulary: int = 20000
    features: int = 128
    seeds: int = 5
    epochs: int = 40
    batch: int = 128


FULL = Settings()
QUICK = Settings(600, 30, 1000, 16, 2, 2, 60)


def candidates(rates):
    return [
        {"learning_rate": speed, "rate": rate}
        for speed in (1e-3, 3e-3)
        for rate in rates
    ]


CANDIDATES = {
    PLAIN: [{"learning_rate": s, "rate": 0.0} for s in (3e-4, 1e-3, 3e-3, 1e-2)],
    NAIVE: candidates((0.25, 0.5)),
    VARIATIONAL: candidates((0.25, 0.5)),
}


def load(lab: Lab, settings: Settings) -> tuple[Split, float]:
    """Tokens (reviews, words), 0 after the end, and standardised ratings; the scale."""
    with gzip.open(lab.file("pang_lee_scale.tsv.gz", PANG_LEE), "rt") as file:
        lines = [line.rstrip("\n").split("\t") for line in file]
    order = np.random.default_rng(0).permutation(len(lines))[: settings.reviews]
    ratings = np.array([float(lines[i][1]) for i in order], np.float32)
    reviews = [lines[i][2].split()[: settings.words] for i in order]
    ends = round(0.72 * len(order)), round(0.8 * len(order))
    counts = Counter(word for review in reviews[: ends[0]] for word in review)
    known = [w for w, n in counts.most_common(settings.vocabulary - 2) if n > 1]
    index = {word: place for place, word in enumerate(known, 2)}  # 1 is unknown
    tokens = np.zeros((len(reviews), settings.words), np.int32)
    for row, review in zip(tokens, reviews, strict=True):
        row[: len(review)] = [index.get(word, 1) for word in review]
    center, scale = ratings[: ends[0]].mean(), ratings[: ends[0]].std()
    whole = Part(tokens, (ratings - center) / scale)
    cuts = slice(ends[0]), slice(*ends), slice(ends[1], None)
    return Split(*map(whole.rows, cuts)), float(scale)


class Rater(nn.Module):
    """A rating from tokens (batch, words); the rate may be traced."""

    method: str
    settings: Settings
    rate: jax.Array | float

    @nn.compact
    def __call__(self, tokens, train: bool):
        quiet, features = not train, self.settings.features
        shared = self.method == VARIATIONAL
        noise: Any = {}
        of_words = 0.0
        if self.method != PLAIN:
            noise = {"input_rate": self.rate, "per_step": not shared}
        if shared:
            noise |= {"recurrent_rate": self.rate, "tied": False}
            of_words = self.rate
        embed = jnn.Embed(self.settings.vocabulary, features, rate=of_words)
        rnn = jnn.RNN(jnn.LSTMCell(features, **noise), return_carry=True)
        lengths = (tokens > 0).sum(1)
        x = embed(tokens, deterministic=quiet)
        (_, h), _ = rnn(x, seq_lengths=lengths, deterministic=quiet)
        if self.method != PLAIN:
            h = jnn.Dropout(self.rate)(h, deterministic=quiet)
        return nn.Dense(1)(h)[:, 0]


@functools.cache
def fitter(method: str, settings: Settings) -> Fit:
    def predicted(params, values, x, key=None):
        net = Rater(method, settings, values["rate"])
        rngs = {} if key is None else {"dropout": key}
        out: Any = net.apply(params, x, train=key is not None, rngs=rngs)
        return out

    def loss(params, values, x, y, key, epoch):
        return ((predicted(params, values, x, key) - y) ** 2).mean()

    def measure(params, values, x, y):
        return {"mse": ((predicted(params, values, x) - y) ** 2).mean()}

    sizes = {"epochs": settings.epochs, "batch": settings.batch}
    return Fit(loss, measure, **sizes, clip=1.0, chunk=250)


def trial(data, settings, method, values, seed):
    start, key = jax.random.split(jax.random.key(seed))
    tokens = jnp.asarray(data.train.x[:1])
    params = Rater(PLAIN, settings, 0.0).init(start, tokens, False)
    parts = data._asdict()
    _, curves = fitter(method, settings)(params, values, data.train, parts, key)
    return {"valid": curves["valid"]["mse"][-1], "curves": curves}


def run(lab: Lab, settings: Settings) -> Outcome:
    data, scale = load(lab, settings)
    tuned = lab.tune(
        CANDIDATES, functools.partial(trial, data, settings), settings.seeds
    )
    rmse = {
        method: {
            part: scale * np.sqrt([run["curves"][part]["mse"] for run in found["runs"]])
            for part in ("train", "valid", "test")
        }
        for method, found in tuned.items()
    }
    end = {method: shown["test"][:, -1] for method, shown in rmse.items()}
    best = {  # the test error at the epoch that is best on validation
        method: np.take_along_axis(shown["test"], shown["valid"].argmin(1)[:, None], 1)[
            :, 0
        ]
        for method, shown in rmse.items()
    }
    rise = {method: end[method] - best[method] for method in end}
    claims = [
        above(f"{PLAIN} over-fits: the test RMSE rises", PAPER, rise[PLAIN], 0),
        above(f"{NAIVE} over-fits: the test RMSE rises", PAPER, rise[NAIVE], 0),
        *(
            above(
                f"{other}: it rises more than with {VARIATIONAL}",
                PAPER,
                rise[other],
                rise[VARIATIONAL],
            )
            for other in (PLAIN, NAIVE)
        ),
        *(
            above(
                f"{VARIATIONAL}: lower test RMSE than {other}",
                PAPER,
                end[other],
                end[VARIATIONAL],
            )
            for other in (PLAIN, NAIVE)
        ),
        above(
            f"{VARIATIONAL}: lower test RMSE than {STOPPED}",
            "control",
            best[PLAIN],
            end[VARIATIONAL],
        ),
    ]
    rows = [
        [
            method,
            ", ".join(f"{k} {v:g}" for k, v in found["chosen"].items()),
            mean_and_spread(rmse[method]["train"][:, -1]),
            mean_and_spread(end[method]),
            mean_and_spread(best[method]),
        ]
        for method, found in tuned.items()
    ]
    columns = ["", "chosen", "training RMSE", "test RMSE", "test RMSE, stopped"]

    def draw(figure):
        panel = figure.subplots()
        for place, (method, shown) in enumerate(rmse.items()):
            epochs = np.arange(1, settings.epochs + 1)
            for part, style in (("train", ":"), ("test", "-")):
                label = f"{method}, {part}"
                mean = shown[part].mean(0)
                panel.plot(epochs, mean, style, color=f"C{place}", label=label)
        panel.set(xlabel="epoch", ylabel="RMSE of ratings, mean over seeds")
        panel.legend(fontsize=7)

    title = "RMSE in units of the rating, mean ± standard deviation over seeds"
    return Outcome(claims, [Table(title, columns, rows)], draw, tuned)
