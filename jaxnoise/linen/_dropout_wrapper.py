"""Dropout around any cell of `flax.linen`."""

from jax.typing import ArrayLike

from jaxnoise._flax._dropout_wrapper import DropoutWrapperLayer, StateFilter
from jaxnoise.linen._wrapper import Wrapper


class DropoutWrapper(DropoutWrapperLayer, Wrapper):
    """Dropout of the input, the state and the output of any cell, as in TensorFlow.

    Law: x' = D(x), (s', y) = cell(s, x'), s = D(s'), y' = D(y), with
    D(v) = v m / q, m ~ Bernoulli(q), q = 1 - rate, from independent masks. E[D(v)] = v,
    Var[D(v)] = v^2 rate / q. The state that is dropped is the one passed on, so the
    initial one is not and the final one is; the output of a step is that of the cell.
    In an LSTM h is dropped and c is not.

    Attributes:
      cell: any `flax.linen.RNNCellBase`, MGU and ConvLSTM included.
      input_rate, state_rate, output_rate: probabilities of dropping, in [0, 1].
      variational: False for new masks per step and row. True for one mask for all steps
        and all rows.
      state_filter: None drops h of a carry (c, h) and all of any other carry.
        Otherwise a function of the carry with a bool for each part, True = dropped.
      deterministic: True for no noise, where none is passed. Here, at the call, or in
        `jaxnoise.linen.RNN`, in one of the three.
      bits: as in `jaxnoise.dropout`, for all masks.

    Sharp bits: state_rate with `variational` on a cell that carries its state over
    linearly, as a GRU does, grows without bound: max |h| is 1e10 after 35 steps and inf
    after 200 at rate .5. `recurrent_rate` of `GRUCell` does not.

    Example:
      >>> import jax, jax.numpy as jnp, flax.linen as nn, jaxnoise.linen as jnn
      >>> rnn = jnn.RNN(jnn.DropoutWrapper(nn.LSTMCell(4), output_rate=0.5))
      >>> x = jnp.arange(1.0, 11.0).reshape(5, 1, 2)
      >>> params = rnn.init(jax.random.key(0), x, deterministic=True)
      >>> plain = rnn.apply(params, x, deterministic=True)
      >>> y = rnn.apply(params, x, deterministic=False, rng=jax.random.key(1))
      >>> bool(((y == 0) | jnp.isclose(y, plain / 0.5)).all())
      True

    Reference: Zaremba, Sutskever, Vinyals, Recurrent neural network regularization,
    2014, https://arxiv.org/abs/1409.2329; Gal, Ghahramani, A theoretically grounded
    application of dropout in recurrent neural networks, NeurIPS 2016,
    https://arxiv.org/abs/1512.05287.
    """

    input_rate: ArrayLike = 0.0
    state_rate: ArrayLike = 0.0
    output_rate: ArrayLike = 0.0
    variational: bool = False
    state_filter: StateFilter | None = None
    deterministic: bool | None = None
    bits: int = 32
