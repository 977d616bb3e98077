"""The flax.nnx cells and RNN against those of flax and against the pure functions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from data import normal
from flax import nnx

import jaxnoise.nnx as jnx
from jaxnoise import mc

pytestmark = pytest.mark.recurrent

PAIRS = [
    (nnx.LSTMCell, jnx.LSTMCell),
    (nnx.GRUCell, jnx.GRUCell),
    (nnx.SimpleCell, jnx.SimpleCell),
]
CELLS = pytest.mark.parametrize("cells", PAIRS, ids="lgs")


def inputs():
    return normal(100, 3, 6, 4)


def equal(a, b, tolerance=0.0):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=tolerance, rtol=tolerance),
        a,
        b,
    )


@CELLS
def test_parameters_and_outputs_are_those_of_flax(cells):
    x = inputs()
    theirs, ours = (
        rnn(cell(4, 5, rngs=nnx.Rngs(0)), return_carry=True)
        for rnn, cell in zip((nnx.RNN, jnx.RNN), cells, strict=True)
    )
    equal(nnx.state(ours.cell, nnx.Param), nnx.state(theirs.cell, nnx.Param))
    lengths = jnp.array([1, 4, 6])
    for options in (
        {},
        {"seq_lengths": lengths},
        {"reverse": True, "keep_order": True},
        {"time_major": True},
    ):
        equal(ours(x, **options), theirs(x, **options), 3e-7)
    carry, y = nnx.RNN(ours.cell, return_carry=True)(x)
    equal((carry, y), ours(x), 1e-6)
    (*_, h), _ = jax.tree.flatten(ours(x, seq_lengths=jnp.zeros(3, int))[0])[0], None
    equal(h, jnp.zeros((3, 5)))


@CELLS
def test_noise_follows_rngs_eval_and_views(cells):
    x, rngs = inputs(), nnx.Rngs(0, dropout=1)
    untied = {} if cells[1] is jnx.SimpleCell else {"tied": False}
    cell = cells[1](4, 5, input_rate=0.5, recurrent_rate=0.3, **untied, rngs=rngs)
    rnn = jnx.RNN(cell, rngs=rngs)
    assert (rnn(x) != rnn(x)).any()
    key = jax.random.key(7)
    noise = cell.sample_noise(key, (3, 4), 6)
    equal(rnn(x, rngs=jax.random.clone(key)), rnn(x, noise=noise))
    plain = rnn(x, deterministic=True)
    assert (plain != rnn(x, noise=noise)).any()
    equal(nnx.view(rnn, deterministic=True)(x), plain)
    rnn.eval()
    equal(rnn(x), plain)
    rnn.train()
    compiled = nnx.jit(lambda rnn, x: rnn(x))
    assert (compiled(rnn, x) != compiled(rnn, x)).any()
    gradient = nnx.grad(lambda rnn: (rnn(x) ** 2).sum())(rnn)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_a_residual_cell_is_that_of_flax():
    x = inputs()
    theirs, ours = (
        rnn(cell(4, 5, residual=True, rngs=nnx.Rngs(0)))
        for rnn, cell in ((nnx.RNN, nnx.SimpleCell), (jnx.RNN, jnx.SimpleCell))
    )
    equal(ours(x), theirs(x), 3e-7)
    ours.cell.residual = False
    assert (ours(x) != theirs(x)).any()


def test_zoneout_takes_its_expectation():
    x, rngs = inputs(), nnx.Rngs(0)
    rates = {"zoneout_hidden": 0.4, "zoneout_cell": 0.2}
    cell = jnx.LSTMCell(4, 5, **rates, rngs=rngs)
    rnn = jnx.RNN(cell, deterministic=True, rngs=rngs)
    carry = cell.initialize_carry((3, 4), rngs)
    ys = []
    for t in range(6):
        (c, h), _ = nnx.LSTMCell.__call__(cell, carry, x[:, t]), None
        (new_c, new_h), _ = c, h
        c = 0.2 * carry[0] + 0.8 * new_c
        h = 0.4 * carry[1] + 0.6 * new_h
        carry = (c, h)
        ys.append(h)
    equal(rnn(x), jnp.stack(ys, 1), 1e-6)


def test_other_cells_run_as_in_flax():
    x = inputs()
    cell = nnx.SimpleCell(4, 5, rngs=nnx.Rngs(0))
    equal(jnx.RNN(cell)(x), nnx.RNN(cell)(x))
    none, lengths = jnp.zeros(3, int), jnp.array([[1, 6, 4]])
    carry, _ = jnx.RNN(cell, return_carry=True)(x, seq_lengths=none)
    equal(carry, jnp.zeros((3, 5)))
    cut, y = jnx.RNN(cell, return_carry=True)(x[None], seq_lengths=lengths)
    equal(cut[0], jnp.stack([y[0, 0, 0], y[0, 1, 5], y[0, 2, 3]]))
    with pytest.raises(TypeError, match="has no noise"):
        jnx.RNN(cell)(x, noise=jnx.LSTMCell(4, 5, rngs=nnx.Rngs(0)).expected_noise())


def test_errors():
    x, rngs = inputs(), nnx.Rngs(0)
    with pytest.raises(ValueError, match=r"GRUCell: weight_rate must be in \[0, 1\]"):
        jnx.GRUCell(4, 5, weight_rate=1.5, rngs=rngs)
    cell = jnx.LSTMCell(4, 5, output_rate=0.5, rngs=rngs)
    with pytest.raises(ValueError, match="no `rngs` argument"):
        jnx.RNN(cell)(x)
    with pytest.raises(ValueError, match="deterministic is missing"):
        jnx.RNN(cell, deterministic=None, rngs=rngs)(x)
    with pytest.raises(TypeError, match=r"RNN: rngs must be .*got 'key'"):
        jnx.RNN(cell)(x, rngs="key")


@CELLS
def test_the_initial_carry_takes_a_key_only_if_it_needs_one(cells):
    """One of zeros does not: so a layer is a function of the key that it is given."""
    x, key = inputs(), jax.random.key(7)
    rngs = nnx.Rngs(0)
    rnn = jnx.RNN(cells[1](4, 5, input_rate=0.5, rngs=rngs), rngs=rngs)
    count = rnn.rngs.count[...]
    # in traces that did not make the streams, and so must not advance them
    samples = mc.predict(lambda k: rnn(x, rngs=k), key, 4)
    assert samples.shape == (4, 3, 6, 5) and samples.std(0).min() > 0
    plain = jax.jit(lambda x: rnn(x, deterministic=True))(x)
    equal(rnn(x, deterministic=True), plain, 1e-6)
    assert rnn.rngs.count[...] == count
    # so is one of a cell of flax
    other = jnx.RNN(nnx.SimpleCell(4, 5, rngs=rngs), rngs=rngs)
    samples = mc.predict(lambda k: other(x, rngs=k), jax.random.key(8), 2)
    equal(samples[0], samples[1])


def test_no_stream_named_carry_is_needed():
    x, rngs = inputs(), nnx.Rngs(0)
    cell = jnx.LSTMCell(4, 5, input_rate=0.5, rngs=rngs)
    rnn = jnx.RNN(cell, rngs=nnx.Rngs(dropout=1))
    assert (rnn(x) != rnn(x)).any()
    without = jnx.RNN(cell)
    equal(without(x, rngs=nnx.Rngs(dropout=2)), without(x, rngs=nnx.Rngs(dropout=2)))
    # where there is one, it is that of flax
    for streams in ({"default": 3}, {"carry": 3}):
        ours, theirs = (r(cell, rngs=nnx.Rngs(**streams)) for r in (jnx.RNN, nnx.RNN))
        assert (ours.rngs() == theirs.rngs()).all()


@pytest.mark.filterwarnings("ignore:carry_init is provided")
@pytest.mark.parametrize("make", [jnx.LSTMCell, nnx.SimpleCell])
def test_a_random_initial_carry_follows_the_key(make):
    x, rngs = inputs(), nnx.Rngs(0)
    rates = {"input_rate": 0.5} if make is jnx.LSTMCell else {}
    init = nnx.initializers.normal(1.0)
    cell = make(4, 5, carry_init=init, rngs=rngs, **rates)
    rnn = jnx.RNN(cell, rngs=rngs)
    assert (rnn(x, deterministic=True) != rnn(x, deterministic=True)).any()
    run = functools.partial(rnn, x, deterministic=True)
    samples = jax.vmap(lambda key: run(rngs=key))(jax.random.split(jax.random.key(3)))
    assert samples.std(0).min() > 0
    equal(run(rngs=jax.random.split(jax.random.key(3))[1]), samples[1], 1e-6)
