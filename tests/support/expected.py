"""Means over keys of learned noise."""

import math

from scipy import integrate


def sigmoid(a):
    return 1 / (1 + math.exp(-a))


def expected(function):
    """The mean of function(u) over u ~ U(0, 1), in float64."""
    ends = [(0, 0.5), (0.5, 1)]
    return sum(integrate.quad(function, *end, limit=400)[0] for end in ends)
