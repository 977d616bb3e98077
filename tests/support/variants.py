"""Noises in the place of dropout, and how linen and nnx are told of them."""

import functools

import jax
from data import normal

import jaxnoise as jn

X = normal(1, 4, 6, 8)
NOISE = functools.partial(jn.real_gaussian_dropout, stddev=0.5)
VARIANTS = {
    "dropout": (jn.dropout, None, jn.dropout),
    "gaussian_dropout": (jn.gaussian_dropout, None, jn.gaussian_dropout),
    "alpha_dropout": (jn.alpha_dropout, None, jn.alpha_dropout),
    "drop_path": (jn.drop_path, None, jn.drop_path),
    "partial": (NOISE, None, NOISE),
    "stddev": (jn.gaussian_noise, 0.3, lambda k, x, _: jn.gaussian_noise(k, x, 0.3)),
    "own function": (lambda k, x, r: x + r, None, lambda k, x, r: x + r),
    "class": ("SpatialDropout", None, jn.spatial_dropout),
    "instance": (
        ("UniformNoise", 0.2),
        None,
        lambda k, x, _: jn.uniform_noise(k, x, 0.2),
    ),
    "instance, rate": (
        ("DropBlock", 0.1, 2),
        0.3,
        lambda k, x, _: jn.drop_block(k, x, 0.3, 2),
    ),
}


def key(number=0):
    return jax.random.key(number)


def given(api, name):
    """What to pass to replace_dropout, in linen or in nnx."""
    variant, rate, _ = VARIANTS[name]
    if isinstance(variant, str):
        return getattr(api, variant), rate
    if isinstance(variant, tuple):
        layer, *amounts = variant
        return getattr(api, layer)(*amounts), rate
    return variant, rate
