"""What replace_dropout does not take, in linen and in nnx."""

import functools

import flax.linen as nn
import pytest
from flax import nnx
from variants import X, key

import jaxnoise as jn
import jaxnoise.linen as jnn
import jaxnoise.nnx as jnx


def replace_linen(variant, rate=None, layer=None):
    layer = layer or nn.Dropout(0.5)
    with jnn.replace_dropout(variant, rate):
        return layer.apply({}, X, deterministic=False, rng=key())


def replace_nnx(variant, rate=None, layer=None):
    return jnx.replace_dropout(layer or nnx.Dropout(0.5), variant, rate)


@pytest.mark.parametrize("replace", [replace_linen, replace_nnx])
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            (0.5,),
            TypeError,
            r"must be a function f\(key, x, rate\) or a layer of jaxno",
        ),
        ((nn.Dropout(0.5),), TypeError, "must be a function.*or a layer of jaxnoise"),
        ((nnx.Dropout,), TypeError, "must be a function.*or a layer of jaxnoise"),
        ((lambda k, x: x,), TypeError, r"callable as f\(key, x, rate\).*too many"),
        ((jn.drop_block,), TypeError, "missing a required.*Bind.*functools.partial"),
        ((jn.gaussian_noise,), ValueError, "rate must be given for gaussian_noise"),
        (
            (jn.gaussian_noise, lambda path: None),
            ValueError,
            "rate must be given for gaussian_noise",
        ),
        ((jn.dropout, -0.1), ValueError, "rate must be finite and at least 0, got -0"),
        ((jn.dropout, "a"), TypeError, "rate must be a real number, got 'a'"),
        ((jn.dropout, 1.5), ValueError, r"rate must be in \[0, 1\], got 1.5"),
    ],
)
def test_errors(replace, arguments, error, message):
    with pytest.raises(error, match=message):
        replace(*arguments)


def test_shared_draws_need_a_function_that_can():
    message = r"must take broadcast_dims, as the dropout at '' has.*=\(1,\), got gauss"
    for replace, kind in ((replace_linen, nn.Dropout), (replace_nnx, nnx.Dropout)):
        layer = kind(0.5, broadcast_dims=(1,))
        with pytest.raises(ValueError, match=message):
            replace(jn.gaussian_dropout, None, layer)
        replace(lambda k, x, r, broadcast_dims=(): x, None, layer)
        replace(functools.partial(jn.dropout, broadcast_dims=()), None, layer)
