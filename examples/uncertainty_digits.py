"""The digits of `uncertainty.py`: what is asked, and how the answers are scored.

Trained on half of scikit-learn's digits (1797 images of 8 x 8 pixels), asked about the
other half as it is, rotated by up to 90 degrees, and about images of nothing but noise.
Turned by more than 45 degrees most digits are taken for a 4, also by nearest neighbours
on their pixels (608 of 899 at 90 degrees): to be unsure of them a net would have to
know more than pixels.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from digits import Data
from scipy.ndimage import rotate
from sklearn.metrics import roc_auc_score
from uncertainty_nets import Answers, Net, Task

from jaxnoise import mc

ANGLES = tuple(range(0, 91, 15))  # of the test half, in degrees
SWEEP = tuple(range(0, 121, 10))  # of the one digit that is drawn
RATE = 0.3


class Convolutions(nn.Module):
    """64 pixels to the units of two convolutions of 3 x 3, each with pooling.

    A convolution is a dense layer on patches: under `jax.vmap` over parameters, on a
    CPU, that compiles and runs faster.
    """

    channels: tuple[int, ...] = (16, 32)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = x.reshape(-1, 8, 8, 1)
        for channels in self.channels:
            x = nn.relu(nn.Dense(channels)(patches(x)))
            n, height, width, _ = x.shape
            blocks = x.reshape(n, height // 2, 2, width // 2, 2, channels)
            x = blocks.max((2, 4))
        return x.reshape(len(x), -1)


def patches(x: jax.Array) -> jax.Array:
    """The 3 x 3 around each pixel, (n, height, width, 9 channels), 0 outside."""
    _, height, width, _ = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    offsets = itertools.product(range(3), range(3))
    return jnp.concatenate(
        [padded[:, i : i + height, j : j + width] for i, j in offsets], -1
    )


def rotated(images: np.ndarray, angle: float) -> np.ndarray:
    """Images (n, 8, 8) turned anticlockwise by degrees, with black corners."""
    turned = rotate(images, angle, axes=(1, 2), reshape=False, order=1)
    return turned.astype(np.float32)


class Questions(NamedTuple):
    """Images (n, 8, 8) in three parts, in this order, and what is known of them.

    Attributes:
      tests: the test half at each of ANGLES, (angles, images, 8, 8).
      noise: uniform noise, as many images.
      sweep: one digit at each of SWEEP.
      labels: classes of the test half.
    """

    tests: np.ndarray
    noise: np.ndarray
    sweep: np.ndarray
    labels: np.ndarray

    def flat(self) -> np.ndarray:
        parts = (*self.tests, self.noise, self.sweep)
        return np.concatenate(parts).reshape(1, -1, 64)

    def split(self, answers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """From outputs for `flat`, third last axis the samples, those for the groups
        (tests at each angle, then noise), (..., groups, n, images, 10), and those for
        the sweep."""
        groups, images = len(self.tests) + 1, len(self.labels)
        end = groups * images
        *lead, n, _, outputs = answers.shape
        asked = answers[..., :end, :].reshape(*lead, n, groups, images, outputs)
        return np.moveaxis(asked, -3, -4), answers[..., end:, :]


def questions(data: Data, digit: int, seed: int) -> Questions:
    """The test half at all angles, as many images of noise, and one digit of a class.

    Args:
      data: that of `digits.load_data`.
      digit: class of the one that is drawn, the first of the test half.
      seed: of the noise.
    """
    images = data.test_x[..., 0]
    one = images[np.argmax(data.test_y == digit)]
    noise = np.random.default_rng(seed).random(images.shape, np.float32)
    tests = np.stack([rotated(images, angle) for angle in ANGLES])
    sweep = np.concatenate([rotated(one[None], angle) for angle in SWEEP])
    return Questions(tests, noise, sweep, data.test_y)


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def digits_task(data: Data, asked: Questions, epochs: tuple[int, ...]) -> Task:
    net = functools.partial(Net, Convolutions(), (128,), 10)
    return Task(
        data.train_x.reshape(1, -1, 64),
        data.train_y[None],
        asked.flat(),
        cross_entropy,
        net(),
        {
            "dropout": net("Dropout", RATE),
            "gaussian dropout": net("GaussianDropout", RATE),
            "concrete dropout": net("ConcreteDropout", RATE),
        },
        epochs,
        batch=32,
        learning_rate=4e-3,
    )


class Scores(NamedTuple):
    """What one method does, for each seed and group of images: (seeds, groups).

    The groups are the test half at each of ANGLES, and last the images of noise, which
    have no labels: nan in the first three.

    Attributes:
      accuracy, nll, ece: of the mean prediction; nll in nats, ece with 15 bins.
      entropy, information: means over the images, in nats.
      entropy_auc, information_auc: probability that an image of the group has a larger
        value than one of the test half.
    """

    accuracy: np.ndarray
    nll: np.ndarray
    ece: np.ndarray
    entropy: np.ndarray
    information: np.ndarray
    entropy_auc: np.ndarray
    information_auc: np.ndarray


def log_mean_probability(logits: jax.Array) -> jax.Array:
    """log of the mean over n of the probabilities, from logits (..., n, images, 10).

    Probabilities too small for float32 keep their logarithm.
    """
    logs = jax.nn.log_softmax(logits)
    return jax.nn.logsumexp(logs, axis=-3) - np.log(logits.shape[-3])


@jax.jit
def _measure(logits: jax.Array, labels: jax.Array):
    """Of one group: scores of the mean prediction, and the measures of each image."""
    logs = log_mean_probability(logits)
    right = logs.argmax(-1) == labels
    nll = -jnp.take_along_axis(logs, labels[:, None], -1).mean()
    ece = mc.expected_calibration_error(jnp.exp(logs), labels)
    entropy = mc.predictive_entropy(logits, from_logits=True)
    information = mc.mutual_information(logits, from_logits=True)
    return right.mean(), nll, ece, entropy, information


def score(logits: np.ndarray, labels: np.ndarray) -> Scores:
    """Scores from logits (seeds, groups, n, images, 10), the last group without labels.

    Args:
      logits: of one method.
      labels: (images,).
    """
    over = jax.vmap(jax.vmap(_measure, (0, None)), (0, None))
    measured = map(np.asarray, over(logits, labels))
    accuracy, nll, ece, entropy, information = measured
    unlabelled = np.arange(logits.shape[1])[None] == logits.shape[1] - 1
    return Scores(
        np.where(unlabelled, np.nan, accuracy),
        np.where(unlabelled, np.nan, nll),
        np.where(unlabelled, np.nan, ece),
        entropy.mean(-1),
        information.mean(-1),
        auc(entropy),
        auc(information),
    )


def auc(values: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of every group against the first, (seeds, groups)."""

    def area(seed, group):
        truth = np.repeat([0, 1], len(group))
        return roc_auc_score(truth, np.concatenate([values[seed, 0], group]))

    return np.array(
        [[area(seed, group) for group in groups] for seed, groups in enumerate(values)]
    )


def score_all(answers: Answers, asked: Questions) -> dict[str, Scores]:
    """Scores by method."""
    return {
        name: score(asked.split(samples[0])[0], asked.labels)
        for name, samples in answers.samples.items()
    }


def shown_classes(probabilities: np.ndarray, most: int = 4) -> Sequence[int]:
    """Classes that some angle has as the likeliest, from (n, angles, 10), in order."""
    winners = probabilities.mean(0).argmax(-1)
    return list(dict.fromkeys(winners.tolist()))[:most]
