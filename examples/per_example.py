"""Shared by `equinox_model.py` and `haiku_model.py`: digits as tokens, and the report.

Each image of scikit-learn's digits is one example of 16 tokens, 2 x 2 pixels each.
"""

import argparse
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from digits_data import load_data

from jaxnoise import mc

TOKENS, PIXELS, WIDTH, CLASSES = 16, 4, 32, 10
RATE, PATH_RATE, BATCH, LEARNING_RATE = 0.1, 0.2, 64, 4e-3


class Tokens(NamedTuple):
    """Examples (n, tokens, pixels), of training and of test, and their labels."""

    train_x: jax.Array
    test_x: jax.Array
    train_y: jax.Array
    test_y: jax.Array


class Report(NamedTuple):
    """Accuracies, and the mean entropy of the prediction in nats."""

    accuracy: float
    monte_carlo_accuracy: float
    entropy: float
    entropy_of_noise: float


def load_tokens() -> Tokens:
    data = load_data()
    patches = (
        images.reshape(-1, 4, 2, 4, 2).swapaxes(2, 3).reshape(-1, TOKENS, PIXELS)
        for images in (data.train_x, data.test_x)
    )
    return Tokens(*map(jnp.asarray, (*patches, data.train_y, data.test_y)))


def report(
    predict: Callable[[jax.Array, jax.Array | None], jax.Array],
    key: jax.Array,
    samples: int,
) -> Report:
    """Print and return what the net knows, without noise and by Monte-Carlo dropout.

    Args:
      predict: the logits of a batch, without noise or with that of a key.
      key: of the Monte-Carlo samples, and of images that are noise.
      samples: how many noisy passes.
    """
    data = load_tokens()
    digits_key, noise_key, pixels_key = jax.random.split(key, 3)
    noise = jax.random.uniform(pixels_key, data.test_x.shape)

    def accuracy(scores: jax.Array) -> float:
        return float(np.mean(np.asarray(scores.argmax(-1) == data.test_y)))

    drawn = mc.predict(lambda key: predict(data.test_x, key), digits_key, samples)
    of_noise = mc.predict(lambda key: predict(noise, key), noise_key, samples)
    entropies = (
        float(mc.predictive_entropy(logits, from_logits=True).mean())
        for logits in (drawn, of_noise)
    )
    result = Report(
        accuracy(predict(data.test_x, None)),
        accuracy(mc.mean(jax.nn.softmax(drawn))),
        *entropies,
    )
    print(f"test accuracy without noise: {result.accuracy:.1%}")
    print(f"mean of {samples} noisy passes: {result.monte_carlo_accuracy:.1%}")
    print(
        f"entropy of that mean: {result.entropy:.2f} nats for digits, "
        f"{result.entropy_of_noise:.2f} for images of noise (at most "
        f"{np.log(CLASSES):.2f})"
    )
    return result


def parse(doc: str | None, argv: Sequence[str] | None) -> argparse.Namespace:
    kind = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=doc, formatter_class=kind)
    parser.add_argument("--steps", type=_positive, default=300)
    parser.add_argument("--samples", type=_positive, default=20)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a positive integer, got {text!r}")
    return int(text)
