"""The linen layers: in the place of flax's, and each over its pure function."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from catalogue import AMOUNTS as LAYERS
from catalogue import FUNCTIONS
from data import normal
from flax import errors

import jaxnoise.linen as jnn

X = normal(1, 8, 6, 5, 4)


def key(number=0):
    return jax.random.key(number)


def test_every_noise_has_a_layer():
    import jaxnoise.nnx as jnx
    from jaxnoise.testing import CASES

    pure = {name for case in CASES for name in case.covers}
    # the halves of dropout, what belongs to Embed, a function for the attention layers
    # of flax, and an activation, which is never off: RReLU has tests of its own
    pure -= {"dropout_mask", "apply_mask", "embedding_dropout"}
    pure -= {"dot_product_attention", "rrelu"}
    assert {f.__name__ for f in FUNCTIONS.values()} == pure
    assert all(hasattr(module, name) for module in (jnn, jnx) for name in LAYERS)


@pytest.mark.parametrize("name", LAYERS)
def test_layer_is_its_function(name):
    amounts, options = LAYERS[name]
    layer = getattr(jnn, name)(*amounts, **options)
    expected = FUNCTIONS[name](key(), X, *amounts, **options)
    y = layer.apply({}, X, deterministic=False, rng=key())
    np.testing.assert_array_equal(y, expected)
    assert layer.apply({}, X, deterministic=True) is X
    by_stream = layer.apply({}, X, deterministic=False, rngs={"dropout": key()})
    assert not (by_stream == X).all()


@pytest.mark.parametrize("name", LAYERS)
def test_amount_zero_needs_no_rng(name):
    amounts, options = LAYERS[name]
    layer = getattr(jnn, name)(0, *amounts[1:], **options, deterministic=False)
    assert layer.apply({}, X) is X


def model(dropout):
    class Model(nn.Module):
        """Every way to construct and call flax's Dropout that does not fail."""

        @nn.compact
        def __call__(self, x, train):
            x = nn.relu(nn.Dense(16)(x))
            x = dropout(0.3, deterministic=not train)(x)
            x = nn.relu(nn.Dense(32)(x))
            x = dropout(0.5, (1, 2), not train)(x)
            x = nn.relu(nn.Dense(16)(x))
            x = dropout(rate=0.25, broadcast_dims=[-1], rng_collection="other")(
                x, deterministic=not train
            )
            x = nn.Dense(8)(x) + dropout(0.0)(x[..., :8], False)
            return nn.Dense(3)(x) + dropout(1.0)(inputs=x[..., :3], deterministic=False)

    return Model()


def variables_of(model):
    """As `init` has them, but not drawn: that would be most of what is compiled."""
    shapes = jax.eval_shape(lambda key: model.init(key, X, False), key())
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(0, 0.3, leaf.shape), leaf.dtype), shapes
    )


@pytest.mark.parametrize("jit", [False, True])
def test_in_a_model_outputs_are_those_of_flax_to_the_bit(jit):
    theirs, ours = model(nn.Dropout), model(jnn.Dropout)
    variables = variables_of(theirs)
    rngs = {"dropout": key(3), "other": key(4)}

    def outputs(m):
        def call(v, train):
            return m.apply(
                v, X, train, rngs={k: jax.random.clone(r) for k, r in rngs.items()}
            )

        return jax.jit(call, static_argnums=1) if jit else call

    for train in (False, True):
        np.testing.assert_array_equal(
            outputs(ours)(variables, train), outputs(theirs)(variables, train)
        )


def test_in_a_model_gradients_are_those_of_flax_to_the_bit():
    theirs, ours = model(nn.Dropout), model(jnn.Dropout)
    variables = variables_of(theirs)

    def gradients(m):
        def loss(v, x):
            rngs = {"dropout": key(3), "other": key(4)}
            return (m.apply(v, x, True, rngs=rngs) ** 2).mean()

        return jax.jit(jax.grad(loss, argnums=(0, 1)))(variables, X)

    chex.assert_trees_all_equal(gradients(ours), gradients(theirs))


def test_vmap_of_a_model_over_keys():
    m = model(jnn.Dropout)
    variables = variables_of(m)

    def call(dropout, other):
        return m.apply(variables, X, True, rngs={"dropout": dropout, "other": other})

    pairs = jax.random.split(key(1), (2, 3))
    batched = jax.jit(jax.vmap(call))(*pairs)
    for n in range(3):
        alone = call(pairs[0, n], pairs[1, n])
        np.testing.assert_allclose(batched[n], alone, rtol=1e-5, atol=1e-5)


# What flax's own tests of its Dropout assert, for ours.


def test_keys_decide_the_mask():
    layer = jnn.Dropout(0.5, deterministic=False)
    y = [layer.apply({}, X, rngs={"dropout": key(n)}) for n in (0, 0, 1)]
    assert (y[0] == y[1]).all() and not (y[0] == y[2]).all()


@pytest.mark.parametrize("percent", range(10, 100, 10))
def test_rate_statistics(percent):
    """n = 10^6, false alarms 1e-6: 4.892 standard errors."""
    rate, n = percent / 100, 10**6
    layer = jnn.Dropout(rate, deterministic=False)
    y = layer.apply({}, jnp.ones((1000, 1000)), rngs={"dropout": key(percent)})
    dropped = float((y == 0).mean())
    assert abs(dropped - rate) <= 4.892 * np.sqrt(rate * (1 - rate) / n)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_rates_at_the_ends_with_gradients(rate):
    layer = jnn.Dropout(rate, deterministic=False)
    y, gradient = jax.value_and_grad(lambda x: layer.apply({}, x).sum())(X)
    assert (gradient == 1 - rate).all()
    np.testing.assert_allclose(y, X.sum() * (1 - rate), rtol=1e-6)


@pytest.mark.parametrize("dims", [(1,), (1, 2), (-1,), (0, 3)])
def test_broadcast_dims_are_tied(dims):
    layer = jnn.Dropout(0.5, broadcast_dims=dims, deterministic=False)
    y = np.asarray(layer.apply({}, jnp.ones((4, 5, 6, 7)), rngs={"dropout": key()}))
    first = tuple(
        slice(0, 1) if d in {i % 4 for i in dims} else slice(None) for d in range(4)
    )
    assert (y == y[first]).all() and len(np.unique(y)) == 2


def test_manual_rng_is_used_as_it_is():
    layer = jnn.Dropout(0.5, deterministic=False)
    y = layer.apply({}, X, rng=key(9))
    expected = nn.Dropout(0.5, deterministic=False).apply({}, X, rng=key(9))
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("name", LAYERS)
def test_errors(name):
    amounts, options = LAYERS[name]
    layer = getattr(jnn, name)
    with pytest.raises(ValueError, match=f"{name}: deterministic is missing"):
        layer(*amounts, **options).apply({}, X)
    with pytest.raises(ValueError, match=f"{name}: deterministic was given twice"):
        layer(*amounts, **options, deterministic=True).apply({}, X, deterministic=True)
    with pytest.raises(errors.InvalidRngError, match="dropout"):
        layer(*amounts, **options, deterministic=False).apply({}, X)
    with pytest.raises(ValueError, match=rf"{name}: \w+ must be .*got -1"):
        layer(-1, *amounts[1:], **options)


def test_a_traced_rate_compiles_once():
    @jax.jit
    @chex.assert_max_traces(n=1)
    def call(rate):
        layer = jnn.Dropout(rate, deterministic=False)
        return layer.apply({}, X, rngs={"dropout": key()})

    for rate in (0.0, 0.25, 0.5):
        layer = jnn.Dropout(rate, deterministic=False)
        expected = layer.apply({}, X, rngs={"dropout": key()})
        np.testing.assert_array_equal(call(rate), expected)
