"""Layers whose noise is learned; what it costs is sown, as 'kl', into 'losses'.

    y, state = model.apply(variables, x, rngs={"dropout": key}, mutable=["losses"])
    kl = sum(jax.tree.leaves(state["losses"]))  # in nats
    loss = negative_log_likelihood.mean() + kl / size_of_the_data_set

Without `mutable=["losses"]` nothing is sown. With noise off it is sown all the same.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxnoise import learned
from jaxnoise._core import _check, _dense
from jaxnoise.learned import _initial
from jaxnoise.linen._dense import DenseLayer, Parameters, sow_kl
from jaxnoise.linen._noise_layer import is_deterministic


class ConcreteDropout(nn.Module):
    """`jaxnoise.learned.concrete_dropout` as a layer, in front of a dense one.

    Its parameter is the scalar `logit_rate`; `jax.nn.sigmoid` of it is the rate.

    Attributes:
      rate: the initial rate, in (0, 1).
      temperature: above 0.
      length_scale: l, above 0: the prior of a weight has standard deviation 1 / l.
      broadcast_dims: dims that share one draw: the spatial ones, before a convolution.
      deterministic: True for no noise. Here or at the call, not in both.
      rng_collection: the stream that keys come from.

    Example:
      >>> import flax.linen as nn, jax, jax.numpy as jnp, jaxnoise.linen as jnn
      >>> class Model(nn.Module):
      ...     @nn.compact
      ...     def __call__(self, x, train):
      ...         drop = jnn.ConcreteDropout(0.1, deterministic=not train)
      ...         return drop(x, followed_by=nn.Dense(4))
      >>> x = jnp.ones((2, 3))
      >>> params = Model().init(jax.random.key(0), x, train=False)
      >>> y, state = Model().apply(
      ...     params, x, train=True, mutable=["losses"],
      ...     rngs={"dropout": jax.random.key(1)})
      >>> y.shape, list(params["params"]), list(state["losses"]["ConcreteDropout_0"])
      ((2, 4), ['ConcreteDropout_0', 'Dense_0'], ['kl'])
    """

    rate: float = 0.1
    temperature: ArrayLike = 0.1
    length_scale: ArrayLike = 1.0
    broadcast_dims: tuple[int, ...] = ()
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    def __post_init__(self):
        name = "ConcreteDropout"
        _initial.logit(name, self.rate)
        _check.positive(name, "temperature", self.temperature)
        _check.positive(name, "length_scale", self.length_scale)
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        inputs: jax.Array,
        deterministic: bool | None = None,
        rng: jax.Array | None = None,
        *,
        followed_by: nn.Module | None = None,
    ) -> jax.Array:
        """Noise on `inputs`, and what the next layer makes of it.

        Args:
          inputs: floating array of any shape.
          deterministic: True for no noise. Here or in the constructor, not in both.
          rng: PRNG key, used as it is; by default one from `make_rng`.
          followed_by: the module that takes the noisy units, with a parameter `kernel`
            (..., in, out), on which the cost of the noise depends. Without it nothing
            is sown: add `jaxnoise.learned.concrete_dropout_regularizer` to the loss.

        Returns:
          The noisy units, or `followed_by` of them.

        Raises:
          ValueError: deterministic given twice or not at all, or a module whose kernel
            is not that of the units.
          flax.errors.InvalidRngError: neither rng nor the stream `rng_collection`.
        """
        off = is_deterministic(self, deterministic)
        start = nn.initializers.constant(_initial.logit("ConcreteDropout", self.rate))
        logit_rate: Any = self.param("logit_rate", start, (), jnp.float32)
        y = inputs
        if not off:
            key = self.make_rng(self.rng_collection) if rng is None else rng
            dims = {"broadcast_dims": self.broadcast_dims}
            y = learned.concrete_dropout(key, y, logit_rate, self.temperature, **dims)
        if followed_by is None:
            return y
        y = followed_by(y)  # pyright: ignore[reportCallIssue]
        kernel = nn.unbox(followed_by.variables.get("params", {})).get("kernel")
        units, shape = jnp.shape(inputs)[-1], getattr(kernel, "shape", ())
        # of a grouped convolution, or of several features, K would be another number
        if shape[-2:-1] != (units,):
            got = f"one of shape {shape}" if shape else "none"
            raise ValueError(
                f"ConcreteDropout: followed_by must be a module with a parameter "
                f"'kernel' (..., {units}, out), got {got}. Call it yourself, and add "
                f"jaxnoise.learned.concrete_dropout_regularizer to the loss."
            )
        regularizer, scale = learned.concrete_dropout_regularizer, self.length_scale
        sow_kl(self, lambda: regularizer(logit_rate, kernel, scale))
        return y


class VariationalDense(DenseLayer):
    """`jaxnoise.learned.variational_dense` as a layer.

    Parameters: `kernel`, `bias` and `log_alpha`. Without noise the layer is
    `flax.linen.Dense`.

    Attributes:
      features: number of outputs.
      rate: the initial alpha is rate / (1 - rate), that of Gaussian dropout; in (0, 1).
      alpha_per: what has an alpha of its own: "layer", "input" or "weight".
      use_bias, dtype, param_dtype, precision, kernel_init, bias_init: as in
        `flax.linen.Dense`, by keyword.
      deterministic: True for no noise. Here or at the call, not in both.
      rng_collection: the stream that keys come from.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise.linen as jnn
      >>> layer, x = jnn.VariationalDense(4, alpha_per="input"), jnp.ones((2, 3))
      >>> variables = layer.init(jax.random.key(0), x, deterministic=True)
      >>> rng = jax.random.key(1)
      >>> y, state = layer.apply(
      ...     variables, x, deterministic=False, rng=rng, mutable=["losses"])
      >>> y.shape, variables["params"]["log_alpha"].shape, list(state["losses"])
      ((2, 4), (3, 1), ['kl'])
    """

    features: int
    rate: float = 0.2
    alpha_per: str = "layer"

    def __post_init__(self):
        name = "VariationalDense"
        _initial.logit(name, self.rate)
        _initial.alpha_shape(name, self.alpha_per, 1, 1)
        super().__post_init__()

    @nn.nowrap
    def noise_parameters(self, inputs: int):
        # alpha = rate / (1 - rate)
        name = "VariationalDense"
        init = nn.initializers.constant(_initial.logit(name, self.rate))
        sizes = inputs, self.features
        shape = _initial.alpha_shape(name, self.alpha_per, *sizes)
        return {"log_alpha": (init, shape)}

    @nn.nowrap
    def with_noise(
        self, key: jax.Array, x: jax.Array, parameters: Parameters
    ) -> jax.Array:
        kernel, log_alpha = parameters["kernel"], parameters["log_alpha"]
        options = {"bias": parameters["bias"], "precision": self.precision}
        return learned.variational_dense(key, x, kernel, log_alpha, **options)

    @nn.nowrap
    def kl(self, parameters: Parameters) -> jax.Array:
        kl = learned.variational_kl(parameters["log_alpha"])
        return kl.sum() * (parameters["kernel"].size // kl.size)


class NormalDense(DenseLayer, kw_only=True):
    """Base of the layers whose weights are normal: each has a `log_variance`.

    A child declares `stddev` again, for it to be positional.
    """

    stddev: float

    def __post_init__(self):
        self._start()
        super().__post_init__()

    @nn.nowrap
    def noise_parameters(self, inputs: int):
        init = nn.initializers.constant(self._start())
        return {"log_variance": (init, (inputs, self.features))}

    @nn.nowrap
    def _start(self):
        return _initial.log_variance(type(self).__name__, self.stddev)


class SparseVariationalDense(NormalDense):
    """`jaxnoise.learned.sparse_variational_dense` as a layer.

    Parameters: `kernel`, `bias` and `log_variance`. Without noise it is
    `flax.linen.Dense` with the kernel that `jaxnoise.learned.prune` leaves;
    `jaxnoise.learned.sparsity` of both parameters is the fraction that is pruned.

    Attributes:
      features: number of outputs.
      stddev: initial standard deviation of the weights, above 0.
      threshold: the largest log alpha of a weight that stays.
      use_bias, dtype, param_dtype, precision, kernel_init, bias_init: as in
        `flax.linen.Dense`, by keyword.
      deterministic: True for no noise. Here or at the call, not in both.
      rng_collection: the stream that keys come from.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise.linen as jnn
      >>> from jaxnoise import learned
      >>> layer, x = jnn.SparseVariationalDense(4), jnp.ones((2, 3))
      >>> params = layer.init(jax.random.key(0), x, deterministic=True)["params"]
      >>> float(learned.sparsity(params["kernel"], params["log_variance"]))
      0.0
    """

    features: int
    stddev: float = 0.0067
    threshold: float = 3.0

    def __post_init__(self):
        _check.finite("SparseVariationalDense", "threshold", self.threshold)
        super().__post_init__()

    @nn.nowrap
    def with_noise(
        self, key: jax.Array, x: jax.Array, parameters: Parameters
    ) -> jax.Array:
        kernel, log_variance = parameters["kernel"], parameters["log_variance"]
        options = {"bias": parameters["bias"], "precision": self.precision}
        return learned.sparse_variational_dense(key, x, kernel, log_variance, **options)

    @nn.nowrap
    def without_noise(self, x: jax.Array, parameters: Parameters) -> jax.Array:
        kernel, log_variance = parameters["kernel"], parameters["log_variance"]
        pruned = learned.prune(kernel, log_variance, threshold=self.threshold)
        return _dense.dense(x, pruned, parameters["bias"], self.precision)

    @nn.nowrap
    def kl(self, parameters: Parameters) -> jax.Array:
        kernel, log_variance = parameters["kernel"], parameters["log_variance"]
        log_alpha = learned.sparse_log_alpha(kernel, log_variance)
        return learned.variational_kl(log_alpha).sum()


class FlipoutDense(NormalDense):
    """`jaxnoise.learned.flipout_dense` as a layer: Gaussian weights, Gaussian prior.

    Parameters: `kernel`, `bias` and `log_variance`. Without noise the layer is
    `flax.linen.Dense`.

    Attributes:
      features: number of outputs.
      stddev: initial standard deviation of the weights, above 0.
      prior_stddev: that of the prior N(0, prior_stddev^2), above 0.
      use_bias, dtype, param_dtype, precision, kernel_init, bias_init: as in
        `flax.linen.Dense`, by keyword.
      deterministic: True for no noise. Here or at the call, not in both.
      rng_collection: the stream that keys come from.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise.linen as jnn
      >>> layer, x = jnn.FlipoutDense(4), jnp.ones((2, 3))
      >>> variables = layer.init(jax.random.key(0), x, deterministic=True)
      >>> rng = jax.random.key(1)
      >>> y = layer.apply(variables, x, deterministic=False, rng=rng)
      >>> y.shape, bool((y[0] == y[1]).all())
      ((2, 4), False)
    """

    features: int
    stddev: float = 0.05
    prior_stddev: ArrayLike = 1.0

    def __post_init__(self):
        _check.positive("FlipoutDense", "prior_stddev", self.prior_stddev)
        super().__post_init__()

    @nn.nowrap
    def with_noise(
        self, key: jax.Array, x: jax.Array, parameters: Parameters
    ) -> jax.Array:
        kernel, stddev = parameters["kernel"], jnp.exp(parameters["log_variance"] / 2)
        options = {"bias": parameters["bias"], "precision": self.precision}
        return learned.flipout_dense(key, x, kernel, stddev, **options)

    @nn.nowrap
    def kl(self, parameters: Parameters) -> jax.Array:
        kernel, log_variance = parameters["kernel"], parameters["log_variance"]
        return learned.gaussian_kl(kernel, log_variance, self.prior_stddev).sum()
