"""Cases of what takes more than x and an amount: ids, trees, weights, learned noise.

Each becomes a function f(key, x, amount) in which all elements of x are units of their
own: x is the kernel of one input, with the input 1, or one input of many examples, with
the weight 1.
"""

import math

import jax.numpy as jnp
import numpy as np

import jaxnoise as jn
from jaxnoise import learned, tree, weights
from jaxnoise.testing._case import Case

_TEMPERATURE = 0.1
_NEVER_OFF = {"off": "there is no amount at which it is off"}
_LEAVES = {"errors": "integers are leaves, which are left alone"}


def _identity(x, amount):
    return x


def _dropout_variance(x, rate):
    return x**2 * rate / (1 - rate)


def _square(y):
    """As many rows as columns, of units in one line."""
    return y.reshape(math.isqrt(y.size), -1)


_OUTPUTS = {
    "shapes": ((1, 3), (1, 0)),
    "layout": lambda rows, columns: (1, rows * columns),
    "units": _square,
}
# examples of one input, and the logarithm of the strength of their noise
_LOGARITHM = {
    "amounts": (-2.0, 0.5),
    "top": None,
    "bad": (),
    "exact": False,
    "shapes": ((3, 1), (2, 3, 1)),
    "layout": lambda rows, columns: (rows * columns, 1),
    "units": _square,
    "skip": {**_NEVER_OFF, "residuals": "x is kept: its noise depends on it"},
}


def _one_input(x):
    return jnp.ones((1, 1), x.dtype)


def _token_dropout(key, x, rate):
    ids = jn.token_dropout(key, jnp.zeros_like(x, np.int32), rate, 1)
    return jnp.where(ids == 1, jnp.zeros((), x.dtype), x)


def _tree_dropconnect(key, x, rate):
    return tree.dropconnect(key, {"kernel": x}, rate)["kernel"]


def _tree_relative_noise(key, x, stddev):
    return tree.gaussian_noise(key, {"kernel": x}, stddev, relative=True)["kernel"]


def _dropconnect_dense(key, x, rate):
    return weights.dropconnect_dense(key, _one_input(x), x, rate)


def _noisy_dense(key, x, sigma):
    """The bias is x: what one input draws, all outputs share."""
    kernel, bias = jnp.zeros_like(x), x.reshape(-1)
    strength = jnp.asarray(sigma, np.float32)
    return weights.noisy_dense(
        key, _one_input(x), kernel, 0 * strength, bias=bias, bias_sigma=strength
    )


def _concrete_dropout(key, x, logit_rate):
    return learned.concrete_dropout(key, x, logit_rate, _TEMPERATURE)


def _concrete_moment(x, logit_rate, power):
    """E[y^power], by the midpoint rule over u."""
    u = (np.arange(2**16) + 0.5) / 2**16
    dropped = (logit_rate + np.log(u / (1 - u))) / _TEMPERATURE
    y = x * (1 + np.exp(logit_rate)) / (1 + np.exp(dropped))
    return float((y**power).mean())


def _concrete_mean(x, logit_rate):
    return _concrete_moment(x, logit_rate, 1)


def _concrete_variance(x, logit_rate):
    return _concrete_moment(x, logit_rate, 2) - _concrete_mean(x, logit_rate) ** 2


def _variational_dense(key, x, log_alpha):
    return learned.variational_dense(key, x, _one_input(x), log_alpha)


def _sparse_dense(key, x, log_variance):
    return learned.sparse_variational_dense(key, x, _one_input(x), log_variance)


def _flipout_dense(key, x, stddev):
    return learned.flipout_dense(key, _one_input(x), x, stddev)


WEIGHT_CASES = (
    Case(
        "token_dropout",
        _token_dropout,
        mean=lambda x, rate: (1 - rate) * x,
        variance=lambda x, rate: rate * (1 - rate) * x**2,
        dropped=lambda rate: 0.0,
        skip={"errors": "ids are integers", "residuals": "ids have no gradient"},
        covers=("token_dropout",),
    ),
    Case(
        "tree.dropconnect",
        _tree_dropconnect,
        mean=_identity,
        variance=_dropout_variance,
        dropped=lambda rate: 0.0,
        skip=_LEAVES,
        covers=("tree.dropconnect",),
    ),
    Case(
        "tree.gaussian_noise, relative",
        _tree_relative_noise,
        top=None,
        mean=_identity,
        variance=lambda x, stddev: stddev**2 * x**2,
        exact=False,
        skip=_LEAVES,
        covers=("tree.gaussian_noise",),
    ),
    Case(
        "weights.dropconnect_dense",
        _dropconnect_dense,
        mean=_identity,
        variance=_dropout_variance,
        dropped=lambda rate: 0.0,
        covers=("weights.dropconnect_dense",),
        **_OUTPUTS,
    ),
    Case(
        "weights.noisy_dense",
        _noisy_dense,
        top=None,
        # of a strength the sign does not matter
        bad=(),
        mean=_identity,
        variance=lambda x, sigma: sigma**2 * math.sqrt(2 / math.pi),
        exact=False,
        covers=("weights.noisy_dense",),
        **_OUTPUTS,
    ),
    Case(
        "learned.concrete_dropout",
        _concrete_dropout,
        amounts=(-2.0, 0.5),
        top=None,
        bad=(float("nan"), float("inf")),
        mean=_concrete_mean,
        variance=_concrete_variance,
        exact=False,
        shapes=((2, 3, 4),),
        skip=_NEVER_OFF,
        covers=("learned.concrete_dropout",),
    ),
    Case(
        "learned.variational_dense",
        _variational_dense,
        mean=_identity,
        variance=lambda x, log_alpha: x**2 * math.exp(log_alpha),
        covers=("learned.variational_dense",),
        **_LOGARITHM,
    ),
    Case(
        "learned.sparse_variational_dense",
        _sparse_dense,
        mean=_identity,
        variance=lambda x, log_variance: x**2 * math.exp(log_variance),
        covers=("learned.sparse_variational_dense",),
        **_LOGARITHM,
    ),
    Case(
        "learned.flipout_dense",
        _flipout_dense,
        top=None,
        bad=(-0.1, float("nan"), float("inf")),
        mean=_identity,
        variance=lambda x, stddev: stddev**2,
        exact=False,
        skip={"precision": "both products are in the dtype of x"},
        covers=("learned.flipout_dense",),
        **_OUTPUTS,
    ),
)
