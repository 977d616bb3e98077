"""A noisy cell that nobody draws noise for: an error, unless that is what was meant."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from catalogue import linen
from data import normal
from flax import nnx

import jaxnoise.linen as jnn
import jaxnoise.nnx as jnx
import jaxnoise.recurrent as jr

RATE = {"input_rate": 0.9}
LINEN = {
    "LSTMCell": lambda **o: jnn.LSTMCell(4, **RATE, **o),
    "GRUCell": lambda **o: jnn.GRUCell(4, zoneout_hidden=0.1, **o),
    "SimpleCell": lambda **o: jnn.SimpleCell(4, output_rate=0.9, **o),
    "DropoutWrapper": lambda **o: jnn.DropoutWrapper(nn.LSTMCell(4), 0.9, **o),
    "ZoneoutWrapper": lambda **o: jnn.ZoneoutWrapper(nn.GRUCell(4), 0.9, **o),
    "wrapper of a wrapper": lambda **o: jnn.DropoutWrapper(
        jnn.ZoneoutWrapper(nn.GRUCell(4), 0.9), **o
    ),
    "wrapper of a noisy cell": lambda **o: jnn.ZoneoutWrapper(
        jnn.GRUCell(4, **RATE), **o
    ),
}
NNX = {
    "LSTMCell": lambda **o: jnx.LSTMCell(3, 4, **RATE, **o),
    "GRUCell": lambda **o: jnx.GRUCell(3, 4, **RATE, **o),
    "SimpleCell": lambda **o: jnx.SimpleCell(3, 4, **RATE, **o),
    "DropoutWrapper": lambda rngs, **o: jnx.DropoutWrapper(
        nnx.LSTMCell(3, 4, rngs=rngs), 0.9, **o
    ),
    "wrapper of a wrapper": lambda rngs, **o: jnx.DropoutWrapper(
        jnx.ZoneoutWrapper(nnx.GRUCell(3, 4, rngs=rngs), 0.9), **o
    ),
    "wrapper of a noisy cell": lambda rngs, **o: jnx.ZoneoutWrapper(
        jnx.GRUCell(3, 4, **RATE, rngs=rngs), **o
    ),
}
LINEN_CELLS = pytest.mark.parametrize("make", LINEN.values(), ids=LINEN)
NNX_CELLS = pytest.mark.parametrize("make", NNX.values(), ids=NNX)


def inputs():
    return normal(100, 2, 5, 3)


def variables_of(cell):
    return linen(jnn.RNN(cell), inputs()).parameters


def linen_message(cell):
    name = type(cell).__name__
    return rf"^{name}: noise is missing.*jaxnoise\.linen\.RNN.*noise="


def nnx_message(cell):
    name = type(cell).__name__
    return rf"^{name}: noise is missing.*jaxnoise\.nnx\.RNN.*noise="


@LINEN_CELLS
def test_a_linen_cell_in_the_rnn_of_flax(make):
    x, key = inputs(), jax.random.key(0)
    cell = make()
    for rnn in (nn.RNN(cell), nn.Bidirectional(nn.RNN(cell), nn.RNN(make()))):
        with pytest.raises(ValueError, match=linen_message(cell)):
            rnn.init(key, x)
    with pytest.raises(ValueError, match=linen_message(cell)):
        nn.RNN(make(deterministic=False)).init(key, x)
    # evaluation is right there, and the parameters are the same
    variables = variables_of(cell)
    shapes = jax.eval_shape(nn.RNN(make(deterministic=True)).init, key, x)
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, variables)
    expected = jnn.RNN(cell).apply(variables, x, deterministic=True)
    y = nn.RNN(make(deterministic=True)).apply(variables, x)
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-7)


@LINEN_CELLS
def test_a_linen_cell_called_by_hand(make):
    x, key = inputs()[:, 0], jax.random.key(0)
    cell, off = make(), make(deterministic=True)
    carry = cell.initialize_carry(key, x.shape)
    variables = {"params": variables_of(cell)["params"]["cell"]}
    with pytest.raises(ValueError, match=linen_message(cell)):
        cell.apply(variables, carry, x)
    with pytest.raises(ValueError, match=linen_message(cell)):
        cell.init(key, carry, x)
    with pytest.raises(ValueError, match=linen_message(cell)):
        cell.apply(variables, carry, x, deterministic=False)
    with pytest.raises(ValueError, match="deterministic was given twice"):
        off.apply(variables, carry, x, deterministic=True)
    _, plain = off.apply(variables, carry, x)
    np.testing.assert_array_equal(
        plain, cell.apply(variables, carry, x, deterministic=True)[1]
    )
    np.testing.assert_array_equal(
        plain, cell.apply(variables, carry, x, cell.expected_noise())[1]
    )
    noise = cell.sample_noise(jax.random.key(1), x.shape)
    (_, y) = cell.apply(variables, carry, x, noise)
    assert (y != plain).any()


def test_a_linen_cell_run_by_hand():
    x, key = inputs().swapaxes(0, 1), jax.random.key(0)
    cell = jnn.LSTMCell(4, **RATE)
    carry = cell.initialize_carry(key, x.shape[1:])
    variables = {"params": variables_of(cell)["params"]["cell"]}
    with pytest.raises(ValueError, match=linen_message(cell)):
        cell.apply(variables, carry, x, method="run")
    cell.apply(variables, carry, x, deterministic=True, method="run")
    cell.apply(variables, carry, x, key=key, method="run")


@LINEN_CELLS
def test_our_linen_rnn_hears_the_cell(make):
    """Once, from the call, the layer or the cell; in both directions."""
    x, key = inputs(), jax.random.key(0)
    variables = variables_of(make())
    plain = jnn.RNN(make()).apply(variables, x, deterministic=True)
    off = jnn.RNN(make(deterministic=True))
    np.testing.assert_array_equal(off.apply(variables, x), plain)
    noisy = jnn.RNN(make(deterministic=False)).apply(variables, x, rng=key)
    assert (noisy != plain).any()
    for twice in (off, jnn.RNN(make(deterministic=False))):
        with pytest.raises(ValueError, match="RNN: deterministic was given twice"):
            twice.apply(variables, x, deterministic=False, rng=key)
    both = nn.Bidirectional(*(jnn.RNN(make(), deterministic=d) for d in (False, True)))
    keys = {"params": key, "dropout": jax.random.key(1)}
    y, _ = jax.eval_shape(both.init_with_output, keys, x)
    assert y.shape == (2, 5, 8)


def test_rates_of_0_need_no_noise():
    x, key = inputs(), jax.random.key(0)
    for cell in (
        jnn.LSTMCell(4),
        jnn.DropoutWrapper(jnn.GRUCell(4)),
        jnn.ZoneoutWrapper(nn.SimpleCell(4)),
    ):
        jax.eval_shape(nn.RNN(cell).init, key, x)
    assert nnx.RNN(jnx.LSTMCell(3, 4, rngs=nnx.Rngs(0)))(x).shape == (2, 5, 4)


def test_a_traced_rate_is_one_that_is_on():
    x, key = inputs(), jax.random.key(0)

    def run(rate):
        return nn.RNN(jnn.LSTMCell(4, input_rate=rate)).init(key, x)

    with pytest.raises(ValueError, match="noise is missing"):
        jax.eval_shape(run, 0.5)


@pytest.mark.parametrize(
    "sharing", [{}, {"per_step": True}, {"tied": False}, {"tied": False, "per_step": 1}]
)
def test_a_wrapper_of_a_noisy_cell_has_the_noise_of_the_cell(sharing):
    """A wrapper without rates adds nothing to the cell that it wraps."""
    x, key = inputs(), jax.random.key(0)
    cell = jnn.LSTMCell(4, input_rate=0.5, weight_rate=0.3, zoneout_cell=0.2, **sharing)
    rnn, wrapped = jnn.RNN(cell), jnn.RNN(jnn.DropoutWrapper(cell))
    variables = variables_of(cell)
    noise = cell.sample_noise(key, (2, 3), 5)
    y = wrapped.apply(variables, x, noise=jnn.DropoutNoise(inner=noise))
    expected = rnn.apply(variables, x, noise=noise)
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-7)
    wrong = noise._replace(zoneout_cell=noise.zoneout_cell[:3])
    with pytest.raises(ValueError, match=r"LSTMCell: noise\.zoneout_cell must have"):
        wrapped.apply(variables, x, noise=jnn.DropoutNoise(inner=wrong))


def test_what_is_told_to_a_cell_inside_a_wrapper():
    with pytest.raises(ValueError, match="DropoutWrapper: deterministic of the cell"):
        jnn.DropoutWrapper(jnn.LSTMCell(4, **RATE, deterministic=True), 0.5)


@NNX_CELLS
def test_an_nnx_cell_in_the_rnn_of_flax(make):
    x, rngs = inputs(), nnx.Rngs(0)
    cell = make(rngs=rngs)
    message = nnx_message(cell)
    with pytest.raises(ValueError, match=message):
        nnx.RNN(cell, rngs=rngs)(x)
    rnn = nnx.RNN(cell, rngs=rngs)
    rnn.eval()
    expected = jnx.RNN(cell, rngs=rngs)(x, deterministic=True)
    np.testing.assert_allclose(rnn(x), expected, rtol=1e-6, atol=1e-7)
    rnn.train()
    with pytest.raises(ValueError, match=message):
        rnn(x)
    off = nnx.view(rnn, deterministic=True)
    np.testing.assert_allclose(off(x), expected, rtol=1e-6, atol=1e-7)
    told = nnx.RNN(make(deterministic=True, rngs=rngs), rngs=rngs)
    assert told(x).shape == (2, 5, 4)


@NNX_CELLS
def test_an_nnx_cell_called_by_hand(make):
    x, rngs = inputs()[:, 0], nnx.Rngs(0)
    cell = make(rngs=rngs)
    carry = cell.initialize_carry(x.shape, rngs)
    message = nnx_message(cell)
    with pytest.raises(ValueError, match=message):
        cell(carry, x)
    if hasattr(cell, "run"):
        with pytest.raises(ValueError, match=message):
            cell.run(carry, inputs().swapaxes(0, 1))
    _, plain = cell(carry, x, deterministic=True)
    noise = cell.sample_noise(jax.random.key(1), x.shape)
    assert (cell(carry, x, noise)[1] != plain).any()
    cell.eval()
    np.testing.assert_array_equal(cell(carry, x)[1], plain)
    with pytest.raises(ValueError, match=message):
        cell(carry, x, deterministic=False)


def test_our_nnx_rnn_hears_the_cell():
    x, key = inputs(), jax.random.key(0)
    cell = jnx.LSTMCell(3, 4, **RATE, deterministic=True, rngs=nnx.Rngs(0))
    rnn = jnx.RNN(cell, rngs=nnx.Rngs(1))
    plain = rnn(x)
    np.testing.assert_array_equal(plain, rnn(x, deterministic=True))
    np.testing.assert_array_equal(plain, rnn(x, noise=jr.Noise()))
    assert (rnn(x, deterministic=False, rngs=key) != plain).any()
    rnn.train()
    assert (rnn(x) != plain).any()


def test_what_is_no_cell():
    for bad in (10, jnn.LSTMCell, nn.Dense(4)):
        for wrapper in (jnn.DropoutWrapper, jnn.ZoneoutWrapper):
            message = rf"^{wrapper.__name__}: cell must be a flax\.linen\.RNNCellBase"
            with pytest.raises(TypeError, match=message):
                wrapper(bad)
    with pytest.raises(TypeError, match=r"got a value of .*RNN.*RNN\(DropoutWrapper"):
        jnn.RNN(jnn.DropoutWrapper(jnn.RNN(nn.LSTMCell(4)), 0.5))
    rnn = jnx.RNN(nnx.LSTMCell(3, 4, rngs=nnx.Rngs(0)))
    for bad in (10, jnx.LSTMCell, jnn.LSTMCell(4), rnn):
        for made in (jnx.DropoutWrapper, jnx.ZoneoutWrapper, jnx.RNN):
            message = rf"^{made.__name__}: cell must be a flax\.nnx\.RNNCellBase"
            with pytest.raises(TypeError, match=message):
                made(bad)
    with pytest.raises(TypeError, match=r"got a value of .*RNN.*RNN\(ZoneoutWrapper"):
        jnx.ZoneoutWrapper(rnn, 0.5)
