"""What each part of AWD-LSTM is worth

Merity, Keskar, Socher, *Regularizing and optimizing LSTM language models*, ICLR 2018,
table 5: AWD-LSTM on PTB and WikiText-2, and each part of it left out. On PTB every part
is worth something; weight drop most of all, AR and TAR the least.

**Data**: tiny Shakespeare (public domain), by characters; WikiText-2 (CC BY-SA 3.0), by
words: trained on nine tenths of its validation text and validated on the last one,
tested on its own test text. `python -m experiments awd_lstm` without `--data` says
where they are.

**Changed**: two LSTM layers of 128 in place of three of 1,150; segments of a fixed
length that start from the state 0; Adam with a learning rate that falls to 0, in place
of NT-ASGD; no tied weights. The text is short and the epochs are many: without noise
the nets over-fit.

**Control**: *AR, TAR alone* and *weight drop alone*. Of each method the learning rate
and the strength, a factor on all its rates, are chosen on validation, 4 trials each.
"""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxnoise.linen as jnn
from experiments._data import Part, text
from experiments._fit import Fit
from experiments._lab import Lab
from experiments._report import Outcome, Table, above, mean_and_spread
from jaxnoise import losses

PAPER = "Merity et al. 2018"
PLAIN, ALL = "no noise", "AWD-LSTM"
# weight drop; dropout of words, inputs and outputs; AR and TAR
WEIGHT, DROPOUT, PENALTIES = "weight drop", "dropout", "AR, TAR"
PARTS = {
    PLAIN: (),
    f"{WEIGHT} alone": (WEIGHT,),
    f"{DROPOUT} alone": (DROPOUT,),
    f"{PENALTIES} alone": (PENALTIES,),
    ALL: (WEIGHT, DROPOUT, PENALTIES),
    f"{ALL} without {WEIGHT}": (DROPOUT, PENALTIES),
    f"{ALL} without {DROPOUT}": (WEIGHT, PENALTIES),
    f"{ALL} without {PENALTIES}": (WEIGHT, DROPOUT),
}


class Settings(NamedTuple):
    sets: tuple[str, ...] = ("shakespeare", "wikitext2")
    limit: int = 900_000
    held: int = 100_000
    length: int = 70
    features: int = 128
    embedding: int = 64
    seeds: int = 5
    epochs: int = 30
    batch: int = 64


FULL = Settings()
QUICK = Settings(("shakespeare",), 4000, 2000, 20, 16, 8, 2, 1, 20)

CANDIDATES = {
    method: [
        {"learning_rate": speed, "strength": strength}
        for speed in (2e-3, 5e-3)
        for strength in (0.5, 1.0)
    ]
    if parts
    else [{"learning_rate": s, "strength": 0.0} for s in (1e-3, 2e-3, 5e-3, 1e-2)]
    for method, parts in PARTS.items()
}


class Reader(nn.Module):
    """Logits of the next symbol, and the last layer without and with its dropout."""

    parts: tuple[str, ...]
    strength: jax.Array | float
    size: int
    settings: Settings

    @nn.compact
    def __call__(self, tokens, train: bool):
        quiet, features = not train, self.settings.features
        drop = DROPOUT in self.parts
        noise: Any = {"input_rate": 0.4 * self.strength} if drop else {}
        if WEIGHT in self.parts:
            noise["weight_rate"] = 0.5 * self.strength
        of_words = 0.1 * self.strength if drop else 0.0
        x = jnn.Embed(self.size, self.settings.embedding, rate=of_words)(
            tokens, deterministic=quiet
        )
        for _ in range(2):
            x = jnn.RNN(jnn.LSTMCell(features, **noise))(x, deterministic=quiet)
        dropped = x
        if drop:  # one mask for all steps
            layer = jnn.Dropout(0.4 * self.strength, broadcast_dims=(1,))
            dropped = layer(x, deterministic=quiet)
        return nn.Dense(self.size)(dropped), x, dropped


@functools.cache
def fitter(parts: tuple[str, ...], size: int, settings: Settings) -> Fit:
    def apply(params, values, x, key=None):
        net = Reader(parts, values["strength"], size, settings)
        rngs = {} if key is None else {"dropout": key}
        out: Any = net.apply(params, x, train=key is not None, rngs=rngs)
        return out

    nats = optax.softmax_cross_entropy_with_integer_labels

    def loss(params, values, x, y, key, epoch):
        logits, raw, dropped = apply(params, values, x, key)
        total = nats(logits, y).mean()
        if PENALTIES in parts:
            strength = values["strength"]
            total += losses.ar(dropped, 2 * strength) + losses.tar(raw, strength)
        return total

    def measure(params, values, x, y):
        return {"nats": nats(apply(params, values, x)[0], y).mean()}

    sizes = {"epochs": settings.epochs, "batch": settings.batch}
    return Fit(loss, measure, **sizes, clip=1.0, chunk=100)


def trial(data, size, settings, method, values, seed):
    start, key = jax.random.split(jax.random.key(seed))
    tokens = jnp.asarray(data["train"].x[:1])
    params = Reader((), 0.0, size, settings).init(start, tokens, False)
    held_out = {part: data[part] for part in ("valid", "test")}
    fit = fitter(PARTS[method], size, settings)
    _, curves = fit(params, values, data["train"], held_out, key)
    return {"valid": curves["valid"]["nats"][-1], "curves": curves}


def segments(tokens: np.ndarray, length: int) -> Part:
    count = (len(tokens) - 1) // length
    x, y = tokens[: count * length], tokens[1 : count * length + 1]
    return Part(x.reshape(count, length), y.reshape(count, length))


def run(lab: Lab, settings: Settings) -> Outcome:
    claims, rows, numbers, shown = [], [], {}, {}
    for name in settings.sets:
        corpus = text(lab, name, settings.limit, settings.held)
        data = {
            part: segments(getattr(corpus, part), settings.length)
            for part in ("train", "valid", "test")
        }
        part = Lab(lab.name, settings, lab.path.parent, lab.data, prefix=f"{name}: ")
        tuned = numbers[name] = part.tune(
            CANDIDATES,
            functools.partial(trial, data, corpus.size, settings),
            settings.seeds,
        )
        lab.add(part)
        curves = shown[name] = {
            method: np.array([r["curves"]["test"]["nats"] for r in found["runs"]])
            for method, found in tuned.items()
        }
        end = {method: curve[:, -1] for method, curve in curves.items()}
        claims += [
            above(f"{name}: without {part} {ALL} is worse", PAPER, *pair)
            for part in (WEIGHT, DROPOUT, PENALTIES)
            for pair in [(end[f"{ALL} without {part}"], end[ALL])]
        ]
        claims += [
            above(f"{name}: {ALL} is better than {PLAIN}", PAPER, end[PLAIN], end[ALL]),
            above(
                f"{name}: {ALL} is better than {PENALTIES} alone",
                "control",
                end[f"{PENALTIES} alone"],
                end[ALL],
            ),
        ]
        for method, found in tuned.items():
            chosen = ", ".join(f"{k} {v:g}" for k, v in found["chosen"].items())
            least = curves[method].min(1)
            cells = (mean_and_spread(v) for v in (end[method], least))
            rows.append([name, method, chosen, *cells])

    def draw(figure):
        panels = figure.subplots(1, len(shown), squeeze=False)[0]
        for panel, (name, curves) in zip(panels, shown.items(), strict=True):
            for method, curve in curves.items():
                epochs = np.arange(1, settings.epochs + 1)
                panel.plot(epochs, curve.mean(0), label=method)
            panel.set(xlabel="epoch", ylabel="test, nats a symbol", title=name)
        panels[0].legend(fontsize=6)

    columns = ["", "", "chosen", "test, nats a symbol", "least of all epochs"]
    title = "Test scores, mean ± standard deviation over seeds"
    return Outcome(claims, [Table(title, columns, rows)], draw, numbers)
