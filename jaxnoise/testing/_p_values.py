"""Statistics of very many draws in bounded memory, as p-values.

Draws come in chunks of independent units, (rows, columns); a `Tally` keeps counts, all
of them integers, and makes tests of them. Each test has the null distribution that its
docstring states, and `detects` says which deviation it finds for all but certain.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from scipy import special, stats

from jaxnoise.testing._distributions import Law

MISS = 1e-6  # probability of missing a deviation of the size that is stated


@dataclass(frozen=True)
class Finding:
    """One test: its p-value, uniform on (0, 1) if the law holds, and what it detects.

    Attributes:
      test: its name.
      p: two-sided.
      deviation: the smallest that is missed with probability `MISS` at most.
      measure: in what: w, D, r, or percent of a probability.
    """

    test: str
    p: float
    deviation: float
    measure: str

    @property
    def detects(self) -> str:
        """The deviation, to be read by people."""
        return f"{float(f'{self.deviation:.2g}'):g} {self.measure}"


def z_sum(level: float) -> float:
    """Standard errors that a two-sided normal test of this level finds."""
    return float(stats.norm.isf(level / 2) + stats.norm.isf(MISS))


def binomial(count: int, n: int, p: float, level: float) -> Finding:
    """Exact and two-sided: `count` of `n` units, each with probability `p`."""
    smaller = min(p, 1 - p)
    error = math.sqrt(p * (1 - p) / n) / smaller
    p_value = _two_sided(stats.binom(n, p), count, count - 1)
    deviation = 100 * z_sum(level) * error
    return Finding("fit", p_value, deviation, f"% of {smaller:.3g}")


def _two_sided(distribution, at_most: float, more_than: float) -> float:
    """Twice the smaller tail."""
    tails = distribution.cdf(at_most), distribution.sf(more_than)
    return float(min(1.0, 2 * min(tails)))


def chi_square(counts: np.ndarray, probabilities: np.ndarray, level: float) -> Finding:
    """Pearson's statistic, which may be too large and too small.

    It detects a root mean square relative deviation w of the cells' probabilities.
    """
    n, freedom = counts.sum(), counts.size - 1
    statistic = ((counts - n * probabilities) ** 2 / (n * probabilities)).sum()
    w = math.sqrt(_noncentrality(freedom, level) / n)
    p_value = _two_sided(stats.chi2(freedom), statistic, statistic)
    return Finding("fit", p_value, w, "in w")


def _noncentrality(freedom: int, level: float) -> float:
    """By the normal approximation of a noncentral chi-square, two-sided."""
    tail, power = float(stats.norm.isf(level / 2)), float(stats.norm.isf(MISS))
    found = 1.0
    for _ in range(50):
        spread = math.sqrt(2 * (freedom + 2 * found))
        found = tail * math.sqrt(2 * freedom) + power * spread
    return found


def kolmogorov_smirnov(counts: np.ndarray, below: np.ndarray, level: float) -> Finding:
    """The largest difference of distribution functions, over the edges of the cells.

    The maximum over the edges is at most that over all numbers, whose limit law is
    Kolmogorov's: with a finite number of edges the p-value is too large, never too
    small.
    """
    n = counts.sum()
    distance = np.abs(np.cumsum(counts)[:-1] / n - below).max()
    root = math.sqrt(n)
    found = (special.kolmogi(level) + stats.norm.isf(MISS) / 2) / root
    p = float(special.kolmogorov(root * distance))
    return Finding("KS", p, float(found), "in D")


def correlation(both: int, one: int, other: int, pairs: int, p: float) -> float:
    """Standard normal: the covariance of two indicators over pairs of units.

    `both`, `one` and `other` count the pairs in which both, the first, the second are
    set. The probability is known, so the products are uncorrelated and have variance
    (p (1 - p))^2 exactly.
    """
    covariance = both - p * (one + other) + pairs * p * p
    return covariance / (p * (1 - p) * math.sqrt(pairs))


@dataclass
class Signs:
    """Counts of an indicator, set with probability `p` in each unit by itself."""

    p: float
    columns: np.ndarray | None = None
    row_statistic: float = 0.0
    rows: int = 0
    pairs: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, chunk: np.ndarray):
        """A bool array (rows, columns)."""
        rows, width = chunk.shape
        if self.columns is None:
            self.columns = np.zeros(width, np.int64)
        self.columns += np.count_nonzero(chunk, axis=0)
        sums = np.count_nonzero(chunk, axis=1)
        self.row_statistic += float(((sums - width * self.p) ** 2).sum())
        self.rows += rows
        halves = {
            "neighbours": (chunk[:, 1:], chunk[:, :-1]),
            "rows": (chunk[1:], chunk[:-1]),
        }
        for name, (one, other) in halves.items():
            found = [np.count_nonzero(a) for a in (one & other, one, other)]
            self.pairs.setdefault(name, np.zeros(4, np.int64))
            self.pairs[name] += [*found, one.size]

    def findings(self, level: float, prefix: str = "") -> list[Finding]:
        """Correlation of neighbours and of rows, and how much their sums scatter.

        The sums of rows and of columns are compared with binomials by a chi-square:
        units of a row that share anything make them scatter more than they may.
        """
        assert self.columns is not None
        found = []
        for name, (both, one, other, pairs) in self.pairs.items():
            z = correlation(int(both), int(one), int(other), int(pairs), self.p)
            p_value = float(2 * stats.norm.sf(abs(z)))
            deviation = z_sum(level) / math.sqrt(pairs)
            found.append(Finding(prefix + name, p_value, deviation, "in r"))
        width, variance = self.columns.size, self.p * (1 - self.p)
        columns = float(((self.columns - self.rows * self.p) ** 2).sum())
        sums = (
            ("row sums", self.row_statistic / (width * variance), self.rows, width),
            ("column sums", columns / (self.rows * variance), width, self.rows),
        )
        for name, statistic, number, size in sums:
            p_value = _two_sided(stats.chi2(number), statistic, statistic)
            shared = z_sum(level) * math.sqrt(2 / number) / (size - 1)
            found.append(Finding(prefix + name, p_value, shared, "in r"))
        return found


class Tally:
    """All that the battery wants to know of the draws of one law."""

    def __init__(self, law: Law, *, pairs: bool = True):
        self.law = law
        self.counts = np.zeros(law.edges.size + 1, np.int64)
        self.high = Signs(law.high) if pairs else None
        self.large = Signs(law.large) if pairs and law.density else None

    def add(self, chunk: np.ndarray):
        """float32 units, (rows, columns), independent of all others."""
        law = self.law
        if self.high:
            self.high.add(chunk >= law.edges[law.middle])
        if self.large:
            low, top = law.edges[list(law.quartiles)]
            self.large.add((chunk < low) | (chunk >= top))
        self.counts += cell_counts(chunk, law.edges)

    def findings(self, level: float) -> list[Finding]:
        """The tests, each of which fails with probability `level` by chance."""
        law, n = self.law, int(self.counts.sum())
        if law.edges.size == 1:
            dropped = int(self.counts[0])
            found = [binomial(dropped, n, float(law.below[0]), level)]
        else:
            found = [chi_square(self.counts, law.probabilities, level)]
        if law.density:
            found.append(kolmogorov_smirnov(self.counts, law.below, level))
        if self.high:
            found += self.high.findings(level)
        if self.large:
            found += self.large.findings(level, "size: ")
        return found


def cell_counts(chunk: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """How many values are in each of the edges.size + 1 cells; nan is an error."""
    if np.isnan(chunk).any():
        raise ValueError("cell_counts: a draw is nan.")
    if edges.size <= 8:
        under = np.array([np.count_nonzero(chunk < edge) for edge in edges])
    else:
        under = np.searchsorted(np.sort(chunk, axis=None), edges)
    return np.diff(under, prepend=0, append=chunk.size)
