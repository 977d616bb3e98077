"""The base of the wrappers around a cell of `flax.nnx`.

A wrapper has no parameters: those of its cell are in its attribute `cell`, so that
`nnx.update(wrapper.cell, state)` loads what was saved without it.
"""

from typing import Any

import jax
import numpy as np
from flax import nnx
from flax.typing import Initializer

from jaxnoise._flax import _wrapper
from jaxnoise.nnx._noise_layer import Switched
from jaxnoise.nnx._signature import ConstructorSignature
from jaxnoise.recurrent._cell_layer import rates


class Wrapper(_wrapper.WrapperLayer, Switched, nnx.RNNCellBase):
    """Base of the wrappers: the cell that all have, and its shapes.

    A child sets its rates, and then calls `super().__init__(cell, deterministic)`.
    """

    __signature__ = ConstructorSignature()
    runner = "jaxnoise.nnx.RNN"

    def __init__(self, cell: nnx.RNNCellBase, deterministic: bool | None):
        name = type(self).__name__
        check_cell(name, cell, _wrapper.order(name))
        if getattr(cell, "deterministic", False):
            raise ValueError(
                f"{name}: deterministic of the cell inside must be False or None, got "
                f"True. Pass it to the {name}."
            )
        self.cell = cell
        self.deterministic = deterministic
        rates(self)

    @property
    def carry_init(self) -> Initializer | None:
        """The constructor's `carry_init` of the wrapped cell: None for zeros."""
        cell: Any = self.cell
        return cell.carry_init

    def initialize_carry(
        self,
        input_shape: tuple[int, ...],
        rngs: nnx.Rngs | nnx.RngStream | None = None,
        carry_init: Initializer | None = None,
    ) -> Any:
        """The carry of the wrapped cell before the first step."""
        given = {} if carry_init is None else {"carry_init": carry_init}
        return self.cell.initialize_carry(input_shape, rngs, **given)

    def carry_shapes(self, input_shape: tuple[int, ...]) -> Any:
        """The carry as shapes, without computing it."""

        def carry(key):
            return self.initialize_carry(input_shape, nnx.RngStream(key, tag="carry"))

        return jax.eval_shape(carry, jax.eval_shape(lambda: jax.random.key(0)))

    def output_shape(self, carry: Any, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of what one step of the cell emits, without running it."""
        graph, state = nnx.split(self.cell)

        def step(state, carry, inputs):
            # a copy: the cell may have a state, which no other trace may change
            cell = nnx.merge(graph, state, copy=True)
            return _wrapper.call(cell, carry, inputs, None)[1]

        inputs = jax.ShapeDtypeStruct(input_shape, np.float32)
        return jax.eval_shape(step, state, carry, inputs).shape


def check_cell(name: str, cell: Any, mend: str = ""):
    """Refuse what is no cell of nnx."""
    such_as = "flax.nnx.RNNCellBase, such as jaxnoise.nnx.LSTMCell(3, 16, rngs=rngs)"
    # one that is not called a cell may be one all the same
    is_cell = isinstance(cell, nnx.Module) and hasattr(cell, "initialize_carry")
    _wrapper.check_cell(name, cell, is_cell, such_as, mend)
