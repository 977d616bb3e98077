"""Where the learned noise of a layer starts."""

import math
from typing import Any

from jaxnoise._core import _check, _shown


def logit(function: str, rate: Any) -> float:
    """log(rate / (1 - rate)): the logit of a rate, or log alpha of Gaussian noise."""
    number = _check.rate(function, rate)
    if not isinstance(number, float):
        raise TypeError(
            f"{function}: rate is where learning starts and must be a known number, "
            f"got {_shown.shown(rate)}."
        )
    if number in (0.0, 1.0):
        raise ValueError(
            f"{function}: rate must be in (0, 1), got {number}: its logit is where "
            f"learning starts. Take a small one, or leave the layer out."
        )
    return math.log(number) - math.log1p(-number)


def log_variance(function: str, stddev: Any) -> float:
    """log(stddev^2), for weights of that standard deviation."""
    number = _check.positive(function, "stddev", stddev)
    if not isinstance(number, float):
        raise TypeError(
            f"{function}: stddev is where learning starts and must be a known number, "
            f"got {_shown.shown(stddev)}."
        )
    return 2 * math.log(number)


def alpha_shape(
    function: str, alpha_per: Any, inputs: int, outputs: int
) -> tuple[int, ...]:
    """The shape of log alpha for a kernel (inputs, outputs)."""
    shapes = {"layer": (), "input": (inputs, 1), "weight": (inputs, outputs)}
    if not isinstance(alpha_per, str) or alpha_per not in shapes:
        raise ValueError(
            f"{function}: alpha_per must be 'layer', 'input' or 'weight', got "
            f"{_shown.shown(alpha_per)}."
        )
    return shapes[alpha_per]
