"""Units of known laws for the tests of the battery."""

import numpy as np
from scipy import stats

from jaxnoise.testing import _distributions, _p_values

LEVEL = 1e-9
ROWS, COLUMNS = 256, 1024
FAIR = _distributions.two_values(0.5, 0.5)
NORMAL = _distributions.density(stats.norm(0, 1), ROWS * COLUMNS)


def generator(seed=0):
    return np.random.default_rng(seed)


def normals(rows=ROWS, columns=COLUMNS, seed=0):
    return generator(seed).standard_normal((rows, columns)).astype(np.float32)


def coins(p=0.5, rows=ROWS, columns=COLUMNS, seed=0):
    return (generator(seed).random((rows, columns)) < p).astype(np.float32)


def failed(law, *chunks, level=LEVEL):
    """The tests that reject these chunks."""
    tally = _p_values.Tally(law)
    for chunk in chunks:
        tally.add(chunk)
    return {finding.test for finding in tally.findings(level) if finding.p < level}
