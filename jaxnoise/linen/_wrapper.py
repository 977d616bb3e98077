"""What the wrappers around a cell of flax have in common.

A wrapper has no parameters, and those of its cell stay where they are without it, so
checkpoints load both ways.
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax

from jaxnoise import _sharding
from jaxnoise.recurrent._layer import noisy, rates


class Wrapper(nn.RNNCellBase):
    """Base of the wrappers: the cell that all have.

    A child has its rates, and says which `noise_type` its masks are in.
    """

    noise_type: ClassVar[type]

    cell: nn.RNNCellBase

    def __post_init__(self):
        rates(self)
        super().__post_init__()

    def setup(self):
        scope: Any = self.scope
        if isinstance(self.cell, Wrapper):
            # the name of the wrapper inside: its own cell, of the same name, comes here
            scope.reservations.pop("cell", None)
        nn.share_scope(self, self.cell)

    @property
    def num_feature_axes(self) -> int:
        return self.cell.num_feature_axes

    @nn.nowrap
    def initialize_carry(self, rng: jax.Array, input_shape: tuple[int, ...]) -> Any:
        """The carry of the wrapped cell before the first step."""
        return self.cell.initialize_carry(rng, input_shape)

    @nn.nowrap
    def split_noise(
        self, noise: Any, input_shape: tuple[int, ...], num_steps: int
    ) -> tuple[Any, Any]:
        """The masks that all steps share, and those with time in front."""
        name = type(self).__name__
        if not isinstance(noise, self.noise_type):
            raise TypeError(
                f"{name}: noise must be a {self.noise_type.__name__}, got "
                f"{type(noise).__name__}. Draw it with sample_noise of the wrapper."
            )
        rank = len(input_shape)

        def timed(mask):
            if mask.ndim <= rank:
                return False
            if mask.ndim == rank + 1 and mask.shape[0] == num_steps:
                return True
            raise ValueError(
                f"{name}: a mask must have at most {rank} dims, or {num_steps} steps "
                f"before them, got shape {mask.shape}."
            )

        own = noise._replace(inner=None)
        fixed = jax.tree.map(lambda m: None if timed(m) else m, own)
        stepped = jax.tree.map(lambda m: m if timed(m) else None, own)
        if noise.inner is not None:
            cell: Any = self.cell
            inner = cell.split_noise(noise.inner, input_shape, num_steps)
            fixed, stepped = (
                side._replace(inner=part)
                for side, part in zip((fixed, stepped), inner, strict=True)
            )
        return fixed, stepped

    @nn.nowrap
    def _checked(self, sharding, input_shape):
        name = type(self).__name__
        return _sharding.checked(name, "input_sharding", sharding, input_shape)

    @nn.nowrap
    def _sample_inner(self, key, input_shape, num_steps, of_input):
        if not noisy(self.cell):
            return None
        key = jax.random.fold_in(key, 3)
        return drawn(self.cell, key, input_shape, num_steps, of_input)


def drawn(
    cell: Any,
    key: jax.Array,
    input_shape: tuple[int, ...],
    num_steps: int | None,
    sharding: _sharding.Sharding,
) -> Any:
    """The noise of any cell; one of somebody else may not know of shardings."""
    placed = {} if sharding is None else {"input_sharding": sharding}
    return cell.sample_noise(key, input_shape, num_steps, **placed)


def call(cell, carry, inputs, noise):
    return cell(carry, inputs) if noise is None else cell(carry, inputs, noise)


def carry_shapes(cell, input_shape):
    key = jax.eval_shape(lambda: jax.random.key(0))
    return jax.eval_shape(lambda k: cell.initialize_carry(k, input_shape), key)
