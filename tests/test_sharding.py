"""Meshes beyond the sharding law: two axes, shared dims that are sharded, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from data import normal
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from meshes import mesh_of

import jaxnoise as jn
import jaxnoise.linen as jnn
from jaxnoise.testing._hlo import COLLECTIVES

pytestmark = pytest.mark.mesh

X = normal(1, 8, 6, 4, 2)
SPECS = {
    "data": PartitionSpec("data"),
    "data and model": PartitionSpec("data", None, "model"),
    "sequence": PartitionSpec(None, "model", "data"),
    "two axes on one dim": PartitionSpec(("data", "model")),
}
NOISES = {
    "no shared dim": lambda key, x: jn.dropout(key, x, 0.5),
    "shared dims": lambda key, x: jn.dropout(key, x, 0.5, broadcast_dims=(0, 2)),
    "all dims shared": lambda key, x: jn.drop_path(key, x, 0.5, batch_dims=0),
    "channels": lambda key, x: jn.spatial_dropout(key, x, 0.5, channel_axis=2),
    "two draws": lambda key, x: jn.real_gaussian_dropout(key, x, 0.5, 0.1),
    "pixels": lambda key, x: jn.salt_and_pepper(key, x, 0.5, broadcast_dims=(3,)),
    "rate 1": lambda key, x: jn.dropout(key, x, 1.0),
}


@pytest.fixture(params=[AxisType.Explicit, AxisType.Auto], ids=["explicit", "auto"])
def mesh(request):
    return mesh_of(request.param, (4, 2), ("data", "model"))


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("noise", NOISES)
def test_on_a_mesh_of_two_axes(mesh, noise, spec):
    def both(x):
        """The value, and the gradient of its square."""
        y, pull = jax.vjp(lambda x: NOISES[noise](jax.random.key(0), x), x)
        return y, pull(2 * y)[0]

    expected = jax.jit(both)(X)
    with jax.set_mesh(mesh):
        x = jax.device_put(X, NamedSharding(mesh, SPECS[spec]))
        compiled = jax.jit(both).lower(x).compile()
        results = compiled(x)
        eager = NOISES[noise](jax.random.key(0), x)
    text = compiled.as_text()
    assert not [name for name in COLLECTIVES if name in text]
    for result, value in zip((*results, eager), (*expected, expected[0]), strict=True):
        assert result.sharding.is_equivalent_to(x.sharding, x.ndim)
        # masks are the same bits; normals may round apart
        ulps = 1e-6 if noise == "two draws" else 0
        np.testing.assert_allclose(result, value, rtol=0, atol=ulps)


def test_a_mask_can_be_drawn_outside_and_applied_inside(mesh):
    mask = jn.dropout_mask(jax.random.key(0), X.shape, 0.5)
    with jax.set_mesh(mesh):
        sharding = NamedSharding(mesh, PartitionSpec("data"))
        x, placed = jax.device_put((X, mask), sharding)
        y = jax.jit(lambda x, m: jn.apply_mask(x, m, 0.5))(x, placed)
    assert y.sharding.is_equivalent_to(sharding, X.ndim)
    np.testing.assert_array_equal(y, jn.dropout(jax.random.key(0), X, 0.5))


def test_drop_block_with_split_examples_is_right_with_a_reduction(mesh):
    """The limit that its docstring states: right, at the price of a collective."""
    x, call = jnp.abs(X) + 1, lambda x: jn.drop_block(jax.random.key(0), x, 0.3, 2)
    with jax.set_mesh(mesh):
        spec = NamedSharding(mesh, PartitionSpec("data", None, None, "model"))
        placed = jax.device_put(x, spec)
        compiled = jax.jit(call).lower(placed).compile()
        y = compiled(placed)
    np.testing.assert_allclose(y, call(x), rtol=1e-6)
    assert y.sharding.is_equivalent_to(spec, x.ndim)
    assert "all-reduce" in compiled.as_text()


@pytest.mark.parametrize(
    ("kind", "cell"),
    [(AxisType.Explicit, jnn.LSTMCell), (AxisType.Auto, jnn.GRUCell)],
    ids=["explicit, lstm", "auto, gru"],
)
def test_a_sequence_with_noise(kind, cell):
    """The batch over the devices: outputs without a collective, and the gradient."""
    mesh = mesh_of(kind, (4, 2), ("data", "model"))
    rates = {"input_rate": 0.3, "recurrent_rate": 0.2, "zoneout_hidden": 0.1}
    rnn = jnn.RNN(cell(6, **rates), deterministic=False, rng_collection="noise")
    x = normal(1, 8, 5, 3)
    keys = {"params": jax.random.key(2), "noise": jax.random.key(3)}
    params = rnn.init(keys, x)
    lengths = jnp.arange(8, dtype=jnp.int32) % 6

    def outputs(params, x, lengths):
        rngs = {"noise": jax.random.key(4)}
        return rnn.apply(params, x, seq_lengths=lengths, rngs=rngs)

    def loss(params, x, lengths):
        return (outputs(params, x, lengths) ** 2).sum()

    expected = outputs(params, x, lengths), jax.grad(loss)(params, x, lengths)
    with jax.set_mesh(mesh):
        batch = NamedSharding(mesh, PartitionSpec(("data", "model")))
        x, lengths = jax.device_put((x, lengths), batch)
        params = jax.device_put(params, NamedSharding(mesh, PartitionSpec()))
        compiled = jax.jit(outputs).lower(params, x, lengths).compile()
        y = compiled(params, x, lengths)
        gradient = jax.jit(jax.grad(loss))(params, x, lengths)
    assert not [name for name in COLLECTIVES if name in compiled.as_text()]
    assert y.sharding.is_equivalent_to(x.sharding, x.ndim)
    for ours, value in zip(
        jax.tree.leaves((y, gradient)), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(ours, value, rtol=1e-4, atol=1e-5)
