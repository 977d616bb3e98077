"""Layers whose noise is learned; `layer.kl()` is what it costs.

    kl = sum(layer.kl() for layer in (model.first, model.second))  # in nats
    loss = negative_log_likelihood.mean() + kl / size_of_the_data_set

It is a function of the parameters: nothing has to be called before.
"""

from collections.abc import Sequence
from typing import Any, Unpack

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike

from jaxnoise import learned
from jaxnoise._core import _check, _dense, _integers
from jaxnoise.learned import _initial
from jaxnoise.nnx._dense import DenseLayer, DenseOptions
from jaxnoise.nnx._noise_layer import NoiseLayer, Options


class ConcreteDropout(NoiseLayer):
    """`jaxnoise.learned.concrete_dropout` as a layer, in front of a dense one.

    Its parameter is the scalar `logit_rate`; `jax.nn.sigmoid` of it is the rate.

    Args:
      rate: the initial rate, in (0, 1).
      temperature: above 0.
      length_scale: l, above 0: the prior of a weight has standard deviation 1 / l.
      broadcast_dims: dims that share one draw: the spatial ones, before a convolution.
      **options: deterministic, rng_collection and rngs, as in `flax.nnx.Dropout`.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise.nnx as jnx
      >>> from flax import nnx
      >>> drop = jnx.ConcreteDropout(0.1, rngs=nnx.Rngs(0))
      >>> dense = nnx.Linear(3, 4, rngs=nnx.Rngs(1))
      >>> y, kl = dense(drop(jnp.ones((2, 3)))), drop.kl(dense.kernel)
      >>> y.shape, kl.shape, f"{jax.nn.sigmoid(drop.logit_rate[...]):.2f}"
      ((2, 4), (), '0.10')
    """

    def __init__(
        self,
        rate: float = 0.1,
        temperature: ArrayLike = 0.1,
        length_scale: ArrayLike = 1.0,
        *,
        broadcast_dims: Sequence[int] = (),
        **options: Unpack[Options],
    ):
        name = "ConcreteDropout"
        start = _initial.logit(name, rate)
        _check.positive(name, "temperature", temperature)
        _check.positive(name, "length_scale", length_scale)
        super().__init__(**options)
        self.logit_rate = nnx.Param(jnp.asarray(start, jnp.float32))
        self.temperature, self.length_scale = temperature, length_scale
        self.broadcast_dims = _integers.items(broadcast_dims)

    def with_noise(self, key: jax.Array, x: ArrayLike, **at_call: Any) -> jax.Array:
        logit_rate, dims = self.logit_rate[...], {"broadcast_dims": self.broadcast_dims}
        return learned.concrete_dropout(key, x, logit_rate, self.temperature, **dims)

    def kl(self, kernel: nnx.Param | ArrayLike) -> jax.Array:
        """The cost of the rate, in nats, in front of a layer with this kernel.

        Args:
          kernel: the weights that the noisy units meet, (..., in, out).
        """
        array = kernel[...] if isinstance(kernel, nnx.Variable) else kernel
        logit_rate = self.logit_rate[...]
        return learned.concrete_dropout_regularizer(
            logit_rate, array, self.length_scale
        )


class VariationalDense(DenseLayer):
    """`jaxnoise.learned.variational_dense` as a layer.

    Parameters: `kernel`, `bias` and `log_alpha`. Without noise the layer is
    `flax.nnx.Linear`.

    Args:
      in_features, out_features: number of inputs and of outputs.
      rate: the initial alpha is rate / (1 - rate), that of Gaussian dropout; in (0, 1).
      alpha_per: what has an alpha of its own: "layer", "input" or "weight".
      rngs: where parameters and noise take their keys from.
      **options: use_bias, dtype, param_dtype, precision, kernel_init and bias_init as
        in `flax.nnx.Linear`; deterministic and rng_collection as in `flax.nnx.Dropout`.

    Example:
      >>> import jax.numpy as jnp, jaxnoise.nnx as jnx
      >>> from flax import nnx
      >>> layer = jnx.VariationalDense(3, 4, alpha_per="input", rngs=nnx.Rngs(0))
      >>> layer(jnp.ones((2, 3))).shape, layer.kl().shape, layer.log_alpha.shape
      ((2, 4), (), (3, 1))
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        rate: float = 0.2,
        *,
        alpha_per: str = "layer",
        rngs: nnx.Rngs,
        **options: Unpack[DenseOptions],
    ):
        name, sizes = "VariationalDense", (in_features, out_features)
        start = _initial.logit(name, rate)
        shape = _initial.alpha_shape(name, alpha_per, *sizes)
        super().__init__(*sizes, rngs=rngs, **options)
        self.log_alpha = nnx.Param(jnp.full(shape, start, _param_dtype(options)))

    def with_noise(self, key: jax.Array, x: ArrayLike) -> jax.Array:
        kernel, log_alpha = self.kernel[...], self.log_alpha[...]
        return learned.variational_dense(key, x, kernel, log_alpha, **self._options())

    def kl(self) -> jax.Array:
        """The cost of the noise, in nats."""
        kl = learned.variational_kl(self.log_alpha[...])
        return kl.sum() * (self.in_features * self.out_features // kl.size)


class NormalDense(DenseLayer):
    """Base of the layers whose weights are normal: each has a `log_variance`."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        stddev: float,
        *,
        rngs: nnx.Rngs,
        **options: Unpack[DenseOptions],
    ):
        start = _initial.log_variance(type(self).__name__, stddev)
        super().__init__(in_features, out_features, rngs=rngs, **options)
        sizes, dtype = (in_features, out_features), _param_dtype(options)
        self.log_variance = nnx.Param(jnp.full(sizes, start, dtype))


class SparseVariationalDense(NormalDense):
    """`jaxnoise.learned.sparse_variational_dense` as a layer.

    Parameters: `kernel`, `bias` and `log_variance`. Without noise it is
    `flax.nnx.Linear` with the kernel that `jaxnoise.learned.prune` leaves.

    Args:
      in_features, out_features: number of inputs and of outputs.
      stddev: initial standard deviation of the weights, above 0.
      threshold: the largest log alpha of a weight that stays.
      rngs: where parameters and noise take their keys from.
      **options: use_bias, dtype, param_dtype, precision, kernel_init and bias_init as
        in `flax.nnx.Linear`; deterministic and rng_collection as in `flax.nnx.Dropout`.

    Example:
      >>> import jax.numpy as jnp, jaxnoise.nnx as jnx
      >>> from flax import nnx
      >>> layer = jnx.SparseVariationalDense(3, 4, rngs=nnx.Rngs(0))
      >>> layer(jnp.ones((2, 3))).shape, float(layer.sparsity())
      ((2, 4), 0.0)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        stddev: float = 0.0067,
        *,
        threshold: float = 3.0,
        rngs: nnx.Rngs,
        **options: Unpack[DenseOptions],
    ):
        _check.finite("SparseVariationalDense", "threshold", threshold)
        super().__init__(in_features, out_features, stddev, rngs=rngs, **options)
        self.threshold = threshold

    def with_noise(self, key: jax.Array, x: ArrayLike) -> jax.Array:
        kernel, log_variance = self.kernel[...], self.log_variance[...]
        options = self._options()
        return learned.sparse_variational_dense(key, x, kernel, log_variance, **options)

    def without_noise(self, x: Any) -> Any:
        kernel, bias = self._weights()
        log_variance, limit = self.log_variance[...], self.threshold
        pruned = learned.prune(kernel, log_variance, threshold=limit)
        return _dense.dense(x, pruned, bias, self.precision)

    def kl(self) -> jax.Array:
        """The cost of the noise, in nats."""
        kernel, log_variance = self.kernel[...], self.log_variance[...]
        log_alpha = learned.sparse_log_alpha(kernel, log_variance)
        return learned.variational_kl(log_alpha).sum()

    def sparsity(self) -> jax.Array:
        """The fraction of the weights that are pruned."""
        kernel, log_variance = self.kernel[...], self.log_variance[...]
        return learned.sparsity(kernel, log_variance, threshold=self.threshold)


class FlipoutDense(NormalDense):
    """`jaxnoise.learned.flipout_dense` as a layer: Gaussian weights, Gaussian prior.

    Parameters: `kernel`, `bias` and `log_variance`. Without noise the layer is
    `flax.nnx.Linear`.

    Args:
      in_features, out_features: number of inputs and of outputs.
      stddev: initial standard deviation of the weights, above 0.
      prior_stddev: that of the prior N(0, prior_stddev^2), above 0.
      rngs: where parameters and noise take their keys from.
      **options: use_bias, dtype, param_dtype, precision, kernel_init and bias_init as
        in `flax.nnx.Linear`; deterministic and rng_collection as in `flax.nnx.Dropout`.

    Example:
      >>> import jax.numpy as jnp, jaxnoise.nnx as jnx
      >>> from flax import nnx
      >>> layer = jnx.FlipoutDense(3, 4, rngs=nnx.Rngs(0))
      >>> layer(jnp.ones((2, 3))).shape, layer.kl().shape
      ((2, 4), ())
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        stddev: float = 0.05,
        prior_stddev: ArrayLike = 1.0,
        *,
        rngs: nnx.Rngs,
        **options: Unpack[DenseOptions],
    ):
        _check.positive("FlipoutDense", "prior_stddev", prior_stddev)
        super().__init__(in_features, out_features, stddev, rngs=rngs, **options)
        self.prior_stddev = prior_stddev

    def with_noise(self, key: jax.Array, x: ArrayLike) -> jax.Array:
        kernel, stddev = self.kernel[...], jnp.exp(self.log_variance[...] / 2)
        return learned.flipout_dense(key, x, kernel, stddev, **self._options())

    def kl(self) -> jax.Array:
        """The cost of the noise, in nats."""
        kernel, log_variance = self.kernel[...], self.log_variance[...]
        return learned.gaussian_kl(kernel, log_variance, self.prior_stddev).sum()


def _param_dtype(options: DenseOptions):
    return options.get("param_dtype", jnp.float32)
