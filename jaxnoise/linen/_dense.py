"""Dense layers with noise on their weights, in the place of `flax.linen.Dense`.

Their parameters `kernel` and `bias` are those of flax, beside which some have more.
"""

from collections.abc import Mapping
from dataclasses import field
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import canonicalize_dtype
from flax.typing import Dtype, Initializer, PrecisionLike
from jax.typing import ArrayLike

from jaxnoise import weights
from jaxnoise._core import _arrays, _check, _dense, _integers
from jaxnoise._flax import _layer
from jaxnoise.linen._noise_layer import is_deterministic

Parameters = Mapping[str, Any]


class DenseLayer(nn.Module, kw_only=True):
    """Base of the dense layers: parameters, key, and what the noise costs.

    A child declares `features` again, for it to be positional, and then its amounts. It
    says which parameters it has beside kernel and bias, and what it is `with_noise`.
    """

    features: int
    use_bias: bool = True
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    precision: PrecisionLike = None
    kernel_init: Initializer | None = None
    bias_init: Initializer | None = None
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    def __post_init__(self):
        _integers.count(type(self).__name__, "features", self.features)
        _layer.check_amounts(self)
        super().__post_init__()

    @nn.nowrap
    def noise_parameters(
        self, inputs: int
    ) -> dict[str, tuple[Initializer, tuple[int, ...]]]:
        """Initializer and shape of each parameter beside kernel and bias."""
        return {}

    @nn.nowrap
    def with_noise(
        self, key: jax.Array, x: jax.Array, parameters: Parameters
    ) -> jax.Array:
        """The pure function of this layer."""
        raise NotImplementedError

    @nn.nowrap
    def without_noise(self, x: jax.Array, parameters: Parameters) -> jax.Array:
        """The layer without noise."""
        kernel, bias = parameters["kernel"], parameters["bias"]
        return _dense.dense(x, kernel, bias, self.precision)

    @nn.nowrap
    def kl(self, parameters: Parameters) -> jax.Array | None:
        """The cost of the noise, in nats, where it is learned."""
        return None

    @nn.nowrap
    def is_off(self) -> bool:
        """Whether the amounts leave nothing to draw."""
        return False

    @nn.nowrap
    def initializers(self, inputs: int) -> tuple[Initializer, Initializer]:
        """The initializers of kernel and bias."""
        return (
            self.kernel_init or nn.initializers.lecun_normal(),
            self.bias_init or nn.initializers.zeros_init(),
        )

    @nn.compact
    def __call__(
        self,
        inputs: ArrayLike,
        deterministic: bool | None = None,
        rng: jax.Array | None = None,
    ) -> jax.Array:
        """The dense layer, with noise on its weights unless `deterministic`.

        Args:
          inputs: array (*batch, in).
          deterministic: True for no noise. Here or in the constructor, not in both.
          rng: PRNG key, used as it is; by default one from `make_rng`.

        Raises:
          ValueError: deterministic given twice or not at all.
          flax.errors.InvalidRngError: neither rng nor the stream `rng_collection`.
        """
        off = is_deterministic(self, deterministic)
        array = _arrays.array(type(self).__name__, "inputs", inputs)
        parameters = self._parameters(array.shape[-1])
        kernel, bias = parameters["kernel"], parameters["bias"]
        x = array.astype(canonicalize_dtype(array, kernel, bias, dtype=self.dtype))
        sow_kl(self, lambda: self.kl(parameters))
        if off or self.is_off():
            return self.without_noise(x, parameters)
        key = self.make_rng(self.rng_collection) if rng is None else rng
        return self.with_noise(key, x, parameters)

    @nn.nowrap
    def _parameters(self, inputs):
        kernel_init, bias_init = self.initializers(inputs)
        sizes = (inputs, self.features)
        wanted: dict[str, tuple[Initializer, tuple[int, ...]]]
        wanted = {"kernel": (kernel_init, sizes)}
        if self.use_bias:
            wanted["bias"] = (bias_init, sizes[1:])
        wanted |= self.noise_parameters(inputs)
        found = {
            name: self.param(name, init, shape, self.param_dtype)
            for name, (init, shape) in wanted.items()
        }
        return {"bias": None, **found}


def sow_kl(layer: nn.Module, kl: Any) -> None:
    """Sow kl() as 'kl' of the collection 'losses', once for a layer.

    A layer that is called twice has one set of weights, so the last value stands. Not
    at initialisation: variables that were kept from there are not to be added again.
    """
    if layer.is_initializing() or not layer.is_mutable_collection("losses"):
        return
    value = kl()
    if value is not None:
        last = {"init_fn": lambda: None, "reduce_fn": lambda _, new: new}
        layer.sow("losses", "kl", value, **last)


class DropConnectDense(DenseLayer):
    """`jaxnoise.weights.dropconnect_dense` as a layer: `flax.linen.Dense` and its mask.

    Parameters, initial values and the output without noise are those of flax, to the
    bit; checkpoints load both ways. The bias is never dropped.

    Attributes:
      features: number of outputs.
      rate: probability of dropping a weight, in [0, 1].
      bits: as in `jaxnoise.dropout`, by keyword.
      use_bias, dtype, param_dtype, precision, kernel_init, bias_init: as in
        `flax.linen.Dense`, by keyword.
      deterministic: True for no noise. Here or at the call, not in both.
      rng_collection: the stream that keys come from.

    Example:
      >>> import flax.linen as nn, jax, jax.numpy as jnp, jaxnoise.linen as jnn
      >>> layer, x = jnn.DropConnectDense(4, 0.5), jnp.ones((2, 3))
      >>> params = nn.Dense(4).init(jax.random.key(0), x)
      >>> y = layer.apply(params, x, deterministic=False, rng=jax.random.key(1))
      >>> y = layer.apply(params, x, deterministic=True)
      >>> bool((y == nn.Dense(4).apply(params, x)).all())
      True
    """

    features: int
    rate: ArrayLike
    bits: int = field(default=32, kw_only=True)

    @nn.nowrap
    def is_off(self) -> bool:
        return _check.known(self.rate, 0)

    @nn.nowrap
    def with_noise(
        self, key: jax.Array, x: jax.Array, parameters: Parameters
    ) -> jax.Array:
        kernel, bias = parameters["kernel"], parameters["bias"]
        options = {"bias": bias, "precision": self.precision, "bits": self.bits}
        return weights.dropconnect_dense(key, x, kernel, self.rate, **options)


class NoisyDense(DenseLayer):
    """`jaxnoise.weights.noisy_dense` as a layer: NoisyNet, factorised.

    Parameters: the means `kernel` and `bias`, uniform on +-1 / sqrt(in) at first, and
    the strengths `kernel_sigma` and `bias_sigma`, sigma0 / sqrt(in) at first. Without
    noise the layer is `flax.linen.Dense` of the means.

    Attributes:
      features: number of outputs.
      sigma0: initial strength, finite and at least 0.
      use_bias, dtype, param_dtype, precision, kernel_init, bias_init: as in
        `flax.linen.Dense`, by keyword.
      deterministic: True for no noise. Here or at the call, not in both.
      rng_collection: the stream that keys come from.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise.linen as jnn
      >>> layer, x = jnn.NoisyDense(4), jnp.ones((2, 3))
      >>> params = layer.init(jax.random.key(0), x, deterministic=True)["params"]
      >>> sorted(params)
      ['bias', 'bias_sigma', 'kernel', 'kernel_sigma']
    """

    features: int
    sigma0: float = 0.5

    def __post_init__(self):
        _check.magnitude("NoisyDense", "sigma0", self.sigma0)
        super().__post_init__()

    @nn.nowrap
    def initializers(self, inputs: int) -> tuple[Initializer, Initializer]:
        means = _dense.symmetric_uniform(1 / np.sqrt(inputs))
        return self.kernel_init or means, self.bias_init or means

    @nn.nowrap
    def noise_parameters(self, inputs: int):
        init = nn.initializers.constant(self.sigma0 / np.sqrt(inputs))
        sigmas = {"kernel_sigma": (init, (inputs, self.features))}
        return sigmas | (
            {"bias_sigma": (init, (self.features,))} if self.use_bias else {}
        )

    @nn.nowrap
    def with_noise(
        self, key: jax.Array, x: jax.Array, parameters: Parameters
    ) -> jax.Array:
        options = {"bias": parameters["bias"], "precision": self.precision}
        options["bias_sigma"] = parameters.get("bias_sigma")
        kernel, sigma = parameters["kernel"], parameters["kernel_sigma"]
        return weights.noisy_dense(key, x, kernel, sigma, **options)
