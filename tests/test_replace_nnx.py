"""Other noises in the place of the dropouts of nnx models."""

import numpy as np
import pytest
from data import some_kernel
from flax import nnx
from variants import NOISE, VARIANTS, X, given, key

import jaxnoise as jn
import jaxnoise.nnx as jnx


class NnxModel(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(8, 8, kernel_init=some_kernel, rngs=rngs)
        self.noise = nnx.Dropout(0.3, rngs=rngs)
        self.again = self.noise
        self.more = nnx.List([nnx.Dropout(0.5, broadcast_dims=(1,), rngs=rngs)])
        self.other = nnx.Dropout(0.4, rng_collection="other", rngs=rngs)
        self.ours = jnx.Dropout(0.25, bits=8, rngs=rngs)
        self.off = nnx.Dropout(0.5, deterministic=True)
        self.end = nnx.Sequential(nnx.Dropout(0.2, rngs=rngs["noise"]), nnx.relu)

    def __call__(self, x):
        x = self.again(self.noise(self.first(x)))
        return self.end(self.off(self.ours(self.other(self.more[0](x)))))


def nnx_model():
    return NnxModel(nnx.Rngs(0, dropout=1, other=2, noise=3))


@nnx.jit
def nnx_jit(m, x):
    return m(x)


def test_nnx_dropout_for_dropout_changes_no_bit():
    first = nnx_model()
    second = jnx.replace_dropout(nnx.clone(first), jn.dropout)
    for call in (nnx_jit, nnx_jit):
        np.testing.assert_array_equal(call(second, X), call(first, X))
    assert type(second.more[0]) is jnx.Dropout and second.ours.bits == 8
    assert second.noise is second.again
    first, second = (nnx.view(m, deterministic=True) for m in (first, second))
    np.testing.assert_array_equal(second(X), first(X))


def test_nnx_gives_a_new_model_that_shares_variables():
    first = nnx_model()
    second = jnx.replace_dropout(first, jn.alpha_dropout)
    assert type(first.noise) is nnx.Dropout
    assert type(second.noise) is jnx.AlphaDropout
    assert second.first.kernel is first.first.kernel
    count = int(first.noise.rngs.count[...])
    second(X)
    assert first.noise.rngs.count[...] == count + 2


@pytest.mark.parametrize("name", VARIANTS)
def test_nnx_variant_is_its_function(name):
    layer = jnx.replace_dropout(nnx.Dropout(0.25), *given(jnx, name))
    expected = VARIANTS[name][2](key(), X, 0.25)
    np.testing.assert_array_equal(layer(X, rngs=key()), expected)
    assert not (expected == X).all()
    assert layer(X, deterministic=True) is X
    if name != "instance, rate":
        assert jnx.replace_dropout(nnx.Dropout(0.25), jn.dropout, rate=0)(X) is X
    y = nnx_jit(jnx.replace_dropout(nnx.Dropout(0.3, rngs=nnx.Rngs(0)), NOISE), X)
    assert y.shape == X.shape


def test_nnx_rates_by_path():
    rates = {"more/0": 0.1, "end/layers/0": 0}
    add = jnx.replace_dropout(
        nnx_model(), lambda k, x, r, broadcast_dims=(): x + r, rates.get
    )
    assert add.more[0].amount == 0.1 and add.noise.amount == 0.3
    assert add.more[0].options == (("broadcast_dims", (1,)),)
    assert add.end.layers[0](X) is X


def test_nnx_says_what_there_is():
    model = nnx.Sequential(nnx.Linear(8, 8, rngs=nnx.Rngs(0)), nnx.relu)
    with pytest.raises(ValueError, match=r"nnx.Dropout.*'layers/0' \(Linear\)"):
        jnx.replace_dropout(model, jn.dropout)
    once = jnx.replace_dropout(nnx.Dropout(0.5), jn.gaussian_dropout)
    with pytest.raises(ValueError, match="start from the first model"):
        jnx.replace_dropout(once, jn.alpha_dropout)
