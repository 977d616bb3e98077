"""The base of the wrappers around a cell of `flax.linen`.

A wrapper has no parameters, and those of its cell stay where they are without it, so
checkpoints load both ways.
"""

from typing import Any

import flax.linen as nn
import jax
import numpy as np

from jaxnoise._flax import _wrapper
from jaxnoise.linen._noise_layer import deterministic_from
from jaxnoise.recurrent._cell_layer import rates


class Wrapper(_wrapper.WrapperLayer, nn.RNNCellBase):
    """Base of the wrappers: the cell that all have, and its shapes.

    A child has its rates and a field `deterministic`.
    """

    runner = "jaxnoise.linen.RNN"
    deterministic_from = nn.nowrap(deterministic_from)

    cell: nn.RNNCellBase

    # flax wraps the methods that a module has itself, not those of a plain class
    __call__ = _wrapper.WrapperLayer.__call__

    def __post_init__(self):
        _check_inside(type(self).__name__, self.cell)
        rates(self)
        super().__post_init__()

    def setup(self):
        scope: Any = self.scope
        inside: Any = self.cell.scope
        while inside is not None and inside is not scope:
            inside = inside.parent
        if inside is None:
            # a cell that belongs elsewhere stays there. So it is in the copy on which
            # flax tries this method: what that copy does must not reach the real scope
            return
        if isinstance(self.cell, Wrapper):
            # the name of the wrapper inside: its own cell, of the same name, comes here
            scope.reservations.pop("cell", None)
        nn.share_scope(self, self.cell)

    @nn.nowrap
    def initialize_carry(self, rng: jax.Array, input_shape: tuple[int, ...]) -> Any:
        """The carry of the wrapped cell before the first step."""
        return self.cell.initialize_carry(rng, input_shape)

    @nn.nowrap
    def carry_shapes(self, input_shape: tuple[int, ...]) -> Any:
        """The carry as shapes, without computing it."""
        key = jax.eval_shape(lambda: jax.random.key(0))
        return jax.eval_shape(lambda k: self.initialize_carry(k, input_shape), key)

    @nn.nowrap
    def output_shape(self, carry: Any, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of what one step of the cell emits, without running it."""
        unbound = self.cell.clone(parent=None, name=None)
        key = jax.eval_shape(lambda: jax.random.key(0))
        inputs = jax.ShapeDtypeStruct(input_shape, np.float32)
        noise = _wrapper.expected(unbound)
        given = () if noise is None else (noise,)
        (_, y), _ = jax.eval_shape(unbound.init_with_output, key, carry, inputs, *given)
        return y.shape


def deterministic_of(cell: Any) -> bool | None:
    """`deterministic` as the constructor of a cell has it."""
    return cell.deterministic if _wrapper.is_ours(cell) else None


def check_cell(name: str, cell: Any, mend: str = ""):
    """Refuse what is no cell of linen."""
    such_as = "flax.linen.RNNCellBase, such as jaxnoise.linen.LSTMCell(4)"
    is_cell = isinstance(cell, nn.RNNCellBase)
    _wrapper.check_cell(name, cell, is_cell, such_as, mend)


def _check_inside(name, cell):
    check_cell(name, cell, _wrapper.order(name))
    if deterministic_of(cell) is not None:
        raise ValueError(
            f"{name}: deterministic of the cell inside must be None, got "
            f"{deterministic_of(cell)}. Pass it to the {name}."
        )
