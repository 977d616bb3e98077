"""Keys that a run can be resumed with: from a seed, a use and a step, never carried.

A generator that is carried along, `key, now = jax.random.split(key)` at each step, is
state: a run that is restarted has to get it back, and a process that skips a step falls
out of line with the others. A key that is derived from where it is used needs no more
than the seed, which is in the configuration, and the step, which is in the checkpoint:

    root = jax.random.key(seed)
    params = model.init(named_key(root, "params"), x)
    noise = named_key(root, "noise")
    for step in range(first_step, last_step):
        params = update(params, batch(step), step_key(noise, step))

Started at any step, by any number of processes, each step draws the same noise. Names
in place of the numbers 0, 1, 2: a use that is added later, or in between, leaves the
keys of all others as they are. Both functions leave the key that they are given for
further calls; do not draw from it, or split it, as well: `split(key)[i]` and
`fold_in(key, i)` are one and the same key under JAX's default settings. For one more
level, such as a sample of Monte-Carlo dropout within a step, fold in once more:
`step_key(step_key(noise, step), sample)`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from jaxnoise._core import _check, _integers, _names, _shown

__all__ = [
    "named_key",
    "step_key",
]

_STEPS = 2**32  # what fold_in tells apart


def step_key(key: jax.Array, step: ArrayLike) -> jax.Array:
    """The key of a step: `jax.random.fold_in(key, step)`, for a step that is one.

    `fold_in` converts what it is given to uint32: steps 1.2 and 1.7 would share their
    noise, and so would the steps 1 and 2^32 + 1 of a NumPy counter. Here they are
    errors.

    Args:
      key: PRNG key of one use (see `named_key`); not consumed, one serves all steps.
      step: integer in [0, 2^32), or a scalar array of an integer dtype. A traced step
        is not checked for its range, and wraps around.

    Returns:
      A typed PRNG key.

    Raises:
      ValueError: a step outside [0, 2^32) or of another shape than (), or a batch of
        keys.
      TypeError: key is not a key, or step is not an integer.

    Example:
      >>> import jax
      >>> import jaxnoise as jn
      >>> from jaxnoise import keys
      >>> noise = keys.named_key(jax.random.key(0), "noise")
      >>> @jax.jit
      ... def noisy(x, step):
      ...     return jn.dropout(keys.step_key(noise, step), x, 0.5)
      >>> x = jax.numpy.ones(100)
      >>> bool((noisy(x, 7) == noisy(x, 7)).all())
      True
      >>> bool((noisy(x, 7) == noisy(x, 8)).all())
      False
    """
    key = _check.key("keys.step_key", key)
    return jax.random.fold_in(key, _step(step))


def named_key(key: jax.Array, name: str) -> jax.Array:
    """The key of a use with a name, such as "params" or "encoder/dropout".

    Law: `fold_in(fold_in(key, a), b)`, where a and b are the first eight bytes of the
    SHA-256 digest of the name in UTF-8, as two little-endian uint32. It is the same in
    every process, on every machine, with every version of Python (which `hash(name)`
    is not). Among n names some two have the same key with a probability below
    n^2 2^-64: 6e-12 for 10,000 names.

    Args:
      key: PRNG key; not consumed, one serves all names.
      name: any string. "a/b" is one name: no name is derived from another.

    Returns:
      A typed PRNG key.

    Raises:
      ValueError: a batch of keys.
      TypeError: key is not a key, or name is not a string.

    Example:
      >>> import jax
      >>> from jaxnoise import keys
      >>> root = jax.random.key(0)
      >>> params, noise = (keys.named_key(root, name) for name in ("params", "noise"))
      >>> bool(params == noise), bool(params == keys.named_key(root, "params"))
      (False, True)
    """
    key = _check.key("keys.named_key", key)
    if not isinstance(name, str):
        raise TypeError(
            f"keys.named_key: name must be a string, got {_shown.shown(name)}. For "
            f"the number of a step use keys.step_key."
        )
    return _fold_words(key, _names.words_of([name]))[0]


_fold_words = jax.jit(_names.fold_words)


def _step(value: ArrayLike) -> ArrayLike:
    """An integer in [0, _STEPS), as uint32 where it is known."""
    if not isinstance(value, np.ndarray | jax.Array):
        value = _integers.integer("keys.step_key", "step", value)
    elif not jnp.issubdtype(value.dtype, jnp.integer):
        raise TypeError(
            f"keys.step_key: step must have an integer dtype, got {value.dtype}. "
            f"Count steps in integers, for example in jnp.int32."
        )
    elif value.shape != ():
        raise ValueError(
            f"keys.step_key: step must be a scalar, got shape {value.shape}. Use "
            f"jax.vmap for a key of each step."
        )
    if isinstance(value, Tracer):
        return value
    if not 0 <= int(value) < _STEPS:
        raise ValueError(f"keys.step_key: step must be in [0, 2^32), got {value}.")
    return np.uint32(value)


def __dir__() -> list[str]:
    return __all__
