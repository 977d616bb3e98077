"""Fingerprints of what the keys decide, the same on every backend.

Hashed is one bit a value: whether a unit was kept, or the sign of its noise. Both are
integer comparisons of the drawn bits, so they do not depend on how a backend rounds.
"""

import hashlib
import json
from importlib import resources

import jax
import jax.numpy as jnp
import numpy as np

from jaxnoise import _random
from jaxnoise.testing._case import Case

RECORD = "fingerprints.json"


def fingerprint(case: Case) -> str:
    """16 hex digits that depend on every unit of a draw of 64 x 64 units."""
    x = jnp.ones(case.layout(64, 64), jnp.float32)
    y = np.asarray(case.noise(case.key(7), x, case.amounts[-1]), np.float64)
    middle = y.mean() if case.dropped is not None else 1.0
    return hashlib.sha256(np.packbits(y > middle).tobytes()).hexdigest()[:16]


def bits_fingerprint() -> str:
    """16 hex digits of 2^16 raw words."""
    words = jax.jit(lambda key: _random.random_bits(key, (256, 256)))(jax.random.key(7))
    data = np.asarray(words).astype("<u4").tobytes()
    return hashlib.sha256(data).hexdigest()[:16]


def recorded() -> dict[str, str]:
    """The fingerprints in the package, by case."""
    text = resources.files("jaxnoise.testing").joinpath(RECORD).read_text("utf-8")
    return json.loads(text)


def measured(cases: tuple[Case, ...]) -> dict[str, str]:
    """The fingerprints of this machine, by case."""
    prints = {case.name: fingerprint(case) for case in cases}
    return {"bits": bits_fingerprint(), **prints}
