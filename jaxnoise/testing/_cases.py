"""The table of cases: one row a function, every law over every row."""

import jax

import jaxnoise as jn
from jaxnoise.testing._attention_cases import ATTENTION_CASES
from jaxnoise.testing._case import BERNOULLI, Case

_FLOOR = -1.7580993408473766
_ADDITIVE = {"top": None, "bad": (-0.1, float("nan"), float("inf"))}


def _identity(x, amount):
    return x


def _alpha(rate):
    slope = ((1 - rate) * (1 + rate * _FLOOR**2)) ** -0.5
    return slope, -slope * rate * _FLOOR


def _alpha_mean(x, rate):
    return _alpha(rate)[0] * (1 - rate) * x


def _alpha_variance(x, rate):
    return _alpha(rate)[0] ** 2 * rate * (1 - rate) * (x - _FLOOR) ** 2


def _alpha_dropped(rate):
    slope, shift = _alpha(rate)
    return slope * _FLOOR + shift


_ALPHA = {
    "mean": _alpha_mean,
    "variance": _alpha_variance,
    "dropped": _alpha_dropped,
    "bad": (-0.1, 1.0, 1.5, float("nan")),
    # a x + c may be one fused multiply-add
    "exact": False,
}
_CHANNELS_LAST = {
    "shapes": ((2, 3, 4), (1, 2, 3, 4), (0, 3, 4)),
    "layout": lambda rows, columns: (rows, 2, 2, columns),
    "units": lambda y: y[:, 0, 0, :],
}
_BLOCKS = {
    "dropped": lambda rate: 0.0,
    "shapes": ((2, 3, 4), (2, 4, 3, 4), (1, 3, 4, 5, 2)),
    "layout": lambda rows, columns: (rows, 8, 7, columns),
    "splits_rows": False,
    "exact": False,
}


# salt 2 with probability 1/4, else pepper -1: their mean and their variance
_SALT_MEAN, _SALT_VARIANCE = -0.25, 0.25 * 0.75 * 3.0**2


def _salted(key, x, rate):
    return jn.salt_and_pepper(key, x, rate, low=-1, high=2, salt_vs_pepper=0.25)


def _salt_mean(x, rate):
    return (1 - rate) * x + rate * _SALT_MEAN


def _salt_variance(x, rate):
    return rate * _SALT_VARIANCE + rate * (1 - rate) * (x - _SALT_MEAN) ** 2


def _uniform(stats, x, half_width):
    return stats.uniform(x - half_width, 2 * half_width)


def _masked(key, x, rate):
    sharding = jax.typeof(x).sharding
    mask = jn.dropout_mask(key, x.shape, rate, out_sharding=sharding)
    return jn.apply_mask(x, mask, rate)


CASES = (
    Case("dropout", jn.dropout, **BERNOULLI, covers=("dropout",)),
    *ATTENTION_CASES,
    Case(
        "dropout, broadcast_dims",
        lambda key, x, amount: jn.dropout(key, x, amount, broadcast_dims=(1,)),
        **BERNOULLI,
        shapes=((3, 2), (2, 3, 4)),
        layout=lambda rows, columns: (rows, 2, columns),
        units=lambda y: y[:, 0],
    ),
    Case(
        "dropout, 8 bits",
        lambda key, x, amount: jn.dropout(key, x, amount, bits=8),
        **BERNOULLI,
        amounts=(0.125, 0.5),
    ),
    Case(
        "dropout_mask, apply_mask",
        _masked,
        **BERNOULLI,
        covers=("dropout_mask", "apply_mask"),
    ),
    Case(
        "spatial_dropout",
        jn.spatial_dropout,
        **BERNOULLI,
        **_CHANNELS_LAST,
        covers=("spatial_dropout",),
    ),
    Case(
        "spatial_dropout, channels first",
        lambda key, x, amount: jn.spatial_dropout(key, x, amount, channel_axis=1),
        **BERNOULLI,
        shapes=((2, 3, 4), (1, 2, 3, 4)),
        layout=lambda rows, columns: (rows, columns, 2),
        units=lambda y: y[:, :, 0],
    ),
    Case(
        "drop_path",
        jn.drop_path,
        **BERNOULLI,
        shapes=((3,), (2, 0), (2, 3, 4)),
        units=lambda y: y[:, :1],
        per_row=True,
        covers=("drop_path",),
    ),
    Case(
        "embedding_dropout",
        jn.embedding_dropout,
        **BERNOULLI,
        shapes=((2, 0), (5, 4)),
        units=lambda y: y[:, :1],
        per_row=True,
        covers=("embedding_dropout",),
    ),
    Case(
        "drop_block",
        lambda key, x, amount: jn.drop_block(key, x, amount, 3),
        **_BLOCKS,
        units=lambda y: y[:, 4, 3, :],
        covers=("drop_block",),
    ),
    Case(
        "drop_block, share_channels",
        lambda key, x, amount: jn.drop_block(key, x, amount, 3, share_channels=True),
        **_BLOCKS,
        units=lambda y: y[:, 4, 3, :1],
        per_row=True,
    ),
    Case("alpha_dropout", jn.alpha_dropout, **_ALPHA, covers=("alpha_dropout",)),
    Case(
        "alpha_dropout, 16 bits",
        lambda key, x, amount: jn.alpha_dropout(key, x, amount, bits=16),
        **_ALPHA,
        amounts=(0.125, 0.5),
    ),
    Case(
        "feature_alpha_dropout",
        jn.feature_alpha_dropout,
        **_ALPHA,
        **_CHANNELS_LAST,
        covers=("feature_alpha_dropout",),
    ),
    Case(
        "gaussian_noise",
        jn.gaussian_noise,
        **_ADDITIVE,
        mean=_identity,
        variance=lambda x, stddev: stddev**2,
        exact=False,
        distribution=lambda stats, x, stddev: stats.norm(x, stddev),
        formula=lambda key, x, stddev: (
            x + stddev * jax.random.normal(key, x.shape, x.dtype)
        ),
        covers=("gaussian_noise",),
    ),
    Case(
        "gaussian_dropout",
        jn.gaussian_dropout,
        bad=(-0.1, 1.0, 1.5, float("nan")),
        mean=_identity,
        variance=BERNOULLI["variance"],
        exact=False,
        distribution=lambda stats, x, rate: stats.norm(
            x, x * (rate / (1 - rate)) ** 0.5
        ),
        formula=lambda key, x, rate: (
            x
            * (
                1
                + (rate / (1 - rate)) ** 0.5 * jax.random.normal(key, x.shape, x.dtype)
            )
        ),
        covers=("gaussian_dropout",),
    ),
    Case(
        "real_gaussian_dropout",
        lambda key, x, amount: jn.real_gaussian_dropout(key, x, amount, 0.7),
        mean=_identity,
        variance=lambda x, rate: rate * 0.7**2,
        exact=False,
        covers=("real_gaussian_dropout",),
    ),
    Case(
        "uniform_noise",
        jn.uniform_noise,
        **_ADDITIVE,
        mean=_identity,
        variance=lambda x, scale: scale**2 / 3,
        exact=False,
        distribution=_uniform,
        formula=lambda key, x, scale: (
            x + jax.random.uniform(key, x.shape, x.dtype, -scale, scale)
        ),
        covers=("uniform_noise",),
    ),
    Case(
        "laplace_noise",
        jn.laplace_noise,
        **_ADDITIVE,
        mean=_identity,
        variance=lambda x, scale: 2 * scale**2,
        exact=False,
        distribution=lambda stats, x, scale: stats.laplace(x, scale),
        formula=lambda key, x, scale: (
            x + scale * jax.random.laplace(key, x.shape, x.dtype)
        ),
        covers=("laplace_noise",),
    ),
    Case(
        "neftune_noise",
        jn.neftune_noise,
        **_ADDITIVE,
        mean=_identity,
        variance=lambda x, alpha: alpha**2 / 3,
        exact=False,
        distribution=_uniform,
        shapes=((3, 2), (2, 0, 3), (2, 3, 4)),
        # sequences of one number each: L = d = 1
        layout=lambda rows, columns: (rows, columns, 1, 1),
        units=lambda y: y[:, :, 0, 0],
        covers=("neftune_noise",),
    ),
    Case(
        "salt_and_pepper",
        _salted,
        mean=_salt_mean,
        variance=_salt_variance,
        covers=("salt_and_pepper",),
    ),
    Case(
        "salt_and_pepper, masking noise",
        lambda key, x, amount: jn.salt_and_pepper(key, x, amount, salt_vs_pepper=0),
        mean=lambda x, rate: (1 - rate) * x,
        variance=lambda x, rate: rate * (1 - rate) * x**2,
        dropped=lambda rate: 0.0,
    ),
    Case(
        "poisson_noise",
        jn.poisson_noise,
        **_ADDITIVE,
        mean=_identity,
        variance=lambda x, scale: scale * x,
        exact=False,
        skip={"gradients": "the gradient is that of the mean, and y has steps"},
        covers=("poisson_noise",),
    ),
    Case(
        "speckle_noise",
        jn.speckle_noise,
        **_ADDITIVE,
        mean=_identity,
        variance=lambda x, stddev: x**2 * stddev**2,
        exact=False,
        distribution=lambda stats, x, stddev: stats.norm(x, x * stddev),
        formula=lambda key, x, stddev: (
            x * (1 + stddev * jax.random.normal(key, x.shape, x.dtype))
        ),
        covers=("speckle_noise",),
    ),
    Case(
        "rrelu",
        # slopes around 1 of negative units, so that no width is no noise
        lambda key, x, amount: -jn.rrelu(key, -x, 1 - amount, 1 + amount),
        **_ADDITIVE,
        mean=_identity,
        variance=lambda x, width: x**2 * width**2 / 3,
        exact=False,
        distribution=lambda stats, x, width: _uniform(stats, x, x * width),
        skip={"residuals": "an activation, whose gradient needs the sign of its input"},
        covers=("rrelu",),
    ),
)
