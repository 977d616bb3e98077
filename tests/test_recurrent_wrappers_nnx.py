"""The wrappers of flax.nnx: the runs of TensorFlow, the noise and the bits of linen."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from layers import differ, equal, inputs, key
from test_recurrent_wrappers import tensorflow

import jaxnoise.linen as jnn
import jaxnoise.nnx as jnx
from jaxnoise import mc

pytestmark = pytest.mark.recurrent

GATES = {"i": "ii", "f": "if_", "g": "ig", "o": "io"}
RATES = {"input_rate": 0.2, "state_rate": 0.3, "output_rate": 0.4}


def lstm(make, kernels):
    """A cell of nnx with the kernels ii to ho and the biases bi to bo."""
    cell = make(4, 5, rngs=nnx.Rngs(0))
    if make is nnx.OptimizedLSTMCell:
        cell.dense_i.kernel[...] = np.hstack([kernels[f"i{g}"] for g in "ifgo"])
        cell.dense_h.kernel[...] = np.hstack([kernels[f"h{g}"] for g in "ifgo"])
        cell.dense_h.bias[...] = np.hstack([kernels[f"b{g}"] for g in "ifgo"])
        return cell
    for gate, name in GATES.items():
        getattr(cell, name).kernel[...] = kernels[f"i{gate}"]
        getattr(cell, f"h{gate}").kernel[...] = kernels[f"h{gate}"]
        getattr(cell, f"h{gate}").bias[...] = kernels[f"b{gate}"]
    return cell


LSTMS = [nnx.LSTMCell, nnx.OptimizedLSTMCell, jnx.LSTMCell]


@pytest.mark.parametrize("make", LSTMS, ids=["flax", "optimized", "ours"])
@pytest.mark.parametrize("run", list(tensorflow()))
def test_dropout_wrapper_is_that_of_tensorflow(run, make):
    rates = [1 - float(keep) for keep in run["keep"]]
    wrapper = jnx.DropoutWrapper(lstm(make, run), *rates)
    masks = [
        jnp.asarray(run[f"{place}_mask"] / keep) if keep < 1 else None
        for place, keep in zip(("input", "state", "output"), run["keep"], strict=True)
    ]
    state = None if masks[1] is None else (None, masks[1])
    noise = jnx.DropoutNoise(masks[0], state, masks[2])
    drawn = wrapper.sample_noise(key(), (3, 4), 6)
    assert jax.tree.map(jnp.shape, drawn) == jax.tree.map(jnp.shape, noise)
    rnn, start = jnx.RNN(wrapper, return_carry=True), (run["c0"], run["h0"])
    (c, h), y = rnn(run["x"], initial_carry=start, noise=noise)
    equal((c, h, y), (run["c"], run["h"], run["y"]), 1e-6)


def pair(name, dtype="float32"):
    """A cell of flax in linen, its variables, and one of nnx with the same values."""
    x = inputs()[:, 0].astype(dtype)
    of_linen = getattr(nn, name)(5, param_dtype=dtype)
    carry = of_linen.initialize_carry(key(), x.shape)
    variables = of_linen.init(key(), carry, x)
    params = variables["params"]
    if name == "LSTMCell":
        kernels = {f"{k}{g}": params[f"{k}{g}"]["kernel"] for k in "ih" for g in "ifgo"}
        kernels |= {f"b{g}": params[f"h{g}"]["bias"] for g in "ifgo"}
        return of_linen, variables, lstm(nnx.LSTMCell, kernels)
    cell = getattr(nnx, name)(4, 5, param_dtype=dtype, rngs=nnx.Rngs(0))
    gates = [""] if name == "SimpleCell" else list("rzn")
    for dense, layer in (("i", cell.dense_i), ("h", cell.dense_h)):
        layer.kernel[...] = jnp.hstack([params[dense + g]["kernel"] for g in gates])
    cell.dense_i.bias[...] = jnp.hstack([params["i" + g]["bias"] for g in gates])
    return of_linen, variables, cell


def wrapped(api, cell, how):
    if how == "variational":
        return api.DropoutWrapper(cell, 0.2, 0.3, 0.4, variational=True)
    if how == "zoneout":
        return api.ZoneoutWrapper(cell, 0.3)
    return api.ZoneoutWrapper(api.DropoutWrapper(cell, 0.2, 0.3, 0.4), 0.3)


# linen has a matmul for each gate of a GRU, nnx one for all: they differ by rounding
WRAPPED = [("LSTMCell", "both", 0), ("SimpleCell", "zoneout", 0)]
WRAPPED += [("LSTMCell", "variational", 0), ("GRUCell", "both", 1e-14)]


@pytest.mark.parametrize(("name", "how", "tolerance"), WRAPPED)
def test_noise_and_outputs_are_those_of_linen(name, how, tolerance):
    """To the bit, or in float64 where flax's own cells differ by rounding."""
    with jax.enable_x64(tolerance > 0):
        check_twins(name, how, tolerance, "float64" if tolerance else "float32")


def check_twins(name, how, tolerance, dtype):
    of_linen, variables, of_nnx = pair(name, dtype)
    x, params = inputs().astype(dtype), {"params": {"cell": variables["params"]}}
    theirs = jnn.RNN(wrapped(jnn, of_linen, how), return_carry=True)
    ours = jnx.RNN(wrapped(jnx, of_nnx, how), return_carry=True)
    noise = ours.cell.sample_noise(key(1), (3, 4), 6)
    equal(noise, theirs.cell.sample_noise(key(1), (3, 4), 6))
    given, options = ours(x, noise=noise), {"seq_lengths": jnp.array([0, 2, 6])}
    equal(given, ours(x, rngs=key(1)))
    differ(given, ours(x, deterministic=True))
    equal(given, theirs.apply(params, x, noise=noise), tolerance)
    options |= {"reverse": True, "keep_order": True, "noise": noise}
    cut = ours(x, **options)
    equal(cut, theirs.apply(params, x, **options), tolerance)
    equal(
        jax.tree.map(lambda c: c[0], cut[0]),
        jax.tree.map(lambda _: jnp.zeros(5), cut[0]),
    )
    off = theirs.apply(params, x, deterministic=True)
    equal(ours(x, deterministic=True), off, tolerance)


def make_noisy(rngs, **options):
    cell = jnx.LSTMCell(4, 5, recurrent_rate=0.3, rngs=rngs)
    wrapper = jnx.DropoutWrapper(cell, **RATES)
    return jnx.RNN(jnx.ZoneoutWrapper(wrapper, 0.2), rngs=rngs, **options)


def test_a_wrapper_draws_for_what_it_wraps():
    rnn, x = make_noisy(nnx.Rngs(0, dropout=1)), inputs()
    noise = rnn.cell.sample_noise(key(1), (3, 4), 6)
    assert len(jax.tree.leaves(noise)) == 5
    y = rnn(x, noise=noise)
    without = noise._replace(inner=noise.inner._replace(inner=None))
    differ(y, rnn(x, noise=without))
    # by hand, step by step
    each = rnn.cell.split_noise(noise, (3, 4), 6)[1]
    carry = rnn.cell.initialize_carry((3, 4), nnx.Rngs(0))
    for t in range(6):
        step = jax.tree.map(lambda mask, t=t: mask[t], each)
        inside = noise.inner.inner
        step = step._replace(inner=step.inner._replace(inner=inside))
        carry, out = rnn.cell(carry, x[:, t], step)
        equal(out, y[:, t], 1e-6)


def test_noise_follows_rngs_eval_views_and_transformations():
    x, rngs = inputs(), nnx.Rngs(0, dropout=1)
    rnn = make_noisy(rngs)
    plain = rnn(x, deterministic=True)
    assert (rnn(x) != rnn(x)).any()
    given = rnn(x, rngs=key(7))
    equal(given, rnn(x, rngs=key(7)))
    equal(nnx.view(rnn, deterministic=True)(x), plain)
    copied = nnx.clone(rnn)
    equal(copied(x), rnn(x))
    rnn.eval()
    assert rnn.cell.cell.deterministic and rnn.cell.cell.cell.deterministic
    equal(rnn(x), plain)
    equal(nnx.RNN(rnn.cell)(x), plain, 1e-6)
    equal(rnn(x, deterministic=False, rngs=key(7)), given)
    rnn.train()
    graph, state = nnx.split(rnn)
    merged = jax.jit(lambda state: nnx.merge(graph, state)(x, rngs=key(7)))
    equal(merged(state), given, 1e-6)
    compiled = nnx.jit(lambda rnn: rnn(x))
    assert (compiled(rnn) != compiled(rnn)).any()
    # closed over, in a trace that did not make it
    samples = mc.predict(lambda k: rnn(x, rngs=k), key(), 2)
    assert (samples[0] != samples[1]).any()
    gradient = nnx.grad(lambda rnn: (rnn(x, rngs=key(7)) ** 2).sum())(rnn)
    leaves = jax.tree.leaves(gradient)
    assert len(leaves) == 12 and all(np.isfinite(leaf).all() for leaf in leaves)
    assert all((leaf != 0).any() for leaf in leaves)


def test_rates_that_are_arrays_and_those_of_0():
    x, rngs = inputs(), nnx.Rngs(0)
    cell = nnx.GRUCell(4, 5, rngs=rngs)
    rnn = jnx.RNN(jnx.DropoutWrapper(cell, jnp.float32(0.5)))
    known = jnx.RNN(jnx.DropoutWrapper(cell, 0.5))
    equal(jax.jit(lambda k: rnn(x, rngs=k))(key(1)), known(x, rngs=key(1)), 1e-6)
    assert rnn.cell.input_rate == 0.5
    off = jnx.RNN(jnx.ZoneoutWrapper(jnx.DropoutWrapper(cell)))
    equal(off(x), jnx.RNN(cell)(x))
    equal(off(x), nnx.RNN(cell)(x))


class Counting(nnx.SimpleCell):
    """A cell with a state of its own, and a draw of its own for each step."""

    def __init__(self, rngs):
        super().__init__(4, 5, rngs=rngs)
        self.steps, self.noise = nnx.BatchStat(jnp.zeros(())), rngs.own.fork()

    def __call__(self, carry, inputs):
        self.steps[...] += 1
        carry, _ = super().__call__(carry, inputs)
        return carry, jax.random.normal(self.noise(), carry.shape)


def test_the_state_of_a_wrapped_cell_is_kept():
    cell, x = Counting(nnx.Rngs(0, own=1)), inputs()
    rnn = jnx.RNN(jnx.DropoutWrapper(cell))
    y, again = rnn(x), rnn(x)
    assert cell.steps[...] == 12 and len(np.unique(y)) == y.size
    differ(y, again)
    theirs = nnx.RNN(Counting(nnx.Rngs(0, own=1)))
    equal((y, again), (theirs(x), theirs(x)))
    broadcast = jnx.RNN(jnx.DropoutWrapper(cell), broadcast_rngs="own")
    y = broadcast(x)
    equal(y, jnp.broadcast_to(y[:, :1], y.shape))


def test_errors():
    rngs, x = nnx.Rngs(0), inputs()
    cell = nnx.GRUCell(4, 5, rngs=rngs)
    with pytest.raises(ValueError, match=r"DropoutWrapper: state_rate must be in \[0"):
        jnx.DropoutWrapper(cell, state_rate=-1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'stat_rate'"):
        jnx.DropoutWrapper(cell, stat_rate=0.1)  # pyright: ignore[reportCallIssue]
    with pytest.raises(ValueError, match="ZoneoutWrapper: zoneout_cell must be 0"):
        jnx.RNN(jnx.ZoneoutWrapper(cell, 0.1, 0.1))(x, rngs=key())
    noise = jnx.ZoneoutWrapper(cell, 0.1).sample_noise(key(), (3, 4), 6)
    rnn = jnx.RNN(jnx.DropoutWrapper(cell, 0.5))
    message = "DropoutWrapper: noise must be a DropoutNoise, got ZoneoutNoise"
    with pytest.raises(TypeError, match=message):
        rnn(x, noise=noise)
    with pytest.raises(ValueError, match=r"noise\.input must have at most 2 dims, or"):
        rnn(x, noise=rnn.cell.sample_noise(key(), (3, 4), 5))
    with pytest.raises(
        ValueError, match="RNN: `deterministic` is False, but no `rngs`"
    ):
        rnn(x)
    told = jnx.GRUCell(4, 5, input_rate=0.5, deterministic=True, rngs=rngs)
    with pytest.raises(ValueError, match="DropoutWrapper: deterministic of the cell"):
        jnx.DropoutWrapper(told, 0.5)
