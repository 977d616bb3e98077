"""Deep ensembles beside Monte-Carlo dropout

Lakshminarayanan, Pritzel, Blundell, *Simple and scalable predictive uncertainty
estimation using deep ensembles*, NeurIPS 2017, table 1: five nets that put out a mean
and a variance, trained by the likelihood from different starts, have a lower negative
log-likelihood than Monte-Carlo dropout on the same UCI sets and splits, though not
always a lower RMSE.

**Data**: those of `mc_dropout`.

**As in the paper**: one hidden layer of 50, five members, a prediction is the normal
with the mean and the variance of their mixture. **Changed**: no adversarial training;
batches and epochs are those of `mc_dropout`, for all methods; the penalty and the
learning rate are chosen on 20 % of each training fold, 4 x 3 trials, as many as dropout
gets for its rate and tau. What `mc_dropout` has run is not run again.

**Control**: *MC, 5 passes* is Monte-Carlo dropout with as many samples as there are
members. *5 nets, same tau* are five nets without noise, with the noise N(0, 1 / tau)
and the penalty of dropout: the diversity of an ensemble without its variances. *One
net* is a single member: its variance without the diversity.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import norm

from experiments import _uci, mc_dropout
from experiments._lab import TUNING_SEED, Lab
from experiments._report import Outcome, above

PAPER = "Lakshminarayanan et al. 2017"
ENSEMBLE, ONE, DIVERSE = "deep ensemble", "one net", "5 nets, same tau"
MANY, FEW = mc_dropout.DROPOUT, mc_dropout.FEW
PENALTIES = (1e-6, 1e-5, 1e-4, 1e-3)
LEARNING_RATES = (3e-4, 1e-3, 3e-3)


class Settings(NamedTuple):
    sets: tuple[str, ...] = mc_dropout.FULL.sets
    splits: int = 20
    times: int = 100
    width: int = 50
    samples: int = 1000
    samples_to_choose: int = 200
    members: int = 5


FULL = Settings()
QUICK = Settings(*mc_dropout.QUICK)


def fit(sets, penalty, learning_rate, seed, source, settings):
    """Nets with a variance, for arrays (splits, nets)."""
    return _uci.train(
        sets.train_x,
        sets.train_y,
        _uci.Values(None, jnp.float32(penalty), jnp.float32(learning_rate)),
        _uci.run_keys(seed, *penalty.shape),
        loss=_uci.normal_loss,
        outputs=2,
        width=settings.width,
        epochs=source.epochs * settings.times,
    )


def normal_score(nets, sets):
    """Of groups of nets, each one normal: log-likelihood and RMSE, in units of y, by
    split, from parameters (splits, groups, members, ...)."""
    shape = nets["b"].shape[:3]
    flat = jax.tree.map(lambda p: p.reshape(shape[0], -1, *p.shape[3:]), nets)
    outputs = _uci.quiet(flat, sets.test_x)
    outputs = outputs.reshape(*shape, *outputs.shape[2:])
    mean, deviation = (np.asarray(p, float) for p in _uci.mean_and_deviation(outputs))
    center = mean.mean(2)
    spread = np.sqrt((deviation**2 + mean**2).mean(2) - center**2)
    truth, scale = sets.test_y[:, None], sets.scale[:, None]
    ll = norm.logpdf(truth, center, spread).mean(-1) - np.log(scale)
    rmse = scale * np.sqrt(((truth - center) ** 2).mean(-1))
    return ll, rmse


def ensemble(source, settings):
    """Choose for each split, train the members, score them together and one alone."""
    data, splits = source.choose, len(source.choose.train_x)
    grid = np.meshgrid(PENALTIES, LEARNING_RATES, indexing="ij")
    penalties, rates = (g.ravel() for g in grid)
    tiled = [np.tile(g, (splits, 1)) for g in (penalties, rates)]
    nets = fit(data, tiled[0], tiled[1], TUNING_SEED, source, settings)
    alone = jax.tree.map(lambda p: p[:, :, None], nets)
    best = np.nan_to_num(normal_score(alone, data)[0], nan=-np.inf).argmax(1)
    chosen = penalties[best], rates[best]
    members = [np.repeat(c[:, None], settings.members, 1) for c in chosen]
    nets = fit(source.report, members[0], members[1], 2, source, settings)
    together = jax.tree.map(lambda p: p[:, None], nets)
    first = jax.tree.map(lambda p: p[:, None, :1], nets)
    found = {
        name: normal_score(group, source.report)
        for name, group in {ENSEMBLE: together, ONE: first}.items()
    }
    return {"penalty": chosen[0], "learning_rate": chosen[1]}, found


def trial(source, dropout, settings):
    """With the rate and tau that `mc_dropout` chose, and its scores."""
    chosen, found = ensemble(source, settings)
    data, size = source.report, source.report.train_x.shape[1]
    rate, tau = (np.array(dropout["chosen"][name])[:, None] for name in ("rate", "tau"))
    decays = np.repeat(_uci.decay(rate, tau, size), settings.members, 1)
    nets = mc_dropout.fit(data, None, decays, 3, source, settings)
    outputs = np.asarray(_uci.quiet(nets, data.test_x))[..., 0]
    found[DIVERSE] = _uci.mixture_score(outputs[:, None], data, tau)
    scores = {
        name: {"ll": ll[:, 0], "rmse": rmse[:, 0]} for name, (ll, rmse) in found.items()
    }
    scores |= {name: dropout["scores"][name] for name in (MANY, FEW)}
    return {"chosen": chosen, "scores": scores}


def run(lab: Lab, settings: Settings) -> Outcome:
    before = mc_dropout.Settings(
        **{name: getattr(settings, name) for name in mc_dropout.Settings._fields}
    )
    other = Lab("mc_dropout", before, lab.path.parent, lab.data)
    sources, dropout = mc_dropout.trials(other, before)
    trials = {
        f"{name}, {settings.splits} splits": functools.partial(
            trial, source, dropout[name], settings
        )
        for name, source in sources.items()
    }
    found = dict(zip(sources, lab.run(trials).values(), strict=True))
    lab.add(other)
    claims = []
    for name in sources:
        scores = found[name]["scores"]
        ours = scores[ENSEMBLE]
        claims += [
            above(
                f"{name}: deep ensemble, higher log-likelihood than {MANY}",
                PAPER,
                ours["ll"],
                scores[MANY]["ll"],
            ),
            *(
                above(
                    f"{name}: {better}, higher log-likelihood than {other}",
                    "control",
                    scores[better]["ll"],
                    scores[other]["ll"],
                )
                for better, other in (
                    (ENSEMBLE, FEW),
                    (ENSEMBLE, ONE),
                    (DIVERSE, MANY),
                )
            ),
        ]

    table, draw = _uci.shown({name: found[name]["scores"] for name in sources})
    return Outcome(claims, [table], draw, found)
