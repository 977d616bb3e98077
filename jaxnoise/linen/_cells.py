"""LSTM, GRU and simple cells of `flax.linen` with the noises of `jaxnoise.recurrent`.

Parameters have the names, shapes, dtypes and initial values of the cells of the same
name in flax, so a checkpoint of one loads into the other. Noise is a value that the
cell is called with.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import initializers
from flax.linen.dtypes import promote_dtype
from flax.typing import Dtype, Initializer
from jax.typing import ArrayLike

from jaxnoise import recurrent
from jaxnoise._core import _integers
from jaxnoise.linen._noise_layer import deterministic_from
from jaxnoise.recurrent._cell_layer import CellLayer, rates

Activation = Callable[..., Any]


class NoiseCell(CellLayer, nn.RNNCellBase, kw_only=True):
    """Base of the cells: the rates that all have, and what is drawn for them.

    Rates are those of `jaxnoise.recurrent.sample_noise`. A child has the fields of the
    flax cell, its own rates, and what `CellLayer` asks for.
    """

    input_rate: ArrayLike = 0.0
    recurrent_rate: ArrayLike = 0.0
    zoneout_hidden: ArrayLike = 0.0
    weight_rate: ArrayLike = 0.0
    output_rate: ArrayLike = 0.0
    per_step: bool = False
    batch_shared: bool = False
    deterministic: bool | None = None
    bits: int = 32

    _features_name = "features"
    runner = "jaxnoise.linen.RNN"
    deterministic_from = nn.nowrap(deterministic_from)

    def __post_init__(self):
        rates(self)
        _integers.count(type(self).__name__, "features", self.__dict__["features"])
        super().__post_init__()

    # flax wraps the methods that a module has itself, not those of a plain class
    __call__, run = CellLayer.__call__, CellLayer.run

    @property
    def num_feature_axes(self) -> int:
        return 1

    @nn.nowrap
    def initialize_carry(self, rng: jax.Array, input_shape: tuple[int, ...]) -> Any:
        """The carry before the first step: h, (*batch, features)."""
        cell: Any = self
        shape = (*input_shape[:-1], cell.features)
        return cell.carry_init(rng, shape, cell.param_dtype)


class _Dense(nn.Module):
    """The parameters of a `flax.linen.Dense` without its matmul."""

    features: int
    kernel_init: Initializer
    bias_init: Initializer | None
    param_dtype: Dtype

    @nn.compact
    def __call__(self, width: int) -> tuple[jax.Array, jax.Array | None]:
        shape, dtype = (width, self.features), self.param_dtype
        kernel = self.param("kernel", self.kernel_init, shape, dtype)
        if self.bias_init is None:
            return kernel, None
        return kernel, self.param("bias", self.bias_init, (self.features,), dtype)


def _weights(cell, inputs, gates, *, input_bias, recurrent_bias) -> recurrent.Weights:
    """Create or read the parameters, those of each gate by itself.

    `input_bias` and `recurrent_bias` name the gates whose matmul has a bias.
    """

    def dense(prefix, gate, width, init, biased):
        bias = cell.bias_init if gate in biased else None
        name = f"{prefix}{gate}"
        layer = _Dense(cell.features, init, bias, cell.param_dtype, name=name)
        return layer(width)

    width, features = inputs.shape[-1], cell.features
    wx = [dense("i", g, width, cell.kernel_init, input_bias) for g in gates]
    init = cell.recurrent_kernel_init
    wh = [dense("h", g, features, init, recurrent_bias) for g in gates]
    arrays = [kernel for kernel, _ in (*wx, *wh)]
    arrays += [bias for _, bias in (*wx, *wh) if bias is not None]
    _, *arrays = promote_dtype(inputs, *arrays, dtype=cell.dtype)
    count = len(gates)
    kernels, biases = arrays[: 2 * count], arrays[2 * count :]
    return recurrent.Weights(
        tuple(kernels[:count]),
        tuple(kernels[count:]),
        tuple(biases[:count]),
        *biases[count:],
    )


class LSTMCell(NoiseCell):
    """LSTM cell with noise, in the place of `flax.linen.OptimizedLSTMCell`.

    Law: that of `jaxnoise.recurrent.lstm`; the carry is (c, h), as in flax.

    Attributes:
      features: width H of the state.
      gate_fn, activation_fn: activations. With others than the default ones a sequence
        takes the slower plain scan.
      kernel_init, recurrent_kernel_init, bias_init, dtype, param_dtype, carry_init: as
        in flax.
      candidate_rate, cell_rate, zoneout_cell, and the keyword-only input_rate,
        recurrent_rate, zoneout_hidden, weight_rate, output_rate, per_step,
        batch_shared, bits, tied: as in `jaxnoise.recurrent.sample_noise`. `cell_rate`
        makes c grow without bound on long sequences, as told there.
      deterministic: True for no noise, where none is passed. Here, at the call, or in
        `jaxnoise.linen.RNN`, in one of the three. Without it and without noise, a
        call of a cell with a rate that is not 0 is a ValueError.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise.linen as jnn
      >>> rnn = jnn.RNN(jnn.LSTMCell(16, input_rate=0.5, recurrent_rate=0.3))
      >>> x = jnp.ones((2, 7, 3))
      >>> params = rnn.init(jax.random.key(0), x, deterministic=True)
      >>> y = rnn.apply(params, x, deterministic=False, rng=jax.random.key(1))
      >>> y.shape
      (2, 7, 16)

    Reference: Gal, Ghahramani, A theoretically grounded application of dropout in
    recurrent neural networks, NeurIPS 2016, https://arxiv.org/abs/1512.05287.
    """

    features: int
    gate_fn: Activation = jax.nn.sigmoid
    activation_fn: Activation = jnp.tanh
    kernel_init: Initializer = initializers.lecun_normal()
    recurrent_kernel_init: Initializer = initializers.orthogonal()
    bias_init: Initializer = initializers.zeros_init()
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    carry_init: Initializer = initializers.zeros_init()
    candidate_rate: ArrayLike = 0.0
    cell_rate: ArrayLike = 0.0
    zoneout_cell: ArrayLike = 0.0
    tied: bool = True

    gates = 4
    functions = (recurrent.lstm, recurrent.lstm_step)

    @nn.compact
    def weights(self, inputs: jax.Array) -> recurrent.Weights:
        """The parameters as `jaxnoise.recurrent` takes them."""
        biased = {"input_bias": "", "recurrent_bias": "ifgo"}
        return _weights(self, inputs, "ifgo", **biased)

    @nn.nowrap
    def initialize_carry(
        self, rng: jax.Array, input_shape: tuple[int, ...]
    ) -> tuple[jax.Array, jax.Array]:
        """The carry before the first step: (c, h), each (*batch, features)."""
        c, h = jax.random.split(rng)
        parent = super().initialize_carry
        return parent(c, input_shape), parent(h, input_shape)


class GRUCell(NoiseCell):
    """GRU cell with noise, in the place of `flax.linen.GRUCell`.

    Law: that of `jaxnoise.recurrent.gru`; the carry is h, as in flax.

    Attributes:
      features: width H of the state.
      gate_fn, activation_fn: activations. With others than the default ones a sequence
        takes the slower plain scan.
      kernel_init, recurrent_kernel_init, bias_init, dtype, param_dtype, carry_init: as
        in flax.
      candidate_rate, and the keyword-only input_rate, recurrent_rate, zoneout_hidden,
        weight_rate, output_rate, per_step, batch_shared, bits, tied: as in
        `jaxnoise.recurrent.sample_noise`.
      deterministic: True for no noise, where none is passed. Here, at the call, or in
        `jaxnoise.linen.RNN`, in one of the three. Without it and without noise, a
        call of a cell with a rate that is not 0 is a ValueError.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise.linen as jnn
      >>> rnn = jnn.RNN(jnn.GRUCell(16, recurrent_rate=0.3, tied=False))
      >>> x = jnp.ones((2, 7, 3))
      >>> params = rnn.init(jax.random.key(0), x, deterministic=True)
      >>> rnn.apply(params, x, deterministic=False, rng=jax.random.key(1)).shape
      (2, 7, 16)

    Reference: Gal, Ghahramani, A theoretically grounded application of dropout in
    recurrent neural networks, NeurIPS 2016, https://arxiv.org/abs/1512.05287.
    """

    features: int
    gate_fn: Activation = jax.nn.sigmoid
    activation_fn: Activation = jnp.tanh
    kernel_init: Initializer = initializers.lecun_normal()
    recurrent_kernel_init: Initializer = initializers.orthogonal()
    bias_init: Initializer = initializers.zeros_init()
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    carry_init: Initializer = initializers.zeros_init()
    candidate_rate: ArrayLike = 0.0
    tied: bool = True

    gates = 3
    functions = (recurrent.gru, recurrent.gru_step)

    @nn.compact
    def weights(self, inputs: jax.Array) -> recurrent.Weights:
        """The parameters as `jaxnoise.recurrent` takes them."""
        return _weights(self, inputs, "rzn", input_bias="rzn", recurrent_bias="n")


class SimpleCell(NoiseCell):
    """Simple (Elman) cell with noise, in the place of `flax.linen.SimpleCell`.

    Law: that of `jaxnoise.recurrent.simple`; the carry is h, as in flax.

    Attributes:
      features: width H of the state.
      activation_fn: with another than the default one a sequence takes the slower plain
        scan.
      kernel_init, recurrent_kernel_init, bias_init, dtype, param_dtype, carry_init,
        residual: as in flax.
      input_rate, recurrent_rate, zoneout_hidden, weight_rate, output_rate, per_step,
        batch_shared, bits: keyword-only, as in `jaxnoise.recurrent.sample_noise`.
      deterministic: True for no noise, where none is passed. Here, at the call, or in
        `jaxnoise.linen.RNN`, in one of the three. Without it and without noise, a
        call of a cell with a rate that is not 0 is a ValueError.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise.linen as jnn
      >>> rnn = jnn.RNN(jnn.SimpleCell(16, zoneout_hidden=0.1))
      >>> x = jnp.ones((2, 7, 3))
      >>> params = rnn.init(jax.random.key(0), x, deterministic=True)
      >>> rnn.apply(params, x, deterministic=False, rng=jax.random.key(1)).shape
      (2, 7, 16)

    Reference: Elman, Finding structure in time, Cognitive Science 14, 1990.
    """

    features: int
    activation_fn: Activation = jnp.tanh
    kernel_init: Initializer = initializers.lecun_normal()
    recurrent_kernel_init: Initializer = initializers.orthogonal()
    bias_init: Initializer = initializers.zeros_init()
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    carry_init: Initializer = initializers.zeros_init()
    residual: bool = False

    gates = 1
    functions = (recurrent.simple, recurrent.simple_step)
    tied = True

    @nn.compact
    def weights(self, inputs: jax.Array) -> recurrent.Weights:
        """The parameters as `jaxnoise.recurrent` takes them."""
        return _weights(self, inputs, ("",), input_bias=("",), recurrent_bias=())
