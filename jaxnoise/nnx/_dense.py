"""Dense layers with noise on their weights, in the place of `flax.nnx.Linear`.

Their parameters `kernel` and `bias` are those of flax, beside which some have more.
"""

import math
from typing import Any, TypedDict, Unpack

import jax
import jax.numpy as jnp
from flax import nnx
from flax.nnx.nn.dtypes import canonicalize_dtype
from flax.typing import Dtype, Initializer, PrecisionLike
from jax.typing import ArrayLike

from jaxnoise import weights
from jaxnoise._core import _arrays, _check, _dense, _integers, _shown
from jaxnoise._flax import _layer
from jaxnoise.nnx._noise_layer import KeyedLayer, Source, is_deterministic


class DenseOptions(TypedDict, total=False):
    """Options of every dense layer: its parameters but widths, amounts and rngs."""

    use_bias: bool
    dtype: Dtype | None
    param_dtype: Dtype
    precision: PrecisionLike
    kernel_init: Initializer | None
    bias_init: Initializer | None
    deterministic: bool | None
    rng_collection: str


class DenseLayer(KeyedLayer):
    """Base of the dense layers: their parameters, and when they are noisy.

    A child sets its amounts, calls `super().__init__`, makes the parameters that it has
    beside kernel and bias, and says what `with_noise` makes of all.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        use_bias: bool = True,
        dtype: Dtype | None = None,
        param_dtype: Dtype = jnp.float32,
        precision: PrecisionLike = None,
        kernel_init: Initializer | None = None,
        bias_init: Initializer | None = None,
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        rngs: nnx.Rngs,
    ):
        name = type(self).__name__
        _layer.check_amounts(self)
        _integers.count(name, "in_features", in_features)
        _integers.count(name, "out_features", out_features)
        if not isinstance(rngs, nnx.Rngs):
            raise TypeError(
                f"{name}: rngs must be nnx.Rngs, for the parameters are drawn from "
                f"it, got {_shown.shown(rngs)}."
            )
        kernel_init = kernel_init or nnx.initializers.lecun_normal()
        bias_init = bias_init or nnx.initializers.zeros_init()
        sizes = (in_features, out_features)
        self.kernel = nnx.Param(kernel_init(rngs.params(), sizes, param_dtype))
        self.bias = nnx.data(None)
        if use_bias:
            self.bias = nnx.Param(bias_init(rngs.params(), sizes[1:], param_dtype))
        self.in_features, self.out_features = sizes
        self.use_bias, self.dtype, self.precision = use_bias, dtype, precision
        # after the parameters, which are then those of flax for the same rngs; noise
        # may still get its keys at the call
        has_noise = {rng_collection, "default"} & set(rngs)
        super().__init__(
            deterministic=deterministic,
            rng_collection=rng_collection,
            rngs=rngs if has_noise else None,
        )

    def __call__(
        self,
        inputs: ArrayLike,
        *,
        deterministic: bool | None = None,
        rngs: Source | None = None,
    ) -> jax.Array:
        """The dense layer, with noise on its weights unless `deterministic`.

        Args:
          inputs: array (*batch, in).
          deterministic: True for no noise; wins over the constructor's.
          rngs: a PRNG key, used as it is, or where to take one from; wins over the
            constructor's.

        Raises:
          ValueError: deterministic is None in both places, or there are no rngs.
          TypeError: rngs is something else.
        """
        array = _arrays.array(type(self).__name__, "inputs", inputs)
        kernel, bias = self._weights()
        x = array.astype(canonicalize_dtype(array, kernel, bias, dtype=self.dtype))
        if is_deterministic(self, deterministic) or self.is_off():
            return self.without_noise(x)
        return self.with_noise(self._key(rngs), x)

    def with_noise(self, key: jax.Array, x: Any) -> jax.Array:
        """The pure function of this layer."""
        raise NotImplementedError

    def without_noise(self, x: Any) -> Any:
        """The layer without noise."""
        return _dense.dense(x, *self._weights(), self.precision)

    def is_off(self) -> bool:
        """Whether the amounts leave nothing to draw."""
        return False

    def _weights(self) -> tuple[jax.Array, jax.Array | None]:
        return self.kernel[...], None if self.bias is None else self.bias[...]

    def _options(self) -> dict[str, Any]:
        return {"bias": self._weights()[1], "precision": self.precision}


class DropConnectDense(DenseLayer):
    """`jaxnoise.weights.dropconnect_dense` as a layer: `flax.nnx.Linear` and its mask.

    Parameters, initial values and the output without noise are those of flax, to the
    bit. The bias is never dropped.

    Args:
      in_features, out_features: number of inputs and of outputs.
      rate: probability of dropping a weight, in [0, 1].
      bits: as in `jaxnoise.dropout`.
      rngs: where parameters and noise take their keys from.
      **options: use_bias, dtype, param_dtype, precision, kernel_init and bias_init as
        in `flax.nnx.Linear`; deterministic and rng_collection as in `flax.nnx.Dropout`.

    Example:
      >>> import jax.numpy as jnp, jaxnoise.nnx as jnx
      >>> from flax import nnx
      >>> layer = jnx.DropConnectDense(3, 4, 0.5, rngs=nnx.Rngs(0, dropout=1))
      >>> x = jnp.ones((2, 3))
      >>> bool((layer(x) == nnx.Linear(3, 4, rngs=nnx.Rngs(0))(x)).all())
      False
      >>> layer.eval()
      >>> bool((layer(x) == nnx.Linear(3, 4, rngs=nnx.Rngs(0))(x)).all())
      True
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        rate: ArrayLike,
        *,
        bits: int = 32,
        rngs: nnx.Rngs,
        **options: Unpack[DenseOptions],
    ):
        self.rate, self.bits = rate, bits
        super().__init__(in_features, out_features, rngs=rngs, **options)

    def is_off(self) -> bool:
        return _check.known(self.rate, 0)

    def with_noise(self, key: jax.Array, x: ArrayLike) -> jax.Array:
        kernel, _ = self._weights()
        options = self._options()
        return weights.dropconnect_dense(
            key, x, kernel, self.rate, bits=self.bits, **options
        )


class NoisyDense(DenseLayer):
    """`jaxnoise.weights.noisy_dense` as a layer: NoisyNet, factorised.

    Parameters: the means `kernel` and `bias`, uniform on +-1 / sqrt(in) at first, and
    the strengths `kernel_sigma` and `bias_sigma`, sigma0 / sqrt(in) at first. Without
    noise the layer is `flax.nnx.Linear` of the means.

    Args:
      in_features, out_features: number of inputs and of outputs.
      sigma0: initial strength, finite and at least 0.
      rngs: where parameters and noise take their keys from.
      **options: use_bias, dtype, param_dtype, precision, kernel_init and bias_init as
        in `flax.nnx.Linear`; deterministic and rng_collection as in `flax.nnx.Dropout`.

    Example:
      >>> import jax.numpy as jnp, jaxnoise.nnx as jnx
      >>> from flax import nnx
      >>> layer = jnx.NoisyDense(3, 4, rngs=nnx.Rngs(0, dropout=1))
      >>> bool((layer(jnp.ones((2, 3))) == layer(jnp.ones((2, 3)))).any())
      False
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        sigma0: float = 0.5,
        *,
        rngs: nnx.Rngs,
        **options: Unpack[DenseOptions],
    ):
        name = "NoisyDense"
        _check.magnitude(name, "sigma0", sigma0)
        _integers.count(name, "in_features", in_features)
        # a wrong width is told by the base
        bound = 1 / math.sqrt(in_features)
        means = _dense.symmetric_uniform(bound)
        param_dtype = options.get("param_dtype", jnp.float32)
        options["kernel_init"] = options.get("kernel_init") or means
        options["bias_init"] = options.get("bias_init") or means
        super().__init__(in_features, out_features, rngs=rngs, **options)
        sizes, sigma = (in_features, out_features), sigma0 * bound
        self.kernel_sigma = nnx.Param(jnp.full(sizes, sigma, param_dtype))
        self.bias_sigma = nnx.data(None)
        if self.use_bias:
            self.bias_sigma = nnx.Param(jnp.full(sizes[1:], sigma, param_dtype))

    def with_noise(self, key: jax.Array, x: ArrayLike) -> jax.Array:
        options, (kernel, _) = self._options(), self._weights()
        if self.bias_sigma is not None:
            options["bias_sigma"] = self.bias_sigma[...]
        return weights.noisy_dense(key, x, kernel, self.kernel_sigma[...], **options)
