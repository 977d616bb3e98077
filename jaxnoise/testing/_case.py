"""A noise function as the laws see it: one `Case` for each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

NoiseFunction = Callable[[Any, Any, Any], jax.Array]
"""`f(key, x, amount)`."""


class LawError(AssertionError):
    """A law is broken; the message names the law, the case and the numbers."""


def elements(rows: int, columns: int) -> tuple[int, ...]:
    """Shape of an array whose elements are rows x columns independent units."""
    return (rows, columns)


def every_element(y: np.ndarray) -> np.ndarray:
    """Independent units of an elementwise noise, as (rows, columns)."""
    return y


@dataclass(frozen=True)
class Case:
    """A noise function with the law that its docstring promises.

    Attributes:
      name: how reports call it.
      noise: the function `f(key, x, amount)`.
      amounts: amounts inside the range; the laws run on each or on the last.
      top: the upper end of the range where there is one: traced, it must be finite.
      bad: known amounts that must be a ValueError.
      traced: whether an amount may be traced; where not, the laws take known ones and
        `traced` does not apply.
      mean, variance: of y for constant x, as functions of (x, amount); None where
        the docstring gives none.
      dropped: the value of what is dropped, as a function of the amount; None where
        nothing is dropped.
      distribution: of y where it has a density: a frozen distribution of scipy, as a
        function of (scipy.stats, x, amount).
      formula: the noise as one writes it with `jax.random`, a function of (key, x,
        amount); benchmarks measure beside it.
      exact: True if equal keys give equal bits in every compilation; False where
        rounding may differ (normals, fused multiply-add).
      shapes: shapes that the function takes.
      layout, units: the shape that holds rows x columns independent units, and where
        they are in the output.
      per_row: True where all units of a row are one.
      splits_rows: whether an example may be split over devices without a collective.
      forward_mode: whether there are derivatives in forward mode.
      kept: bytes that the backward pass may keep for an element of x.
      draws: random decisions for an element of x that are drawn at a time.
      skip: laws that do not apply, each with the reason.
      covers: the public names of jaxnoise that the case exercises.
    """

    name: str
    noise: NoiseFunction
    amounts: tuple[float, ...] = (0.1, 0.5)
    top: float | None = 1.0
    bad: tuple[float, ...] = (-0.1, 1.5, float("nan"))
    traced: bool = True
    mean: Callable[[float, float], float] | None = None
    variance: Callable[[float, float], float] | None = None
    dropped: Callable[[float], float] | None = None
    distribution: Callable[[Any, float, float], Any] | None = None
    formula: NoiseFunction | None = None
    exact: bool = True
    shapes: tuple[tuple[int, ...], ...] = ((), (3,), (2, 0), (2, 3, 4))
    layout: Callable[[int, int], tuple[int, ...]] = elements
    units: Callable[[np.ndarray], np.ndarray] = every_element
    per_row: bool = False
    splits_rows: bool = True
    forward_mode: bool = True
    kept: int = 1
    draws: int = 1
    skip: Mapping[str, str] = field(default_factory=dict)
    covers: tuple[str, ...] = ()

    def key(self, number: int = 0) -> jax.Array:
        """A fixed key: laws are deterministic."""
        return jax.random.key(number)

    def input(self, rows: int = 4, columns: int = 6) -> jax.Array:
        """A float32 input without zeros, a different one in each element."""
        shape = self.layout(rows, columns)
        size = int(np.prod(shape))
        return jnp.asarray(np.linspace(0.5, 2.0, size, dtype=np.float32).reshape(shape))

    def fail(self, law: str, message: str):
        raise LawError(f"{law} law, {self.name}: {message}")

    def equal(self, law: str, what: str, actual: Any, expected: Any):
        """Fail unless the two agree: to the bit if `exact`, else to 4 ulps.

        Ulps of 1 where a value is smaller: x and its noise may cancel, and ulps of what
        is left would say nothing. That, and a report of one line, is why it is not
        chex that compares here.
        """
        actual, expected = np.asarray(actual), np.asarray(expected)
        if actual.shape != expected.shape or actual.dtype != expected.dtype:
            self.fail(
                law,
                f"{what}: {actual.dtype}{actual.shape} where {expected.dtype}"
                f"{expected.shape} was expected.",
            )
        if self.exact:
            different = ~((actual == expected) | (actual != actual))
            different |= np.isnan(actual) != np.isnan(expected)
        else:
            wide = expected.astype(np.float64)
            ulp = float(jnp.finfo(expected.dtype).eps) * np.maximum(np.abs(wide), 1.0)
            different = ~(np.abs(actual.astype(np.float64) - wide) <= 4 * ulp)
        if different.any():
            first = tuple(int(i[0]) for i in np.nonzero(different))
            self.fail(
                law,
                f"{what}: {int(different.sum())} of {actual.size} values differ, the "
                f"first at {first}: {actual[first]} where {expected[first]} was "
                f"expected.",
            )


# of a mask that keeps with probability 1 - rate, and scales what it keeps
BERNOULLI = {
    "mean": lambda x, rate: x,
    "variance": lambda x, rate: x**2 * rate / (1 - rate),
    "dropped": lambda rate: 0.0,
}
