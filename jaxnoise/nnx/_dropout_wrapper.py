"""Dropout around any cell of `flax.nnx`."""

from flax import nnx
from jax.typing import ArrayLike

from jaxnoise._flax._dropout_wrapper import DropoutWrapperLayer, StateFilter
from jaxnoise.nnx._wrapper import Wrapper


class DropoutWrapper(DropoutWrapperLayer, Wrapper):
    """Dropout of the input, the state and the output of any cell, as in TensorFlow.

    Law: x' = D(x), (s', y) = cell(s, x'), s = D(s'), y' = D(y), with
    D(v) = v m / q, m ~ Bernoulli(q), q = 1 - rate, from independent masks. E[D(v)] = v,
    Var[D(v)] = v^2 rate / q. The noise of a key is that of the wrapper of
    `jaxnoise.linen`, which says more of the law.

    Args:
      cell: any `flax.nnx.RNNCellBase`; its parameters are in the attribute `cell`.
      input_rate, state_rate, output_rate: probabilities of dropping, in [0, 1].
      variational: False for new masks per step and row. True for one mask for all steps
        and all rows.
      state_filter: None drops h of a carry (c, h) and all of any other carry.
        Otherwise a function of the carry with a bool for each part, True = dropped.
      deterministic: True for no noise, of the wrapped cell either, where none is
        passed; `model.eval()` and `nnx.view` set it.
      bits: as in `jaxnoise.dropout`, for all masks.

    Raises:
      TypeError: cell is not a cell, or a rate not a number.
      ValueError: a known rate outside [0, 1], or a cell that is deterministic itself.

    Sharp bits: state_rate with `variational` on a cell that carries its state over
    linearly, as a GRU does, grows without bound. `recurrent_rate` of `GRUCell` does
    not.

    Example:
      >>> import jax.numpy as jnp, jaxnoise.nnx as jnx
      >>> from flax import nnx
      >>> rngs = nnx.Rngs(0, dropout=1)
      >>> cell = jnx.DropoutWrapper(nnx.LSTMCell(2, 4, rngs=rngs), output_rate=0.5)
      >>> rnn, x = jnx.RNN(cell, rngs=rngs), jnp.arange(1.0, 11.0).reshape(5, 1, 2)
      >>> plain, y = rnn(x, deterministic=True), rnn(x)
      >>> bool(((y == 0) | jnp.isclose(y, plain / 0.5)).all())
      True

    Reference: Zaremba, Sutskever, Vinyals, Recurrent neural network regularization,
    2014, https://arxiv.org/abs/1409.2329; Gal, Ghahramani, A theoretically grounded
    application of dropout in recurrent neural networks, NeurIPS 2016,
    https://arxiv.org/abs/1512.05287.
    """

    def __init__(
        self,
        cell: nnx.RNNCellBase,
        input_rate: ArrayLike = 0.0,
        state_rate: ArrayLike = 0.0,
        output_rate: ArrayLike = 0.0,
        *,
        variational: bool = False,
        state_filter: StateFilter | None = None,
        deterministic: bool | None = False,
        bits: int = 32,
    ):
        self.input_rate = input_rate
        self.state_rate = state_rate
        self.output_rate = output_rate
        self.variational = variational
        self.state_filter = state_filter
        self.bits = bits
        super().__init__(cell, deterministic)
