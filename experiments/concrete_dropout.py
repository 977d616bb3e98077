"""Concrete dropout finds the noise of the data

Gal, Hron, Kendall, *Concrete dropout*, NeurIPS 2017, section 4.1, figures 2 and 3: nets
learn y = 2x + 8 + N(0, 1), x ~ N(0, 1), from 10 to 10,000 examples. They put out a mean
and a log-variance; the aleatoric deviation must come to the true 1, and the epistemic
one, the spread of the mean over the masks, and the learned rates must fall with the
number of examples.

**Data**: drawn here, from the seed; nothing to get.

**As in the paper**: three hidden layers with concrete dropout before each dense layer,
temperature 0.1, length scale 1e-4, heteroscedastic likelihood, batches of 20, Adam at
1e-3. **Changed**: layers of 256 in place of 1024; batches drawn with replacement, as
many for every number of examples; five data sets in place of three.

**Control**: dropout of fixed rates, with the same layers, steps and data, and the L2
penalty of concrete dropout at that rate. All of them are shown; claims are about the
one that the results favour most.
"""

import functools
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxnoise as jn
from experiments._lab import Lab
from experiments._report import Outcome, Table, above, interval, mean_and_spread, within
from jaxnoise import learned, mc


class Settings(NamedTuple):
    sizes: tuple[str, ...] = ("10", "25", "50", "100", "1000", "10000")
    seeds: int = 5
    width: int = 256
    steps: int = 10000
    batch: int = 20
    samples: int = 100
    questions: int = 500


FULL = Settings()
QUICK = Settings(("10", "100", "1000"), 2, 32, 300, samples=20, questions=100)

SCALE, TEMPERATURE, HIDDEN = 1e-4, 0.1, 3
FIXED = (0.05, 0.1, 0.2)
PAPER = "Gal, Hron, Kendall 2017"


def initial(key: jax.Array, width: int):
    """Kernels, biases and logits of rates; the last layer has two outputs."""
    sizes = [1, *[width] * HIDDEN, 2]
    keys = jax.random.split(key, len(sizes) - 1)
    glorot = jax.nn.initializers.glorot_uniform()
    pairs = list(itertools.pairwise(sizes))
    return {
        "kernel": [glorot(k, pair) for k, pair in zip(keys, pairs, strict=True)],
        "bias": [jnp.zeros(pair[1]) for pair in pairs],
        "logit": [jnp.full((), jnp.log(0.1 / 0.9)) for _ in pairs],
    }


def layers(params):
    return zip(params["kernel"], params["bias"], params["logit"], strict=True)


def net(params, x, key, rate):
    """Mean and log-variance; `rate` is None for concrete dropout."""
    keys = jax.random.split(key, len(params["kernel"]))
    for place, (kernel, bias, logit) in enumerate(layers(params)):
        if rate is None:
            x = learned.concrete_dropout(keys[place], x, logit, TEMPERATURE)
        else:
            x = jn.dropout(keys[place], x, rate)
        x = x @ kernel + bias[None]
        if place < HIDDEN:
            x = jax.nn.relu(x)
    return x[:, 0], x[:, 1]


def cost(params, rate):
    """The KL divergence of all layers, in nats; of fixed rates the part of the weights
    alone, as nothing else depends on the parameters."""
    total = 0.0
    for kernel, bias, own in layers(params):
        logit = own if rate is None else jnp.log(rate / (1 - rate))
        total += learned.concrete_dropout_regularizer(logit, kernel, SCALE)
        total += SCALE**2 * (bias**2).sum() / 2
    return total


def train(key, x, y, size, rate, settings):
    """On the first `size` examples, a traced number: one program for all of them."""
    start, order, noise = jax.random.split(key, 3)
    params: Any = initial(start, settings.width)
    optimizer = optax.adam(1e-3)

    def loss(params, index, key):
        mean, log_variance = net(params, x[index], key, rate)
        error = (y[index] - mean) ** 2
        nll = (jnp.exp(-log_variance) * error + log_variance).mean() / 2
        return nll + cost(params, rate) / size

    def step(state, number):
        params, memory = state
        now = jax.random.fold_in(order, number)
        index = jax.random.randint(now, (settings.batch,), 0, size)
        grads = jax.grad(loss)(params, index, jax.random.fold_in(noise, number))
        updates, memory = optimizer.update(grads, memory)
        return (optax.apply_updates(params, updates), memory), None

    state = params, optimizer.init(params)
    (params, _), _ = jax.lax.scan(step, state, jnp.arange(settings.steps))
    return params


@functools.partial(jax.jit, static_argnames="settings")
def trial(size, rate, settings: Settings):
    """All data sets of one size at once: deviations and rates, by seed."""
    largest = max(map(int, settings.sizes))

    def one(seed):
        inputs, noise, fit, asked, masks = jax.random.split(jax.random.key(seed), 5)
        x = jax.random.normal(inputs, (largest, 1))
        y = 2 * x[:, 0] + 8 + jax.random.normal(noise, (largest,))
        params = train(fit, x, y, size, rate, settings)
        new = jax.random.normal(asked, (settings.questions, 1))
        means, logs = mc.predict(
            lambda key: net(params, new, key, rate), masks, settings.samples, chunk=20
        )
        error = means.mean(0) - (2 * new[:, 0] + 8)
        rates = jax.nn.sigmoid(jnp.array(params["logit"]))
        return {
            "aleatoric": jnp.sqrt(jnp.exp(logs).mean()),
            "epistemic": jnp.sqrt(means.var(0).mean()),
            "error": jnp.sqrt((error**2).mean()),
            "rates": rates if rate is None else jnp.full_like(rates, rate),
        }

    return jax.vmap(one)(jnp.arange(settings.seeds))


def run(lab: Lab, settings: Settings) -> Outcome:
    methods = {"concrete": None, **{f"rate {rate}": rate for rate in FIXED}}
    sizes = [int(size) for size in settings.sizes]
    found = lab.run(
        {
            f"{method}, {size}": lambda s=size, r=rate: trial(s, r, settings)
            for method, rate in methods.items()
            for size in sizes
        }
    )
    values = {
        method: {
            name: np.array([found[f"{method}, {size}"][name] for size in sizes])
            for name in ("aleatoric", "epistemic", "error", "rates")
        }
        for method in methods
    }
    concrete, last, least = values["concrete"], sizes[-1], sizes[0]
    best = min(
        (m for m in methods if m != "concrete"),
        key=lambda m: abs(values[m]["aleatoric"][-1] - 1).mean(),
    )
    claims = [
        within(
            f"aleatoric deviation within 0.05 of 1 at N = {last}",
            PAPER,
            concrete["aleatoric"][-1] - 1,
            0.05,
        ),
        above(
            f"epistemic deviation falls, N = {least} to {last}",
            PAPER,
            concrete["epistemic"][0],
            concrete["epistemic"][-1],
        ),
        *(
            above(
                f"rate of layer {layer + 1} falls, N = {least} to {last}",
                PAPER,
                concrete["rates"][0, :, layer],
                concrete["rates"][-1, :, layer],
            )
            for layer in range(HIDDEN + 1)
        ),
        above(
            f"at N = {last} the aleatoric deviation is nearer to 1 than with the best "
            f"fixed rate ({best})",
            "control",
            abs(values[best]["aleatoric"][-1] - 1),
            abs(concrete["aleatoric"][-1] - 1),
        ),
        above(
            f"at N = {last} the epistemic deviation is below that of the best fixed "
            f"rate ({best})",
            "control",
            values[best]["epistemic"][-1],
            concrete["epistemic"][-1],
        ),
    ]
    rows = [
        [
            method,
            size,
            *(
                mean_and_spread(values[method][name][i])
                for name in ("aleatoric", "epistemic", "error")
            ),
            ", ".join(f"{r:.3f}" for r in values[method]["rates"][i].mean(0)),
        ]
        for method in methods
        for i, size in enumerate(sizes)
    ]
    columns = ["", "N", "aleatoric", "epistemic", "error of the mean", "rates by layer"]
    title = "Deviations, mean ± standard deviation over data sets"

    def draw(figure):
        axes = figure.subplots(1, 3)
        for method, shown in values.items():
            for panel, name in zip(axes, ("aleatoric", "epistemic"), strict=False):
                means = [interval(row) for row in shown[name]]
                panel.errorbar(
                    sizes,
                    [m.mean for m in means],
                    [[m.mean - m.low for m in means], [m.high - m.mean for m in means]],
                    label=method,
                    capsize=2,
                )
                panel.set_title(f"{name} deviation")
        for layer in range(HIDDEN + 1):
            rates = concrete["rates"][:, :, layer].mean(1)
            axes[2].plot(sizes, rates, label=f"layer {layer + 1}")
        axes[2].set_title("rates of concrete dropout")
        axes[0].axhline(1, color="black", linestyle=":", label="truth")
        for panel in axes:
            panel.set_xscale("log")
            panel.set_xlabel("examples")
            panel.legend(fontsize=7)

    numbers = {m: {k: v.tolist() for k, v in d.items()} for m, d in values.items()}
    return Outcome(claims, [Table(title, columns, rows)], draw, numbers)
