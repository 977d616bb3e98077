"""Laws about distributions, each at a stated false-alarm rate.

With `z` the two-sided normal quantile of the false-alarm rate 1e-6, a deviation of
`DETECTED` standard errors is found with probability 1 - 1e-6: that is the smallest
detectable deviation that the reports state. Keys are fixed, so a law that holds today
holds tomorrow; over fresh keys one in a million would fail.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxnoise.testing._case import Case

Z = 4.892  # two-sided normal quantile of 1e-6
DETECTED = Z + 4.753  # plus the one-sided quantile of 1e-6
SAMPLES = 2**18
DRAWS = 4  # arrays of `sizes` that make so many samples
INPUT = 1.5


def sizes(case: Case) -> tuple[int, int]:
    """Rows and columns of the units of a draw, one size for all laws: one program."""
    return (SAMPLES // DRAWS, 1) if case.per_row else (2**8, SAMPLES // DRAWS // 2**8)


def constant(case: Case) -> jax.Array:
    """`INPUT` everywhere, in the layout of the case."""
    shape = case.layout(*sizes(case))
    return jnp.asarray(np.full(shape, INPUT, np.float32))


def moments(case: Case) -> str:
    """Mean and variance follow the formula of the docstring."""
    if case.mean is None or case.variance is None:
        return ""
    x, found = constant(case), []
    for number, amount in enumerate(case.amounts):
        keys = range(DRAWS * number + 1, DRAWS * (number + 1) + 1)
        draws = [case.noise(case.key(n), x, amount) for n in keys]
        units = [case.units(np.asarray(y, np.float64)).ravel() for y in draws]
        sample = np.concatenate(units)
        n, mean, variance = sample.size, sample.mean(), sample.var()
        expected = case.mean(INPUT, amount), case.variance(INPUT, amount)
        deviation = math.sqrt(expected[1])
        # float32 rounding moves each value by 2^-24 of its size at most
        rounding = 2**-22 * max(1.0, abs(expected[0]))
        error = Z * deviation / math.sqrt(n) + rounding
        if not abs(mean - expected[0]) <= error:
            case.fail(
                "moments",
                f"amount {amount}: mean {mean:.6g} of {n} values where "
                f"{expected[0]:.6g} +- {error:.2g} was expected.",
            )
        centred = sample - mean
        spread = (centred**4).mean() / max(variance, 1e-30) ** 2 - 1
        relative = Z * math.sqrt(max(spread, 0) / n) + Z**2 / n
        if not abs(variance - expected[1]) <= relative * expected[1] + rounding**2:
            case.fail(
                "moments",
                f"amount {amount}: variance {variance:.6g} of {n} values where "
                f"{expected[1]:.6g} +- {relative:.2%} was expected.",
            )
        found.append(DETECTED * math.sqrt(max(spread, 0) / n))
    return f"detects {DETECTED / math.sqrt(SAMPLES):.1%} sd, {max(found):.1%} variance"


def independence(case: Case) -> str:
    """Neighbouring units, along rows and along columns, are uncorrelated."""
    x, (rows, columns) = constant(case), sizes(case)
    y = np.asarray(case.noise(case.key(5), x, case.amounts[-1]), np.float64)
    units = case.units(y)
    sign = np.where(units > units.mean(), 1.0, -1.0)
    for axis, name in enumerate(("rows", "columns")[: 1 if case.per_row else 2]):
        shifted = np.delete(sign, 0, axis), np.delete(sign, -1, axis)
        a, b = (half.ravel() - half.mean() for half in shifted)
        correlation = float((a * b).mean() / max(a.std() * b.std(), 1e-30))
        bound = Z / math.sqrt(a.size)
        if not abs(correlation) <= bound:
            case.fail(
                "independence",
                f"neighbouring {name} are correlated: {correlation:.4f} where "
                f"|r| <= {bound:.4f} was expected.",
            )
    return f"detects r = {DETECTED / math.sqrt(rows * columns):.3f}"
