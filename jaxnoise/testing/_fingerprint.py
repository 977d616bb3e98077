"""Fingerprints of what the keys decide, the same on every backend.

Hashed is one bit a value: whether a unit was kept, or the sign of its noise. Both are
integer comparisons of the drawn bits, so they do not depend on how a backend rounds.
"""

import hashlib
import json
from importlib import resources
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnoise._core import _random
from jaxnoise.recurrent import Noise, sample_noise
from jaxnoise.testing._case import Case

RECORD = "fingerprints.json"


def fingerprint(case: Case) -> str:
    """16 hex digits that depend on every unit of a draw of 64 x 64 units."""
    x = jnp.ones(case.layout(64, 64), jnp.float32)
    y = np.asarray(case.noise(case.key(7), x, case.amounts[-1]), np.float64)
    middle = y.mean() if case.dropped is not None else 1.0
    return _hash_of(y > middle)


def bits_fingerprint() -> str:
    """16 hex digits of 2^16 raw words."""
    words = jax.jit(lambda key: _random.random_bits(key, (256, 256)))(jax.random.key(7))
    data = np.asarray(words).astype("<u4").tobytes()
    return hashlib.sha256(data).hexdigest()[:16]


def recurrent_fingerprints() -> dict[str, str]:
    """For each place of recurrent noise, of masks for a sequence and for each step."""
    rates: dict[str, Any] = {
        f"{place}_rate": 0.5 for place in Noise._fields if "zoneout" not in place
    }
    rates |= {place: 0.5 for place in Noise._fields if "zoneout" in place}

    def draw(key, **sharing):
        shape, steps = (8, 16), {"num_steps": 16}
        return sample_noise(key, shape, 32, gates=4, **steps, **rates, **sharing)

    once = draw(jax.random.key(7))
    each = draw(jax.random.key(8), tied=False, per_step=True)
    prints = {}
    for place in Noise._fields:
        masks = [np.asarray(getattr(noise, place)).ravel() for noise in (once, each)]
        prints[f"recurrent, {place}"] = _hash_of(np.concatenate(masks) > 0)
    return prints


def _hash_of(kept: np.ndarray) -> str:
    return hashlib.sha256(np.packbits(kept).tobytes()).hexdigest()[:16]


def recorded() -> dict[str, str]:
    """The fingerprints in the package, by case."""
    text = resources.files("jaxnoise.testing").joinpath(RECORD).read_text("utf-8")
    return json.loads(text)


def measured(cases: tuple[Case, ...]) -> dict[str, str]:
    """The fingerprints of this machine: of raw bits, of cases and of sequences."""
    prints = {case.name: fingerprint(case) for case in cases}
    return {"bits": bits_fingerprint(), **prints, **recurrent_fingerprints()}
