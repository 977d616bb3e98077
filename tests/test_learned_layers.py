"""The layers of learned noise: what they keep, where they start and what they cost."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from expected import sigmoid
from flax import nnx
from over_keys import KERNEL, X, key

import jaxnoise.linen as jnn
import jaxnoise.nnx as jnx
from jaxnoise import learned

LAYERS = ["VariationalDense", "SparseVariationalDense", "FlipoutDense"]


CALLS = {
    "variational_dense": jnp.zeros(()),
    "sparse_variational_dense": jnp.full((3, 4), -2.0),
    "flipout_dense": jnp.full((3, 4), 0.3),
}


@pytest.mark.parametrize("name", CALLS)
def test_backward_keeps_what_it_was_given(name):
    """The laws of `jaxnoise.testing` have one input; here a kernel of several."""
    function, amount = getattr(learned, name), CALLS[name]
    _, backward = jax.vjp(lambda w, a: function(key(3), X, w, a), KERNEL, amount)
    for leaf in jax.tree.leaves(backward):
        if getattr(leaf, "shape", ()) in ((3, 4), (5, 4)):
            known = (KERNEL, jnp.broadcast_to(amount, (3, 4)))
            assert any(bool((leaf == array).all()) for array in known)


def price(name, params):
    kernel = params["kernel"]
    if name == "VariationalDense":
        shared = jnp.broadcast_to(params["log_alpha"], kernel.shape)
        return learned.variational_kl(shared).sum()
    if name == "SparseVariationalDense":
        ratio = learned.sparse_log_alpha(kernel, params["log_variance"])
        return learned.variational_kl(ratio).sum()
    return learned.gaussian_kl(kernel, params["log_variance"], 1.0).sum()


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name):
    layer = getattr(jnn, name)(4)
    variables = layer.init(key(), X, deterministic=True)
    assert set(variables) == {"params"}  # nothing sown that could be added again
    params = variables["params"]
    dense = {"params": {key: params[key] for key in ("kernel", "bias")}}
    still = layer.apply(variables, X, deterministic=True)
    np.testing.assert_array_equal(still, nn.Dense(4).apply(dense, X))
    y, state = layer.apply(
        variables, X, deterministic=False, rng=key(1), mutable=["losses"]
    )
    np.testing.assert_allclose(state["losses"]["kl"], price(name, params), rtol=1e-5)

    twin = getattr(jnx, name)(3, 4, rngs=nnx.Rngs(0, dropout=1))
    for parameter, value in params.items():
        start = getattr(twin, parameter)[...]
        assert start.shape == value.shape
        if parameter != "kernel":
            np.testing.assert_allclose(start, value, rtol=1e-6)
        getattr(twin, parameter)[...] = value
    np.testing.assert_array_equal(twin(X, rngs=key(1)), y)
    np.testing.assert_array_equal(twin(X, deterministic=True), still)
    np.testing.assert_allclose(twin.kl(), state["losses"]["kl"], rtol=1e-6)
    assert not (twin(X) == twin(X)).any()
    if name == "VariationalDense":  # the way of the gradient is the same for all

        def loss(layer):
            return (layer(X, rngs=key(3)) ** 2).sum() + layer.kl()

        slopes = jax.tree.leaves(nnx.to_pure_dict(nnx.grad(loss)(twin)))
        assert len(slopes) == 3 and all(bool(slope.any()) for slope in slopes)


def test_layers_start_where_they_say():
    def start(layer, name):
        params = layer.init(key(), X, deterministic=True)["params"]
        return float(params[name].ravel()[0])

    log_alpha = start(jnn.VariationalDense(4, 0.2, alpha_per="weight"), "log_alpha")
    assert math.exp(log_alpha) == pytest.approx(0.25)
    stddev = start(jnn.FlipoutDense(4, 0.3), "log_variance") / 2
    assert math.exp(stddev) == pytest.approx(0.3)
    assert start(jnn.SparseVariationalDense(4), "log_variance") == pytest.approx(
        -10, abs=0.02
    )
    rate = start(jnn.ConcreteDropout(0.3), "logit_rate")
    assert sigmoid(rate) == pytest.approx(0.3)
    twins = (
        (jnx.FlipoutDense(3, 4, 0.3, rngs=nnx.Rngs(0)).log_variance, 2 * stddev),
        (jnx.VariationalDense(3, 4, 0.2, rngs=nnx.Rngs(0)).log_alpha, log_alpha),
        (jnx.ConcreteDropout(0.3).logit_rate, rate),
    )
    for parameter, value in twins:
        np.testing.assert_allclose(parameter[...], value, rtol=1e-6)
    sparse = jnx.SparseVariationalDense(3, 4, 5.0, rngs=nnx.Rngs(0))
    assert 0 < sparse.sparsity() <= 1
    pruned = learned.prune(sparse.kernel[...], sparse.log_variance[...])
    np.testing.assert_array_equal(sparse(X, deterministic=True), X @ pruned)


class Twice(nn.Module):
    """One layer that is called twice, and concrete dropout in front of another."""

    @nn.compact
    def __call__(self, x, train):
        layer = jnn.VariationalDense(3, deterministic=not train)
        x = layer(layer(x))
        return jnn.ConcreteDropout(deterministic=not train)(x, followed_by=nn.Dense(4))


def test_costs_are_sown_once_for_a_layer():
    params = Twice().init(key(), X, train=False)
    assert set(params["params"]) == {
        "VariationalDense_0",
        "ConcreteDropout_0",
        "Dense_0",
    }

    @jax.jit
    def apply(params, key):
        rngs = {"dropout": key}
        return Twice().apply(params, X, True, rngs=rngs, mutable=["losses"])

    y, state = apply(params, key(1))
    assert y.shape == (5, 4)
    variational = params["params"]["VariationalDense_0"]
    concrete = learned.concrete_dropout_regularizer(
        params["params"]["ConcreteDropout_0"]["logit_rate"],
        params["params"]["Dense_0"]["kernel"],
        1.0,
    )
    true = price("VariationalDense", variational) + concrete
    np.testing.assert_allclose(sum(jax.tree.leaves(state["losses"])), true, rtol=1e-5)


def test_concrete_layers_are_their_function():
    layer = jnn.ConcreteDropout(0.3, 0.2, deterministic=False)
    logit = jnp.asarray(math.log(0.3 / 0.7), jnp.float32)
    y = layer.apply({"params": {"logit_rate": logit}}, X, rng=key())
    expected = learned.concrete_dropout(key(), X, logit, 0.2)
    np.testing.assert_array_equal(y, expected)
    twin = jnx.ConcreteDropout(0.3, 0.2, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(twin(X, rngs=key()), expected)
    assert twin(X, deterministic=True) is X
    assert not (twin(X) == twin(X)).all()
    linear = nnx.Linear(3, 4, rngs=nnx.Rngs(0))
    for kernel in (linear.kernel, linear.kernel[...]):
        found = twin.kl(kernel)
        true = learned.concrete_dropout_regularizer(logit, linear.kernel[...], 1.0)
        np.testing.assert_allclose(found, true, rtol=1e-6)


def test_errors():
    drop, x = learned.concrete_dropout, jnp.ones(3)
    with pytest.raises(ValueError, match=r"temperature must be .*above 0, got 0"):
        drop(key(), x, 0.0, 0)
    with pytest.raises(ValueError, match=r"concrete_dropout: logit_rate must be fin"):
        drop(key(), x, math.nan, 0.1)
    with pytest.raises(TypeError, match=r"concrete_dropout: x must have a floating"):
        drop(key(), jnp.arange(3), 0.0, 0.1)
    with pytest.raises(ValueError, match=r"regularizer: kernel must be \(..., in, out"):
        learned.concrete_dropout_regularizer(0.0, x, 1.0)
    with pytest.raises(
        ValueError, match=r"variational_dense: log_alpha must broadcast"
    ):
        learned.variational_dense(key(), X, KERNEL, jnp.ones((2, 4)))
    with pytest.raises(ValueError, match=r"flipout_dense: stddev must be.*got -1"):
        learned.flipout_dense(key(), X, KERNEL, -1.0)
    with pytest.raises(ValueError, match=r"gaussian_kl: prior_stddev must be.*got 0"):
        learned.gaussian_kl(KERNEL, 0.0, 0)
    with pytest.raises(ValueError, match=r"prune: threshold must be finite, got nan"):
        learned.prune(KERNEL, KERNEL, threshold=math.nan)
    for module in (jnn, jnx):
        more = {"rngs": nnx.Rngs(0)} if module is jnx else {}
        widths = (3, 4) if module is jnx else (4,)
        for bad in (0.0, 1.0):
            with pytest.raises(ValueError, match=rf"ConcreteDropout: rate.*got {bad}"):
                module.ConcreteDropout(bad)
        with pytest.raises(ValueError, match=r"ConcreteDropout: temperature.*got -1"):
            module.ConcreteDropout(0.1, -1)
        with pytest.raises(ValueError, match=r"alpha_per must be 'layer'.*got 'unit'"):
            module.VariationalDense(*widths, alpha_per="unit", **more)
        for name in ("SparseVariationalDense", "FlipoutDense"):
            with pytest.raises(ValueError, match=f"{name}: stddev must be .*got 0"):
                getattr(module, name)(*widths, 0.0, **more)
        with pytest.raises(ValueError, match="features must be at least 1, got 0"):
            module.FlipoutDense(*widths[:-1], 0, **more)
    with pytest.raises(
        TypeError, match=r"FlipoutDense: stddev is where learning starts"
    ):
        jax.jit(lambda stddev: jnn.FlipoutDense(4, stddev))(0.1)


class Followed(nn.Module):
    follower: nn.Module

    @nn.compact
    def __call__(self, x):
        drop = jnn.ConcreteDropout(deterministic=True)
        return drop(x, followed_by=self.follower)


@pytest.mark.parametrize(
    "follower, got",
    [
        (nn.LayerNorm(), "none"),
        # with K = 2, which are not the 4 units that are dropped
        (nn.Conv(4, (3,), feature_group_count=2), r"one of shape \(3, 2, 4\)"),
        (nn.DenseGeneral((2, 3)), r"one of shape \(4, 2, 3\)"),
    ],
)
def test_concrete_wants_the_kernel_of_its_units(follower, got):
    wanted = rf"followed_by must be .* 'kernel' \(\.\.\., 4, out\), got {got}\. Call"
    with pytest.raises(ValueError, match=wanted):
        jax.eval_shape(Followed(follower).init, key(), jnp.ones((5, 7, 4)))


def test_concrete_takes_kernels_in_a_box():
    """Metadata of partitioning, which flax wraps around a parameter."""
    init = nn.with_partitioning(nn.initializers.ones, (None, "model"))
    model = Followed(nn.Dense(2, kernel_init=init))
    variables = model.init(key(), X)
    _, state = model.apply(variables, X, mutable=["losses"])
    (kl,) = jax.tree.leaves(state["losses"])
    ones, logit = jnp.ones((3, 2)), math.log(0.1 / 0.9)
    expected = learned.concrete_dropout_regularizer(logit, ones, 1.0)
    np.testing.assert_allclose(kl, expected, rtol=1e-6)
