"""The exact distribution of every case, cut into cells.

A `Law` says how likely each cell of the real line is. Noise with a density is cut at
its quantiles, noise that takes few values between them. Of what a keep mask decides the
probability is that of its integers, not the nominal rate: k float32(1 - rate), it keeps
ceil(k 2^23) of 2^23 draws, or round(k 2^bits) of 2^bits.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize, stats

from jaxnoise.testing._case import Case
from jaxnoise.testing._statistics import INPUT as X

CELLS = 2**12
EXPECTED = 100  # draws in a cell, at least: chi-square is good for that


@dataclass(frozen=True)
class Law:
    """P(y < edges[i]) = below[i], for increasing float32 edges.

    Attributes:
      edges: where the real line is cut; one edge makes two cells.
      below: the distribution function there, in float64.
      density: whether there are units with a density: then `middle` halves them, and
        half of them lie outside of the `quartiles`.
      middle: index of the edge by which units are called high or low.
      quartiles: indices of two edges; units outside of them are called large.
    """

    edges: np.ndarray
    below: np.ndarray
    density: bool = False
    middle: int = 0
    quartiles: tuple[int, int] = (0, 0)

    @property
    def probabilities(self) -> np.ndarray:
        """Of the cells, the first and the last of which are unbounded."""
        return np.diff(self.below, prepend=0.0, append=1.0)

    @property
    def high(self) -> float:
        """P(y >= edges[middle])."""
        return 1.0 - self.below[self.middle]

    @property
    def large(self) -> float:
        """P(y outside of the quartiles)."""
        low, top = self.quartiles
        return 1.0 - (self.below[top] - self.below[low])


def keep_probability(rate: float, bits: int = 32) -> float:
    """With which a mask keeps a unit, for a rate that is a Python number."""
    keep = float(np.float32(1.0 - rate))
    if bits == 32:
        return math.ceil(keep * 2**23) / 2**23
    return round(keep * 2**bits) / 2**bits


def two_values(edge: float, below: float) -> Law:
    """One value under the edge, with this probability, and one above."""
    return Law(np.array([edge], np.float32), np.array([below]))


def values(points: np.ndarray, probabilities: np.ndarray) -> Law:
    """Increasing points, each with its probability, cut in the middle between them."""
    edges = (points[1:] + points[:-1]) / 2
    below = np.cumsum(probabilities)[:-1]
    middle = int(np.abs(below - 0.5).argmin())
    return Law(edges.astype(np.float32), below, middle=middle)


def density(distribution: Any, draws: int, weight: float = 1.0, atom: float = X) -> Law:
    """A frozen distribution of scipy, of this weight, and an atom with the rest.

    Cells are equally likely, but for the outermost ones, which lie further and further
    out as long as enough draws are expected there.
    """
    cells = int(min(CELLS, draws * weight // EXPECTED))
    inner = np.arange(1, cells) / cells
    # from 1 / cells down to the last quantile with enough draws beyond it, by quarters
    steps = int(np.log(max(draws * weight / cells / EXPECTED, 1.0)) / np.log(4.0))
    outer = 4.0 ** -np.arange(1.0, steps + 1) / cells
    quantiles = np.sort(np.concatenate([outer, inner]))
    lower = distribution.ppf(quantiles)
    upper = distribution.isf(outer[::-1])
    edges = np.concatenate([lower, upper]).astype(np.float32)
    if weight < 1:  # the atom has a cell of its own
        above = np.nextafter(np.float32(atom), np.float32(np.inf))
        edges = np.append(edges, np.array([atom, above], np.float32))
    edges = np.unique(edges)
    # y is the float32 next to the real number: below an edge is what rounds below it
    previous = np.nextafter(edges, np.float32(-np.inf))
    between = (edges.astype(np.float64) + previous) / 2
    cdf = distribution.cdf(between)
    below = weight * cdf + (1 - weight) * (edges > atom)
    low, top = (int(np.abs(cdf - quartile).argmin()) for quartile in (0.25, 0.75))
    middle = int(np.abs(below - 0.5).argmin())
    return Law(edges, below, True, middle, (low, top))


def poisson_below(mean: float, counts: np.ndarray) -> np.ndarray:
    """P(c <= counts) of `poisson_noise`: above a mean of 10, that of its expansion.

    The expansion is not Poisson's law, and says so: the distance of the two functions
    is a number that a test can look at, not a matter of chance.
    """
    if mean <= 10:
        return stats.poisson.cdf(counts, mean)

    def expansion(n):
        first = mean + mean**0.5 * n + 1 / 3 + n**2 / 6
        second = -(n / 36 + n**3 / 72) / mean**0.5
        return first + second + (-8 / 405 + 7 * n**2 / 810 + n**4 / 270) / mean

    # the count is its floor, and it increases in n
    roots = [
        optimize.brentq(lambda n, c=c: expansion(n) - c - 1, -6, 9) for c in counts
    ]
    return stats.norm.cdf(roots)


def _poisson(scale: float, draws: int) -> Law:
    mean, numbers = X / scale, np.arange(200)
    common = numbers[draws * stats.poisson.pmf(numbers, mean) >= EXPECTED]
    # the tails belong to the outermost common counts
    below = poisson_below(mean, common[:-1])
    return values(scale * common, np.diff(below, prepend=0.0, append=1.0))


def _salt_and_pepper(rate: float, draws: int) -> Law:
    keep, salt = keep_probability(rate), 0.25
    return values(
        np.array([-1.0, X, 2.0]),
        np.array([(1 - keep) * (1 - salt), keep, (1 - keep) * salt]),
    )


def _drop_block(rate: float, draws: int) -> Law:
    """The middle of 5 x 5 positions lies in all nine blocks of 3 x 3."""
    gamma = 1 - keep_probability(rate * (5 / (3 * 3)) ** 2)
    return two_values(1e-3, 1 - (1 - gamma) ** 9)


def _real_gaussian(rate: float, draws: int) -> Law:
    # the units that a mask "keeps" are left alone
    return density(stats.norm(X, 0.7), draws, 1 - keep_probability(rate))


EXACT: dict[str, Callable[[float, int], Law]] = {
    "drop_block": _drop_block,
    "drop_block, share_channels": _drop_block,
    "real_gaussian_dropout": _real_gaussian,
    "salt_and_pepper": _salt_and_pepper,
    "poisson_noise": _poisson,
}
"""By case, as functions of the amount and of the number of draws: what neither has a
density everywhere nor is kept or dropped alone."""


def law_of(case: Case, amount: float, draws: int) -> Law:
    """The distribution of the units of a case for the input `X`.

    Raises:
      ValueError: the case has no distribution, no row in `EXACT`, and no mean with a
        dropped value.
    """
    if case.distribution is not None:
        return density(case.distribution(stats, X, amount), draws)
    if case.name in EXACT:
        return EXACT[case.name](amount, draws)
    if case.dropped is None or case.mean is None:
        raise ValueError(
            f"law_of: {case.name} must have a distribution, a row in EXACT, or a mean "
            f"and a dropped value."
        )
    bits = next((b for b in (8, 16) if case.name.endswith(f"{b} bits")), 32)
    dropped = 1 - keep_probability(amount, bits)
    # the mean lies between what is dropped and what is kept
    return two_values(case.mean(X, amount), dropped)
