"""Attacks on what comes out: hostile numbers in x, any amount, against jax.random.

The draws of a key are taken from jax.random once; what each function has to make of
them is written here in NumPy, without masks, checkpoints or fused programs. Values are
compared to the bit where the law is a selection, else to 4 units in the last place.
"""

import jax
import numpy as np
import pytest
from hostile import EXAMPLES, attack, one_of
from hypothesis import strategies as st

from jaxnoise.testing import CASES

pytestmark = pytest.mark.attack

SHAPE, KEYS = (2, 3, 4), 8
NUMBERS = (0.0, -0.0, 1.0, -1.0, 0.1, -3.7, 1e-45, -1e-38, 1e38, -1e38, 65504.0)
NUMBERS += (float("nan"), float("inf"), float("-inf"), 2.0**-149, 1 / 3)
VALUES = np.array(NUMBERS, np.float32)
RATES = (0.0, 1e-9, 0.001, 0.1, 1 / 3, 0.5, 0.9, 0.999, 1 - 2.0**-13, 1 - 2.0**-24)
SCALES = (0.0, 1e-45, 1e-6, 0.1, 1.0, 7.5, 1e6, 1e38)
FLOOR = -1.7580993408473766


def draws(shape):
    """Bits, uniforms, normals and Laplace variables of every key, in NumPy."""
    keys = [jax.random.key(number) for number in range(KEYS)]

    def one(draw):
        draw = jax.jit(draw)
        return [np.asarray(draw(jax.random.clone(key))) for key in keys]

    return keys, {
        "bits": one(lambda k: jax.random.bits(k, shape) >> 9),
        "uniform": one(lambda k: jax.random.uniform(k, shape, minval=-1.0)),
        "normal": one(lambda k: jax.random.normal(k, shape)),
        "laplace": one(lambda k: jax.random.laplace(k, shape)),
    }


def kept(drawn, rate):
    keep = np.float32(1 - rate)
    return drawn["bits"] < np.ceil(keep * np.float32(2**23)).astype(np.uint32), keep


def dropout(x, rate, drawn):
    mask, keep = kept(drawn, rate)
    # so rare that the grid of the draw decides how rare
    rare = np.ceil(keep * np.float32(2**23)) / np.float32(2**23)
    scale = np.float32(1) / np.float32(rare if keep < 2.0**-12 else 1 - rate)
    return np.where(mask, x * scale, np.float32(0)) if rate else x


def alpha_dropout(x, rate, drawn):
    mask, _ = kept(drawn, rate)
    slope = ((1 - rate) * (1 + rate * FLOOR**2)) ** -0.5
    shift = -slope * rate * FLOOR
    whole = np.float32(slope).astype(np.float64) * x + np.float32(shift)
    return np.where(mask, whole, slope * FLOOR + shift) if rate else x


def multiplied(x, amount, drawn):
    return x * (1 + np.float64(amount) * drawn["normal"]) if amount else x


def gaussian_dropout(x, rate, drawn):
    return multiplied(x, np.sqrt(rate / (1 - rate)), drawn)


def salt_and_pepper(x, rate, drawn):
    """Without its choice of the noise: what is not kept is low here."""
    mask, _ = kept(drawn, rate)
    return np.where(mask, x, np.float32(0)) if rate else x


def added(name, factor=1.0):
    return lambda x, amount, drawn: x + np.float64(amount) * factor * drawn[name]


ORACLES = {
    "dropout": (dropout, SHAPE, RATES),
    "dropout, broadcast_dims": (dropout, (2, 1, 4), RATES),
    "dropout_mask, apply_mask": (dropout, SHAPE, RATES),
    "spatial_dropout": (dropout, (2, 1, 4), RATES),
    "spatial_dropout, channels first": (dropout, (2, 3, 1), RATES),
    "drop_path": (dropout, (2, 1, 1), RATES),
    "embedding_dropout": (dropout, (2, 1, 1), RATES),
    "alpha_dropout": (alpha_dropout, SHAPE, RATES),
    "feature_alpha_dropout": (alpha_dropout, (2, 1, 4), RATES),
    "gaussian_noise": (added("normal"), SHAPE, SCALES),
    "uniform_noise": (added("uniform"), SHAPE, SCALES),
    "laplace_noise": (added("laplace"), SHAPE, SCALES),
    "neftune_noise": (added("uniform", 12**-0.5), SHAPE, SCALES),
    "gaussian_dropout": (gaussian_dropout, SHAPE, RATES),
    "speckle_noise": (multiplied, SHAPE, SCALES),
    "salt_and_pepper, masking noise": (salt_and_pepper, SHAPE, RATES),
}
NAMED = {case.name: case for case in CASES}


@pytest.mark.parametrize("name", ORACLES)
def test_oracles(name):
    oracle, shape, amounts = ORACLES[name]
    keys, drawn = draws(shape)
    noise, exact = NAMED[name].noise, NAMED[name].exact

    def call(pick, amount, number):
        x = VALUES[np.frombuffer(pick, np.uint8) % len(VALUES)].reshape(SHAPE)
        # a table has two dims
        data = x.reshape(2, -1) if name == "embedding_dropout" else x
        y = np.asarray(noise(jax.random.clone(keys[number]), data, amount))
        y = y.reshape(SHAPE)
        own = {name: draw[number] for name, draw in drawn.items()}
        with np.errstate(all="ignore"):
            expected = oracle(x, amount, own)
            # CPUs flush what is subnormal, in x, in the scale or in the result
            small = np.abs(expected) < 2 * np.finfo(np.float32).tiny
            small |= np.abs(x) < np.finfo(np.float32).tiny
            narrow = np.asarray(expected, np.float32)
        assert y.shape == x.shape and y.dtype == x.dtype
        assert (np.isnan(y) == np.isnan(narrow))[~small].all(), (x, y, narrow)
        same = (y == narrow) | np.isnan(narrow)
        if exact:
            close = same
        else:
            with np.errstate(all="ignore"):
                # of a sum, the error is that of its parts
                size = np.maximum(np.abs(expected), np.abs(x) + np.abs(amount) * 6)
                close = same | (np.abs(y - expected) <= size * 2.0**-21)
            # what overflows in one order of the operations may not in the other
            close |= size > 1e37
        assert (close | small).all(), (x, amount, y, narrow)

    attack(
        f"oracle {name}",
        call,
        -(-EXAMPLES["oracles"] // len(ORACLES)),
        pick=st.binary(min_size=24, max_size=24),
        amount=one_of(amounts),
        number=st.integers(0, KEYS - 1),
    )
