"""Schedules of noise: the amount as a function of the training step, or of the depth.

Amounts may be traced, so every schedule of optax is one for noise as it is:
`jn.dropout(key, x, schedule(step))` compiles once. Here is what optax does not have. A
schedule takes a step, or an array of steps, and returns float32 of the same shape. It
is a schedule of optax: `optax.join_schedules` and the like take it. And where a rate is
asked for, a schedule of optax may stand in its place; its steps are counted from where
the noise begins, and its values checked, or clipped, where they are used. For an amount
that is not a rate, a standard deviation, multiply.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from jaxnoise._core import _check, _integers, _shown

__all__ = [
    "Schedule",
    "curriculum_dropout",
    "depth_rates",
    "early_dropout",
    "late_dropout",
]

Schedule = Callable[[ArrayLike], jax.Array]


def curriculum_dropout(rate: ArrayLike | optax.Schedule, steps: int) -> Schedule:
    """A rate that rises from 0 and settles at `rate`: easy first, then harder.

    Law: r(t) = rate (1 - exp(-10 t / steps)). At t = steps it is rate (1 - 4.5e-5), at
    steps / 10 it is .63 rate. The gamma of the paper is 10 / steps, which is what it
    advises for a training of that many steps.

    Args:
      rate: the final rate, in [0, 1], or a schedule of rates.
      steps: length of the training, at least 1; for another gamma, 10 / gamma.

    Returns:
      Schedule: from steps (negative ones count as 0) to rates, float32.

    Raises:
      ValueError: a known rate outside [0, 1], or steps outside [1, 2^31).
      TypeError: rate is neither a number nor a schedule, or steps is not an integer.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxnoise import schedules
      >>> schedule = schedules.curriculum_dropout(0.5, 1000)
      >>> [round(float(schedule(t)), 3) for t in (0, 100, 1000)]
      [0.0, 0.316, 0.5]

    Reference: Morerio, Cavazza, Volpi, Vidal, Murino, Curriculum dropout, ICCV 2017,
    https://arxiv.org/abs/1703.06229.
    """
    rates, steps = _checked("curriculum_dropout", rate, steps)

    def schedule(step: ArrayLike) -> jax.Array:
        t = _step("curriculum_dropout", step)
        # not optax.exponential_decay: the first of many steps would lose their digits
        past = jnp.maximum(t.astype(np.float32), 0)
        return rates(t) * -jnp.expm1(-10 * past / np.float32(steps))

    return schedule


def early_dropout(
    rate: ArrayLike | optax.Schedule, steps: int, *, linear: bool = True
) -> Schedule:
    """Noise in the first `steps` steps only: for models that underfit.

    Law: r(t) = rate (1 - t / steps) for t < steps, else 0; with `linear=False`,
    r(t) = rate for t < steps, else 0.

    Args:
      rate: the rate at step 0, in [0, 1], or a schedule of rates.
      steps: number of steps with noise, at least 1.
      linear: whether to go down in a line, as the paper does, or to stay and then stop.

    Returns:
      Schedule: from steps (negative ones count as 0) to rates, float32; exactly 0 from
      t = steps on.

    Raises:
      ValueError: a known rate outside [0, 1], or steps outside [1, 2^31).
      TypeError: rate is neither a number nor a schedule, or steps is not an integer.

    Sharp bits: the linear one is `optax.linear_schedule(rate, 0, steps)`, with these
    checks.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxnoise import schedules
      >>> schedules.early_dropout(0.5, 4)(jnp.arange(6)).tolist()
      [0.5, 0.375, 0.25, 0.125, 0.0, 0.0]

    Reference: Liu, Xu, Jin, Shen, Darrell, Dropout reduces underfitting, ICML 2023,
    https://arxiv.org/abs/2303.01500.
    """
    rates, steps = _checked("early_dropout", rate, steps)

    if not linear:
        return _joined("early_dropout", [rates, _none], steps)

    def schedule(step: ArrayLike) -> jax.Array:
        t = _step("early_dropout", step)
        # not optax.linear_schedule: 1 - t / steps loses digits towards the end
        left = (steps - jnp.clip(t, 0, steps)).astype(np.float32)
        return rates(t) * (left / np.float32(steps))

    return schedule


def late_dropout(rate: ArrayLike | optax.Schedule, steps: int) -> Schedule:
    """No noise in the first `steps` steps, then `rate`: for models that overfit.

    Law: r(t) = 0 for t < steps, else rate.

    Args:
      rate: the rate from t = steps on, in [0, 1], or a schedule of rates, whose step 0
        is t = steps.
      steps: number of steps without noise, at least 1.

    Returns:
      Schedule: from steps to rates, float32.

    Raises:
      ValueError: a known rate outside [0, 1], or steps outside [1, 2^31).
      TypeError: rate is neither a number nor a schedule, or steps is not an integer.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxnoise import schedules
      >>> schedules.late_dropout(0.5, 2)(jnp.arange(4)).tolist()
      [0.0, 0.0, 0.5, 0.5]
      >>> import optax
      >>> rise = optax.linear_schedule(0.0, 0.5, 2)
      >>> schedules.late_dropout(rise, 2)(jnp.arange(6)).tolist()
      [0.0, 0.0, 0.0, 0.25, 0.5, 0.5]

    Reference: Liu, Xu, Jin, Shen, Darrell, Dropout reduces underfitting, ICML 2023,
    https://arxiv.org/abs/2303.01500.
    """
    rates, steps = _checked("late_dropout", rate, steps)
    return _joined("late_dropout", [_none, rates], steps)


def depth_rates(
    rate: ArrayLike, depth: int, *, first_zero: bool = True
) -> tuple[Any, ...]:
    """Rates of `drop_path` for the blocks of a network, rising in a line with depth.

    Law: r_l = rate l / (depth - 1), l = 0 ... depth - 1: the first block is never
    dropped, as in timm and the ViT, Swin and ConvNeXt codes. With `first_zero=False`,
    r_l = rate l / depth, l = 1 ... depth: the rule of the paper, where it is the input
    that is never dropped.

    Args:
      rate: the rate of the last block, in [0, 1].
      depth: number of blocks, at least 1. With one block, `first_zero` says whether it
        has 0 or `rate`.
      first_zero: whether the first block has 0.

    Returns:
      Tuple of depth floats; the last is exactly `rate`. From a traced rate, that of a
      schedule, a tuple of traced scalars.

    Raises:
      ValueError: a known rate outside [0, 1], or depth below 1.
      TypeError: rate is not a number, or depth is not an integer.

    Example:
      >>> from jaxnoise import schedules
      >>> schedules.depth_rates(0.5, 5)
      (0.0, 0.125, 0.25, 0.375, 0.5)
      >>> schedules.depth_rates(0.5, 4, first_zero=False)
      (0.125, 0.25, 0.375, 0.5)

    Reference: Huang, Sun, Liu, Sedra, Weinberger, Deep networks with stochastic depth,
    ECCV 2016, https://arxiv.org/abs/1603.09382.
    """
    name = "depth_rates"
    order = "The rate comes first, then the depth: depth_rates(0.1, 12)."
    amount = _check.rate(name, rate, mend=order)
    depth = _integers.count(name, "depth", depth)
    if first_zero:
        return tuple(amount * (block / max(depth - 1, 1)) for block in range(depth))
    return tuple(amount * (block / depth) for block in range(1, depth + 1))


def _checked(function: str, rate: Any, steps: Any) -> tuple[Schedule, int]:
    rates = rate
    if not callable(rate):
        rates = optax.constant_schedule(_check.rate(function, rate))
    number = _integers.count(function, "steps", steps)
    if number >= 2**31:
        raise ValueError(
            f"{function}: steps must be below 2^31, the largest step, got {number}."
        )
    return lambda step: jnp.asarray(rates(step), np.float32), number


_none = optax.constant_schedule(np.float32(0))


def _joined(function: str, parts: list[optax.Schedule], steps: int) -> Schedule:
    joined = optax.join_schedules(parts, [steps])
    return lambda step: jnp.asarray(joined(_step(function, step)))


def _step(function: str, step: ArrayLike) -> jax.Array:
    """A step, or an array of steps, as an array that can be compared with an int."""
    array = jnp.asarray(step)
    if not jnp.issubdtype(array.dtype, np.number) or jnp.iscomplexobj(array):
        raise TypeError(
            f"{function}: step must be an integer or a real number, got "
            f"{_shown.shown(step)}."
        )
    # too small a type could not be compared with the number of steps
    wide = np.int32 if jnp.issubdtype(array.dtype, np.integer) else np.float32
    return array if array.dtype.itemsize >= 4 else array.astype(wide)


def __dir__() -> list[str]:
    return __all__
