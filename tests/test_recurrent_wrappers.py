"""Wrappers of noise around cells, and the recurrent noise of TensorFlow and Keras."""

from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layers import NOISY, differ, equal, inputs, key

import jaxnoise.linen as jnn
import jaxnoise.recurrent as jr

pytestmark = pytest.mark.recurrent

GOLDEN = Path(__file__).parent / "golden"


def tensorflow():
    data = np.load(GOLDEN / "tf_dropout_wrapper.npz")
    for case in sorted({name.split("/")[0] for name in data.files}):
        names = [n for n in data.files if n.startswith(f"{case}/")]
        yield pytest.param({n.split("/")[1]: data[n] for n in names}, id=case)


def lstm_params(d):
    params = {f"i{gate}": {"kernel": d[f"i{gate}"]} for gate in "ifgo"}
    for gate in "ifgo":
        params[f"h{gate}"] = {"kernel": d[f"h{gate}"], "bias": d[f"b{gate}"]}
    return {"params": {"cell": params}}


@pytest.mark.parametrize("cell", [nn.LSTMCell, jnn.LSTMCell])
@pytest.mark.parametrize("run", list(tensorflow()))
def test_dropout_wrapper_is_that_of_tensorflow(run, cell):
    rates = [1 - float(keep) for keep in run["keep"]]
    wrapper = jnn.DropoutWrapper(cell(5), *rates)
    masks = [
        jnp.asarray(run[f"{place}_mask"] / keep) if keep < 1 else None
        for place, keep in zip(("input", "state", "output"), run["keep"], strict=True)
    ]
    state = None if masks[1] is None else (None, masks[1])
    noise = jnn.DropoutNoise(masks[0], state, masks[2])
    drawn = wrapper.sample_noise(key(), (3, 4), 6)
    assert jax.tree.map(jnp.shape, drawn) == jax.tree.map(jnp.shape, noise)
    rnn = jnn.RNN(wrapper, return_carry=True)
    (c, h), y = rnn.apply(
        lstm_params(run), run["x"], initial_carry=(run["c0"], run["h0"]), noise=noise
    )
    equal((c, h, y), (run["c"], run["h"], run["y"]), 1e-6)


def test_golden_numbers_of_tensorflow():
    ones = {"kernel": jnp.full((3, 3), 0.5)}
    params = {f"i{gate}": ones for gate in "ifgo"}
    for gate in "ifgo":
        params[f"h{gate}"] = {**ones, "bias": jnp.full(3, 1.0 if gate == "f" else 0.0)}
    x = jnp.stack([jnp.full((1, 3), 2.0), jnp.full((1, 3), 1.0)], axis=1)
    start = (jnp.full((1, 3), 0.1),) * 2
    wrapper = jnn.DropoutWrapper(jnn.LSTMCell(3), state_rate=0.5)
    rnn, variables = jnn.RNN(wrapper, return_carry=True), {"params": {"cell": params}}
    (c, _), y = rnn.apply(variables, x, initial_carry=start, deterministic=True)
    np.testing.assert_allclose(y[0, :, 0], [0.751109, 0.895509], atol=1e-6)
    np.testing.assert_allclose(c[0], [1.949385] * 3, atol=1e-6)
    dropped = jnn.DropoutNoise(state=(None, jnp.zeros((2, 1, 3))))
    (c, _), y = rnn.apply(variables, x, initial_carry=start, noise=dropped)
    np.testing.assert_allclose(y[0, :, 0], [0.751109, 0.766171], atol=1e-6)
    np.testing.assert_allclose(c[0], [1.713925] * 3, atol=1e-6)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_untied_masks_are_those_of_keras(name):
    data = np.load(GOLDEN / "keras_rnn.npz")
    d = {n.split("/")[1]: data[n] for n in data.files if n.startswith(name)}
    noise = jr.Noise(input=d["input_mask"], recurrent=d["recurrent_mask"])
    if name == "lstm":
        cell, params = jnn.LSTMCell(5, **NOISY, tied=False), lstm_params(d)
        start, end = (d["c0"], d["h0"]), (d["c"], d["h"])
    else:
        cell = jnn.GRUCell(5, **NOISY, tied=False)
        params = {f"i{g}": {"kernel": d[f"i{g}"], "bias": d[f"bi{g}"]} for g in "rzn"}
        params |= {f"h{g}": {"kernel": d[f"h{g}"]} for g in "rzn"}
        params["hn"]["bias"] = d["bhn"]
        params, start, end = {"params": {"cell": params}}, d["h0"], d["h"]
    drawn = cell.sample_noise(key(), (3, 4), 7)
    assert jax.tree.map(jnp.shape, drawn) == jax.tree.map(jnp.shape, noise)
    rnn = jnn.RNN(cell, return_carry=True)
    actual = rnn.apply(params, d["x"], initial_carry=start, noise=noise)
    equal(actual, (end, d["y"]), 1e-6)


WRAPPED = [
    (nn.LSTMCell, "dropout and zoneout"),
    (nn.GRUCell, "dropout and zoneout"),
    (nn.MGUCell, "dropout and zoneout"),
    (nn.SimpleCell, "zoneout"),
    (nn.LSTMCell, "variational"),
    (nn.GRUCell, "variational"),
]


@pytest.mark.parametrize(("cell", "wrapper"), WRAPPED)
def test_wrappers_around_any_cell(cell, wrapper):
    """Parameters stay where they are; rows cut by seq_lengths keep their last state."""
    wrap = {
        "variational": lambda c: jnn.DropoutWrapper(c, 0.2, 0.3, 0.4, variational=True),
        "zoneout": lambda c: jnn.ZoneoutWrapper(c, 0.3),
        "dropout and zoneout": lambda c: jnn.ZoneoutWrapper(
            jnn.DropoutWrapper(c, 0.2, 0.3, 0.4), 0.3
        ),
    }[wrapper]
    x, rnn = inputs(), jnn.RNN(wrap(cell(5)), return_carry=True)
    variables = rnn.init(key(), x, deterministic=True)
    equal(variables, nn.RNN(cell(5)).init(key(), x))
    noise = rnn.cell.sample_noise(key(1), (3, 4), 6)
    carry, y = rnn.apply(variables, x, noise=noise)
    again = rnn.apply(variables, x, deterministic=False, rng=key(1))
    equal((carry, y), again)
    differ(y, rnn.apply(variables, x, deterministic=True)[1])
    start = cell(5).initialize_carry(key(), (3, 4))
    lengths = jnp.array([0, 6, 6])
    cut, _ = rnn.apply(variables, x, noise=noise, seq_lengths=lengths)
    first, second = (jax.tree.map(lambda c, r=r: c[r], (cut, start)) for r in (0, 1))
    equal(*first)
    equal(second[0], jax.tree.map(lambda c: c[1], carry), 1e-6)


def test_wrapper_masks_are_shared_as_told():
    cell = nn.LSTMCell(5)
    step = jnn.DropoutWrapper(cell, 0.5, 0.5, 0.5).sample_noise(key(), (3, 4), 6)
    once = jnn.DropoutWrapper(cell, 0.5, 0.5, 0.5, True).sample_noise(key(), (3, 4), 6)
    assert jax.tree.map(jnp.shape, step) == jnn.DropoutNoise(
        (6, 3, 4), (None, (6, 3, 5)), (6, 3, 5)
    )
    assert jax.tree.map(jnp.shape, once) == jnn.DropoutNoise(
        (1, 4), (None, (1, 5)), (1, 5)
    )
    differ(step.state[1], step.output)
    everything = jnn.DropoutWrapper(
        cell, state_rate=0.5, state_filter=lambda carry: (True, True)
    ).sample_noise(key(), (3, 4), 6)
    assert everything.state[0].shape == (6, 3, 5)
    differ(*everything.state)


def test_conv_lstm_in_a_wrapper():
    x = inputs(2, 3, 4, 4, 2)
    cell = nn.ConvLSTMCell(3, (2, 2))
    wrapper = jnn.DropoutWrapper(cell, 0.2, 0.5, 0.4, variational=True)
    noise = wrapper.sample_noise(key(1), (2, 4, 4, 2), 3)
    assert jax.tree.map(jnp.shape, noise) == jnn.DropoutNoise(
        (1, 4, 4, 2), (None, (1, 4, 4, 3)), (1, 4, 4, 3)
    )
    rnn = jnn.RNN(wrapper, deterministic=False)
    y, _ = rnn.init_with_output({"params": key(), "dropout": key(2)}, x)
    assert y.shape == (2, 3, 4, 4, 3)
    assert ((y == 0) == (y[:1, :1] == 0)).all()


def test_zoneout_wrapper_is_the_zoneout_of_our_cells():
    rates = {"zoneout_hidden": 0.3, "zoneout_cell": 0.6}
    x = inputs()
    ours = jnn.RNN(jnn.LSTMCell(5, **rates), return_carry=True)
    wrapped = jnn.RNN(jnn.ZoneoutWrapper(nn.LSTMCell(5), **rates), return_carry=True)
    variables = ours.init(key(), x, deterministic=True)
    noise = ours.cell.sample_noise(key(1), (3, 4), 6)
    same = jnn.ZoneoutNoise(noise.zoneout_hidden, noise.zoneout_cell)
    equal(
        ours.apply(variables, x, noise=noise),
        wrapped.apply(variables, x, noise=same),
        1e-6,
    )
    evaluated = ours.apply(variables, x, deterministic=True)
    equal(evaluated, wrapped.apply(variables, x, deterministic=True), 1e-6)
    told = ours.cell.clone(deterministic=True)
    equal(evaluated, nn.RNN(told, return_carry=True).apply(variables, x), 1e-6)
    differ(evaluated, jnn.RNN(jnn.LSTMCell(5), return_carry=True).apply(variables, x))


def test_wrappers_in_wrappers_have_the_parameters_of_the_cell():
    """By themselves and in a setup, and the noise of all of them."""
    cell, x = nn.LSTMCell(5), inputs()[:, 0]
    carry = cell.initialize_carry(key(), x.shape)
    variables = cell.init(key(), carry, x)
    nested = jnn.DropoutWrapper(
        jnn.ZoneoutWrapper(jnn.DropoutWrapper(cell, output_rate=0.4), 0.2, 0.3), 0.5
    )

    class InSetup(nn.Module):
        def setup(self):
            self.cell = nested.clone()

        def __call__(self, *arguments):
            return self.cell(*arguments)

    started = nested.init(key(), carry, x, deterministic=True)
    jax.tree.map(np.testing.assert_array_equal, started, variables)
    noise = nested.sample_noise(key(1), x.shape)
    assert len(jax.tree.leaves(noise)) == 4
    alone = nested.apply(variables, carry, x, noise)
    inside = {"params": {"cell": variables["params"]}}
    within = InSetup().apply(inside, carry, x, noise)
    jax.tree.map(np.testing.assert_array_equal, alone, within)
    _, y = cell.apply(variables, carry, x)
    assert not (alone[1] == y).all()


def test_noise_of_another_wrapper():
    wrapped = nn.MGUCell(4)
    other = jnn.ZoneoutWrapper(wrapped, zoneout_hidden=0.1)
    noise = other.sample_noise(jax.random.key(0), (2, 3), 7)
    rnn = jnn.RNN(jnn.DropoutWrapper(wrapped, output_rate=0.5))
    message = "DropoutWrapper: noise must be a DropoutNoise, got ZoneoutNoise"
    with pytest.raises(TypeError, match=message):
        rnn.init(jax.random.key(1), jnp.ones((2, 7, 3)), noise=noise)
