"""LSTM, GRU and simple cells of `flax.nnx` with the noises of `jaxnoise.recurrent`.

Parameters have the names, shapes and initial values of the cells of the same name in
flax. Noise is a value that a cell is called with.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypedDict, Unpack

import jax
from flax import nnx
from flax.typing import Dtype, Initializer, PromoteDtypeFn
from jax.typing import ArrayLike

from jaxnoise import recurrent
from jaxnoise._core import _integers
from jaxnoise.nnx._noise_layer import Switched
from jaxnoise.nnx._signature import ConstructorSignature
from jaxnoise.recurrent._cell_layer import CellLayer, rates


class SimpleOptions(TypedDict, total=False):
    """What every cell of flax takes beside its widths and its rngs."""

    activation_fn: Callable[..., Any]
    kernel_init: Initializer
    recurrent_kernel_init: Initializer
    bias_init: Initializer
    dtype: Dtype | None
    param_dtype: Dtype
    carry_init: Initializer | None
    promote_dtype: PromoteDtypeFn
    keep_rngs: bool
    kernel_metadata: Mapping[str, Any]
    recurrent_kernel_metadata: Mapping[str, Any]
    bias_metadata: Mapping[str, Any]


class CellOptions(SimpleOptions, total=False):
    """What the cells with gates take."""

    gate_fn: Callable[..., Any]


class NoiseCell(CellLayer, Switched):
    """Base of the cells, in front of a cell of flax."""

    __signature__ = ConstructorSignature()
    _features_name = "hidden_features"
    runner = "jaxnoise.nnx.RNN"

    def _widths(self, in_features: int, hidden_features: int) -> tuple[int, int]:
        """Both as they are, checked before flax prints them at length."""
        name = type(self).__name__
        _integers.count(name, "in_features", in_features)
        _integers.count(name, "hidden_features", hidden_features)
        return in_features, hidden_features

    def _dense_weights(self: Any, inputs: jax.Array) -> recurrent.Weights:
        """Those of a cell with a dense layer for the input, and one for h."""
        kernels = self.dense_i.kernel[...], self.dense_h.kernel[...]
        arrays = (inputs, *kernels, self.dense_i.bias[...])
        _, *arrays = self.promote_dtype(arrays, dtype=self.dtype)
        return recurrent.Weights(*arrays)

    def _set_noise(self, **noise: Any):
        """Set the rates and the options of noise; a bad rate is an error."""
        for name, value in noise.items():
            setattr(self, name, value)
        rates(self)


class LSTMCell(NoiseCell, nnx.LSTMCell):
    """`flax.nnx.LSTMCell` with noise: the same parameters, for `jaxnoise.nnx.RNN`.

    Law: that of `jaxnoise.recurrent.lstm`; the carry is (c, h), as in flax.

    Args:
      in_features, hidden_features: widths of the input and of the state.
      input_rate, recurrent_rate, candidate_rate, cell_rate, zoneout_hidden,
        zoneout_cell, weight_rate, output_rate, tied, per_step, batch_shared, bits: as
        in `jaxnoise.recurrent.sample_noise`.
      deterministic: True for no noise, where none is passed; `model.eval()` and
        `nnx.view` set it. Otherwise a call without noise of a cell with a rate that is
        not 0 is a ValueError.
      rngs: where the parameters take their keys from.
      **options: the others of `flax.nnx.LSTMCell`.

    Example:
      >>> import jax.numpy as jnp, jaxnoise.nnx as jnx
      >>> from flax import nnx
      >>> rngs = nnx.Rngs(0, dropout=1)
      >>> rnn = jnx.RNN(jnx.LSTMCell(3, 16, recurrent_rate=0.3, rngs=rngs), rngs=rngs)
      >>> rnn(jnp.ones((2, 7, 3))).shape
      (2, 7, 16)
    """

    gates = 4
    functions = (recurrent.lstm, recurrent.lstm_step)

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        input_rate: ArrayLike = 0.0,
        recurrent_rate: ArrayLike = 0.0,
        candidate_rate: ArrayLike = 0.0,
        cell_rate: ArrayLike = 0.0,
        zoneout_hidden: ArrayLike = 0.0,
        zoneout_cell: ArrayLike = 0.0,
        weight_rate: ArrayLike = 0.0,
        output_rate: ArrayLike = 0.0,
        tied: bool = True,
        per_step: bool = False,
        batch_shared: bool = False,
        bits: int = 32,
        deterministic: bool | None = False,
        rngs: nnx.Rngs,
        **options: Unpack[CellOptions],
    ):
        sizes = self._widths(in_features, hidden_features)
        nnx.LSTMCell.__init__(self, *sizes, rngs=rngs, **options)
        self._set_noise(
            input_rate=input_rate,
            recurrent_rate=recurrent_rate,
            candidate_rate=candidate_rate,
            cell_rate=cell_rate,
            zoneout_hidden=zoneout_hidden,
            zoneout_cell=zoneout_cell,
            weight_rate=weight_rate,
            output_rate=output_rate,
            tied=tied,
            per_step=per_step,
            batch_shared=batch_shared,
            bits=bits,
            deterministic=deterministic,
        )

    def weights(self, inputs: jax.Array) -> recurrent.Weights:
        """The parameters as `jaxnoise.recurrent` takes them."""
        wx = [dense.kernel[...] for dense in (self.ii, self.if_, self.ig, self.io)]
        dense_h = (self.hi, self.hf, self.hg, self.ho)
        wh = [dense.kernel[...] for dense in dense_h]
        biases = [dense.bias[...] for dense in dense_h if dense.bias is not None]
        arrays = (inputs, *wx, *wh, *biases)
        _, *arrays = self.promote_dtype(arrays, dtype=self.dtype)
        parts = tuple(arrays[:4]), tuple(arrays[4:8]), tuple(arrays[8:])
        return recurrent.Weights(*parts)


class GRUCell(NoiseCell, nnx.GRUCell):
    """`flax.nnx.GRUCell` with noise: the same parameters, for `jaxnoise.nnx.RNN`.

    Law: that of `jaxnoise.recurrent.gru`; the carry is h. As in flax, and unlike the
    linen cell, the matmul of h has no bias for the gate n.

    Args:
      in_features, hidden_features: widths of the input and of the state.
      input_rate, recurrent_rate, candidate_rate, zoneout_hidden, weight_rate,
        output_rate, tied, per_step, batch_shared, bits: as in
        `jaxnoise.recurrent.sample_noise`.
      deterministic: True for no noise, where none is passed; `model.eval()` and
        `nnx.view` set it. Otherwise a call without noise of a cell with a rate that is
        not 0 is a ValueError.
      rngs: where the parameters take their keys from.
      **options: the others of `flax.nnx.GRUCell`.

    Example:
      >>> import jax.numpy as jnp, jaxnoise.nnx as jnx
      >>> from flax import nnx
      >>> rngs = nnx.Rngs(0, dropout=1)
      >>> rnn = jnx.RNN(jnx.GRUCell(3, 16, input_rate=0.3, rngs=rngs), rngs=rngs)
      >>> rnn(jnp.ones((2, 7, 3))).shape
      (2, 7, 16)
    """

    gates = 3
    functions = (recurrent.gru, recurrent.gru_step)

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        input_rate: ArrayLike = 0.0,
        recurrent_rate: ArrayLike = 0.0,
        candidate_rate: ArrayLike = 0.0,
        zoneout_hidden: ArrayLike = 0.0,
        weight_rate: ArrayLike = 0.0,
        output_rate: ArrayLike = 0.0,
        tied: bool = True,
        per_step: bool = False,
        batch_shared: bool = False,
        bits: int = 32,
        deterministic: bool | None = False,
        rngs: nnx.Rngs,
        **options: Unpack[CellOptions],
    ):
        sizes = self._widths(in_features, hidden_features)
        nnx.GRUCell.__init__(self, *sizes, rngs=rngs, **options)
        self._set_noise(
            input_rate=input_rate,
            recurrent_rate=recurrent_rate,
            candidate_rate=candidate_rate,
            zoneout_hidden=zoneout_hidden,
            weight_rate=weight_rate,
            output_rate=output_rate,
            tied=tied,
            per_step=per_step,
            batch_shared=batch_shared,
            bits=bits,
            deterministic=deterministic,
        )

    def weights(self, inputs: jax.Array) -> recurrent.Weights:
        """The parameters as `jaxnoise.recurrent` takes them."""
        return self._dense_weights(inputs)


class SimpleCell(NoiseCell, nnx.SimpleCell):
    """`flax.nnx.SimpleCell` with noise: the same parameters, for `jaxnoise.nnx.RNN`.

    Law: that of `jaxnoise.recurrent.simple`; the carry is h.

    Args:
      in_features, hidden_features: widths of the input and of the state.
      residual: whether h is added to the preactivation, as in flax.
      input_rate, recurrent_rate, zoneout_hidden, weight_rate, output_rate, per_step,
        batch_shared, bits: as in `jaxnoise.recurrent.sample_noise`.
      deterministic: True for no noise, where none is passed; `model.eval()` and
        `nnx.view` set it. Otherwise a call without noise of a cell with a rate that is
        not 0 is a ValueError.
      rngs: where the parameters take their keys from.
      **options: the others of `flax.nnx.SimpleCell`.

    Example:
      >>> import jax.numpy as jnp, jaxnoise.nnx as jnx
      >>> from flax import nnx
      >>> rngs = nnx.Rngs(0, dropout=1)
      >>> cell = jnx.SimpleCell(3, 16, zoneout_hidden=0.1, rngs=rngs)
      >>> jnx.RNN(cell, rngs=rngs)(jnp.ones((2, 7, 3))).shape
      (2, 7, 16)

    Reference: Elman, Finding structure in time, Cognitive Science 14, 1990.
    """

    gates = 1
    functions = (recurrent.simple, recurrent.simple_step)
    tied = True

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        residual: bool = False,
        input_rate: ArrayLike = 0.0,
        recurrent_rate: ArrayLike = 0.0,
        zoneout_hidden: ArrayLike = 0.0,
        weight_rate: ArrayLike = 0.0,
        output_rate: ArrayLike = 0.0,
        per_step: bool = False,
        batch_shared: bool = False,
        bits: int = 32,
        deterministic: bool | None = False,
        rngs: nnx.Rngs,
        **options: Unpack[SimpleOptions],
    ):
        sizes = self._widths(in_features, hidden_features)
        nnx.SimpleCell.__init__(self, *sizes, residual=residual, rngs=rngs, **options)
        self._set_noise(
            input_rate=input_rate,
            recurrent_rate=recurrent_rate,
            zoneout_hidden=zoneout_hidden,
            weight_rate=weight_rate,
            output_rate=output_rate,
            per_step=per_step,
            batch_shared=batch_shared,
            bits=bits,
            deterministic=deterministic,
        )

    def weights(self, inputs: jax.Array) -> recurrent.Weights:
        """The parameters as `jaxnoise.recurrent` takes them."""
        return self._dense_weights(inputs)
