"""The regression of `uncertainty.py`: error bars on scikit-learn's diabetes data.

442 patients, ten measurements each, and a score of how far the disease had progressed
a year later (25 to 346). Cross-validation in 13 folds of 34, so that
every patient is predicted by nets that have not seen them.

The noise model is heteroscedastic: a net puts out the mean m(x) and the standard
deviation s(x) of a normal, and learns both by its likelihood. Over the samples of a
method, the mean of s^2 is the aleatoric variance, that of the patients, and the
variance of m the epistemic one, that of the nets; their sum is the variance of a
prediction, and the prediction is the normal with that mean and variance. Two rows are
not nets: the mean and deviation of the training targets, and scikit-learn's
`BayesianRidge`, a linear model with one noise variance for all.

Error bars are only as good as the fit. The number of epochs is chosen for each net
inside each training fold, by the likelihood of a fifth of it; the patients that are
predicted have no part in it.
"""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import binom, norm
from sklearn.datasets import load_diabetes
from sklearn.linear_model import BayesianRidge
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler
from uncertainty_nets import Answers, Net, Task

FOLDS = 13  # which divides 442
BMI = 2  # column of the body mass index
LEVEL = 0.9  # of the interval


class Folds(NamedTuple):
    """The data in FOLDS ways, inputs and targets scaled by their training part.

    Attributes:
      train_x, train_y: (folds, patients, 10) and (folds, patients), scaled.
      test_x, test_y: the same of the fold that is left out.
      center, scale: of the targets, (folds,): score = center + scale * y.
      bmi: kg/m^2, (points,), from far below to far above what there is in the data,
        which is `bmi_range`.
      sweep: inputs with that BMI and the mean of all else, (folds, points, 10), scaled.
    """

    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    center: np.ndarray
    scale: np.ndarray
    bmi: np.ndarray
    bmi_range: tuple[float, float]
    sweep: np.ndarray


def load_folds(seed: int = 0) -> Folds:
    x, y = map(np.asarray, load_diabetes(return_X_y=True, scaled=False))
    bmi = np.linspace(5, 60, 56)
    parts: dict[str, list[np.ndarray]] = {}
    for train, test in KFold(FOLDS, shuffle=True, random_state=seed).split(x):
        inputs = StandardScaler().fit(x[train])
        center, scale = y[train].mean(), y[train].std()
        sweep = np.tile(x[train].mean(0), (len(bmi), 1))
        sweep[:, BMI] = bmi
        fold = {
            "train_x": inputs.transform(x[train]),
            "train_y": (y[train] - center) / scale,
            "test_x": inputs.transform(x[test]),
            "test_y": (y[test] - center) / scale,
            "center": center,
            "scale": scale,
            "sweep": inputs.transform(sweep),
        }
        for name, part in fold.items():
            parts.setdefault(name, []).append(np.asarray(part, np.float32))
    arrays = {name: np.stack(part) for name, part in parts.items()}
    seen = float(x[:, BMI].min()), float(x[:, BMI].max())
    return Folds(bmi=bmi, bmi_range=seen, **arrays)


def mean_and_deviation(outputs: jax.Array) -> tuple[jax.Array, jax.Array]:
    """m and s, (...), from outputs (..., 2); s is above 0.01 of the targets' own."""
    return outputs[..., 0], 0.01 + jax.nn.softplus(outputs[..., 1])


def normal_loss(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    m, s = mean_and_deviation(outputs)
    return -jax.scipy.stats.norm.logpdf(targets, m, s).mean()


def regression_task(folds: Folds, epochs: tuple[int, ...]) -> Task:
    net = functools.partial(Net, nn.Dense(64), (64,), 2)
    return Task(
        folds.train_x,
        folds.train_y,
        np.concatenate([folds.test_x, folds.sweep], 1),
        normal_loss,
        net(),
        {
            "dropout": net("Dropout", 0.1),
            "gaussian dropout": net("GaussianDropout", 0.1),
            "concrete dropout": net("ConcreteDropout", 0.1),
        },
        epochs,
        batch=34,
        learning_rate=2e-3,
    )


class Forecast(NamedTuple):
    """Normals in units of the score: mean, and the two parts of the variance."""

    mean: np.ndarray
    aleatoric: np.ndarray
    epistemic: np.ndarray

    @property
    def deviation(self) -> np.ndarray:
        return np.sqrt(self.aleatoric + self.epistemic)


def forecasts(answers: Answers, folds: Folds) -> dict[str, tuple[Forecast, Forecast]]:
    """By method, of the patients and of the sweep, each (folds, seeds, questions)."""
    asked = np.concatenate([folds.test_x, folds.sweep], 1)
    seen = folds.train_x, folds.train_y
    none = np.zeros((len(asked), 1, asked.shape[1]))
    linear = [_ridge(*fold) for fold in zip(*seen, asked, strict=True)]
    parts = {
        "no inputs": (none, none + 1, none),
        "Bayesian ridge": np.stack(linear, 1)[:, :, None],
        **{name: moments(outputs) for name, outputs in answers.samples.items()},
    }
    return {name: _in_units(folds, *part) for name, part in parts.items()}


def moments(outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, aleatoric and epistemic variance from outputs (..., n, questions, 2)."""
    both = mean_and_deviation(jnp.asarray(outputs))
    m, s = (np.asarray(part, np.float64) for part in both)
    return m.mean(-2), (s**2).mean(-2), m.var(-2)


def _ridge(train_x: np.ndarray, train_y: np.ndarray, x: np.ndarray):
    model = BayesianRidge().fit(train_x, train_y)
    mean, deviation = model.predict(x, return_std=True)
    noise = np.full_like(mean, 1 / model.alpha_)
    return mean, noise, deviation**2 - noise


def _in_units(folds: Folds, mean, aleatoric, epistemic) -> tuple[Forecast, Forecast]:
    center, scale = folds.center[:, None, None], folds.scale[:, None, None]
    parts = center + scale * mean, scale**2 * aleatoric, scale**2 * epistemic
    patients = folds.test_y.shape[1]
    return (
        Forecast(*(part[..., :patients] for part in parts)),
        Forecast(*(part[..., patients:] for part in parts)),
    )


def true_scores(folds: Folds) -> np.ndarray:
    """Of the patients, (folds, 1, patients)."""
    return (folds.center[:, None] + folds.scale[:, None] * folds.test_y)[:, None]


def coverage(found: Forecast, truth: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """Fraction of the patients inside their central interval, for each seed."""
    inside = np.abs(truth - found.mean) <= reach(found.deviation, level)
    return inside.mean((0, 2))


def reach(deviation: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """Half the width of the central interval of a normal."""
    return norm.ppf((1 + level) / 2) * deviation


class Scores(NamedTuple):
    """What one method does, for each seed.

    Attributes:
      rmse, width: in units of the score; width is the mean one of the 90 % interval.
      nll: in nats.
      coverage: of the 90 % interval.
      of_aleatoric, of_epistemic: coverage with that part of the variance alone.
    """

    rmse: np.ndarray
    nll: np.ndarray
    width: np.ndarray
    coverage: np.ndarray
    of_aleatoric: np.ndarray
    of_epistemic: np.ndarray


def score(found: Forecast, truth: np.ndarray) -> Scores:
    zero = np.zeros_like(found.mean)
    mean, aleatoric, epistemic = found
    return Scores(
        np.sqrt(((truth - mean) ** 2).mean((0, 2))),
        -norm.logpdf(truth, mean, found.deviation).mean((0, 2)),
        2 * reach(found.deviation).mean((0, 2)),
        coverage(found, truth),
        coverage(Forecast(mean, aleatoric, zero), truth),
        coverage(Forecast(mean, zero, epistemic), truth),
    )


def chance(patients: int) -> tuple[float, float]:
    """Where 95 % of the coverages fall of a method whose true one is LEVEL."""
    low, high = binom.interval(0.95, patients, LEVEL)
    return low / patients, high / patients
