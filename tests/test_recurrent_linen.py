"""The flax.linen cells, RNN, wrappers and Embed against flax, TensorFlow and Keras."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import errors
from layers import NOISY, differ, equal, inputs, key

import jaxnoise as jn
import jaxnoise.linen as jnn
import jaxnoise.recurrent as jr

pytestmark = pytest.mark.recurrent
CELLS = {
    "lstm": (nn.OptimizedLSTMCell, jnn.LSTMCell),
    "lstm, gate by gate": (nn.LSTMCell, jnn.LSTMCell),
    "gru": (nn.GRUCell, jnn.GRUCell),
    "simple": (nn.SimpleCell, jnn.SimpleCell),
}
BOTH = pytest.mark.parametrize("cells", CELLS.values(), ids=CELLS)


@BOTH
def test_parameters_and_outputs_are_those_of_flax(cells):
    theirs, ours = (nn.RNN(cells[0](5)), jnn.RNN(cells[1](5)))
    x, lengths = inputs(), jnp.array([1, 4, 6])
    with jax.numpy_dtype_promotion("strict"):
        variables = theirs.init(key(), x)
        mine = ours.init(key(), x)
    assert jax.tree.structure(variables) == jax.tree.structure(mine)
    equal(variables, mine)
    for options in (
        {},
        {"seq_lengths": lengths, "return_carry": True},
        {"reverse": True, "return_carry": True},
        {"reverse": True, "keep_order": True, "seq_lengths": lengths},
        {"time_major": True, "return_carry": True},
    ):
        expected = theirs.apply(variables, x, **options)
        with jax.numpy_dtype_promotion("strict"):
            actual = ours.apply(variables, x, **options)
        equal(actual, expected, 3e-7)
    equal(nn.RNN(cells[1](5)).apply(mine, x), ours.apply(mine, x), 5e-7)


def test_options_of_the_cells_are_those_of_flax():
    x = inputs()
    options = {
        "gate_fn": nn.hard_sigmoid,
        "activation_fn": nn.relu,
        "kernel_init": nn.initializers.normal(0.2),
        "recurrent_kernel_init": nn.initializers.normal(0.3),
        "bias_init": nn.initializers.normal(0.1),
        "carry_init": nn.initializers.ones_init(),
    }
    for theirs, ours in list(CELLS.values())[1:]:
        some = {k: v for k, v in options.items() if hasattr(ours, k)}
        # flax' simple cell does not run in bfloat16: its carry changes its dtype
        for dtype in (None,) if ours is jnn.SimpleCell else (None, jnp.bfloat16):
            a, b = nn.RNN(theirs(5, dtype=dtype, **some)), ours(5, dtype=dtype, **some)
            variables = a.init(key(), x)
            equal(variables, jnn.RNN(b).init(key(), x))
            expected, actual = a.apply(variables, x), jnn.RNN(b).apply(variables, x)
            assert actual.dtype == expected.dtype
            equal(actual, expected, 0.05 if dtype else 1e-6)
        small = ours(5, param_dtype=jnp.bfloat16, **some)
        variables = jnn.RNN(small).init(key(), x.astype(jnp.bfloat16))
        assert {str(leaf.dtype) for leaf in jax.tree.leaves(variables)} == {"bfloat16"}


def test_parameters_of_each_step():
    """`variable_axes` and its like work with noise, as in a loop over the steps."""
    x, cell = inputs(3, 2, 4), jnn.GRUCell(5, **NOISY, zoneout_hidden=0.2)
    rnn = jnn.RNN(
        cell,
        variable_axes={"params": 0},
        variable_broadcast=False,
        split_rngs={"params": True},
    )
    variables = rnn.init(key(), x, deterministic=True)
    noise = cell.sample_noise(key(1), (3, 4), 2)
    y = rnn.apply(variables, x, noise=noise)
    carry = jnp.zeros((3, 5))
    for t in range(2):
        params = jax.tree.map(lambda p, t=t: p[t], variables["params"]["cell"])
        masks = noise._replace(zoneout_hidden=noise.zoneout_hidden[t])
        carry, step = cell.apply({"params": params}, carry, x[:, t], masks)
        equal(y[:, t], step, 1e-6)


def test_residual_simple_cell():
    x = inputs()
    theirs, ours = (
        rnn(c(5, residual=True))
        for rnn, c in ((nn.RNN, nn.SimpleCell), (jnn.RNN, jnn.SimpleCell))
    )
    variables = theirs.init(key(), x)

    def gradient(rnn):
        return jax.grad(lambda v: (rnn.apply(v, x) ** 2).sum())(variables)

    equal(gradient(ours), gradient(theirs), 1e-5)


@BOTH
@pytest.mark.parametrize("batch", [(), (2, 2)])
def test_sequences_end_where_they_end(cells, batch):
    """The carry of each row is that of the row stepped alone, up to its length."""
    x = inputs(*batch, 6, 4)
    lengths = np.resize([0, 4, 1, 6], batch) if batch else np.array(3)
    for cell in (cells[1](5), cells[0](5)):
        rnn = jnn.RNN(cell, return_carry=True)
        variables = rnn.init(key(), x)
        start = cell.initialize_carry(key(), (*batch, 4))
        start = jax.tree.map(lambda c: c + 0.5, start)
        carry, _ = rnn.apply(variables, x, seq_lengths=lengths, initial_carry=start)
        params = {"params": variables["params"]["cell"]}
        for row in np.ndindex(*batch):
            alone = jax.tree.map(lambda c, row=row: c[row], start)
            for t in range(lengths[row]):
                alone, _ = cell.apply(params, alone, x[row][t])
            equal(jax.tree.map(lambda c, row=row: c[row], carry), alone, 1e-6)


def test_history_of_the_carry_is_not_kept_for_seq_lengths():
    rnn, x = jnn.RNN(nn.GRUCell(5), return_carry=True), inputs(3, 40, 4)
    variables = rnn.init(key(), x)
    run = jax.make_jaxpr(lambda x, n: rnn.apply(variables, x, seq_lengths=n)[0])
    text = str(run(x, jnp.array([1, 2, 3])))
    assert "40,3,5" in text.replace(" ", "") and text.count("f32[40,3,5]") <= 2


def test_the_document_that_started_this_project():
    """Outputs of `DropoutWrapper(cell, output_rate=0.5)` are 0 or twice the others."""
    x = jnp.arange(1.0, 11.0).reshape(5, 1, 2)
    wrapper = jnn.DropoutWrapper(nn.LSTMCell(4), output_rate=0.5)
    rnn = jnn.RNN(wrapper, return_carry=True)
    params = rnn.init(key(), x, deterministic=True)
    state, plain = rnn.apply(params, x, deterministic=True)
    noisy_state, y = rnn.apply(params, x, deterministic=False, rng=key(1))
    assert 0 < (y == 0).mean() < 1
    np.testing.assert_allclose(y[y != 0], (plain / 0.5)[y != 0], rtol=1e-6)
    equal(noisy_state, state)


class Stack(nn.Module):
    """Two layers, the second in both directions."""

    @nn.compact
    def __call__(self, x, train):
        def rnn():
            return jnn.RNN(jnn.GRUCell(4, output_rate=0.5), deterministic=not train)

        y = rnn()(x)
        return y, nn.Bidirectional(rnn(), rnn())(x)


def test_layers_directions_and_calls_have_masks_of_their_own():
    x, model = inputs(20, 3, 4), Stack()
    variables = model.init(key(), x, False)
    plain = model.apply(variables, x, False)
    train = [model.apply(variables, x, True, rngs={"dropout": key(n)}) for n in (1, 2)]
    first, both = (np.asarray(y) == 0 for y in train[0])
    masks = [first, both[..., :4], both[..., 4:]]
    for mask in masks:
        assert (mask == mask[:, :1]).all()  # one mask for all steps
        assert (mask[1:] != mask[:1]).any()  # one for each row
    masks = [mask[:, 0] for mask in masks]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert (masks[one] != masks[other]).any()
    differ(*train)
    equal(train[0], model.apply(variables, x, True, rngs={"dropout": key(1)}))
    differ(plain, train[0])


def test_noise_is_the_one_given_and_repeats():
    cell = jnn.LSTMCell(5, **NOISY, zoneout_cell=0.2)
    rnn, x = jnn.RNN(cell, return_carry=True), inputs()
    variables = rnn.init(key(), x, deterministic=True)
    noise = cell.sample_noise(key(1), (3, 4), 6)
    whole = rnn.apply(variables, x, noise=noise)
    equal(whole, rnn.apply(variables, x, deterministic=False, rng=key(1)))
    halves, carry = [], None
    for steps in (slice(0, 3), slice(3, 6)):
        part = noise._replace(zoneout_cell=noise.zoneout_cell[steps])
        carry, y = rnn.apply(variables, x[:, steps], initial_carry=carry, noise=part)
        halves.append(y)
    equal((carry, jnp.concatenate(halves, 1)), whole, 1e-6)
    keys = jax.random.split(key(3), 4)
    draws = jax.vmap(lambda k: rnn.apply(variables, x, deterministic=False, rng=k)[1])
    assert draws(keys).std(0).min() > 0


def test_rates_may_be_traced():
    x, traces = inputs(), []
    variables = jnn.RNN(jnn.LSTMCell(5)).init(key(), x)

    @jax.jit
    def run(rate, rng):
        traces.append(rate)
        rnn = jnn.RNN(jnn.LSTMCell(5, input_rate=rate, recurrent_rate=rate))
        return rnn.apply(variables, x, deterministic=False, rng=rng)

    for rate in (0.0, 0.5):
        rnn = jnn.RNN(jnn.LSTMCell(5, input_rate=rate, recurrent_rate=rate))
        known = rnn.apply(variables, x, deterministic=False, rng=key(1))
        equal(run(rate, key(1)), known, 1e-6)
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("params", "masks"),
    [("float64", "float64"), ("float32", "float32"), ("bfloat16", "float32")],
)
def test_masks_are_as_precise_as_the_parameters_and_float32_at_least(params, masks):
    with jax.enable_x64(True):
        cell = jnn.LSTMCell(5, **NOISY, zoneout_cell=0.2, param_dtype=jnp.dtype(params))
        drawn = cell.sample_noise(key(), (3, 4)), cell.expected_noise()
    assert {str(mask.dtype) for mask in jax.tree.leaves(drawn)} == {masks}


def test_forward_mode_of_the_layer():
    x = inputs()
    rnn = jnn.RNN(jnn.GRUCell(5), forward_mode=True)
    variables = rnn.init(key(), x)
    jax.jvp(lambda x: rnn.apply(variables, x), (x,), (x,))
    slow = jnn.RNN(jnn.GRUCell(5))
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda x: slow.apply(variables, x), (x,), (x,))


def test_errors():
    x, noisy = inputs(), jnn.RNN(jnn.LSTMCell(5, **NOISY))
    variables = noisy.init(key(), x, deterministic=True)
    with pytest.raises(
        ValueError, match=r"LSTMCell: recurrent_rate must be in \[0, 1\]"
    ):
        jnn.LSTMCell(5, recurrent_rate=1.2)
    with pytest.raises(ValueError, match=r"DropoutWrapper: state_rate must be in"):
        jnn.DropoutWrapper(nn.LSTMCell(5), state_rate=-1)
    with pytest.raises(ValueError, match="deterministic is missing"):
        noisy.apply(variables, x)
    with pytest.raises(ValueError, match="deterministic was given twice"):
        jnn.RNN(noisy.cell, deterministic=True).apply(variables, x, deterministic=True)
    with pytest.raises(errors.InvalidRngError):
        noisy.apply(variables, x, deterministic=False)
    with pytest.raises(ValueError, match="at least one step"):
        noisy.apply(variables, x[:, :0], deterministic=True)
    with pytest.raises(ValueError, match="feature dim"):
        noisy.apply(variables, x[0, 0], deterministic=True)
    with pytest.raises(ValueError, match=r"noise\.recurrent must broadcast"):
        bad = jr.Noise(recurrent=jnp.ones((2, 5)))
        noisy.apply(variables, x, noise=bad)
    with pytest.raises(ValueError, match="LSTMCell: noise must be None beside a key"):
        bound = noisy.bind(variables).cell
        carry, xs = bound.initialize_carry(key(), x[:, 0].shape), x.swapaxes(0, 1)
        bound.run(carry, xs, bound.expected_noise(), key=key())
    with pytest.raises(ValueError, match="seq_lengths must be in"):
        noisy.apply(variables, x, deterministic=True, seq_lengths=np.array([1, 2, 7]))
    with pytest.raises(TypeError, match="has no noise"):
        jnn.RNN(nn.GRUCell(5)).apply(variables, x, noise=jr.Noise())
    with pytest.raises(TypeError, match="sample_noise of the wrapper"):
        wrapped = jnn.RNN(jnn.DropoutWrapper(nn.LSTMCell(5), 0.5))
        wrapped.apply(variables, x, noise=jr.Noise())
    with pytest.raises(ValueError, match="zoneout_cell must be 0"):
        jnn.ZoneoutWrapper(nn.GRUCell(5), 0.1, 0.1).sample_noise(key(), (3, 4))


def test_embedding_dropout_drops_words():
    table = jax.random.normal(key(), (2000, 8))
    y = jn.embedding_dropout(key(1), table, 0.3)
    expected = jn.dropout(key(1), table, 0.3, broadcast_dims=(1,))
    np.testing.assert_array_equal(y, expected)
    dropped = np.asarray(y == 0)
    assert (dropped == dropped[:, :1]).all() and 0.2 < dropped[:, 0].mean() < 0.4
    with pytest.raises(ValueError, match=r"embedding_dropout: rate must be in"):
        jn.embedding_dropout(key(), table, 2.0)
    with pytest.raises(ValueError, match=r"table must be .* got shape \(\)"):
        jn.embedding_dropout(key(), jnp.float32(1), 0.5)


@pytest.mark.parametrize("size", [1, 7])
def test_embed_is_that_of_flax_on_a_dropped_table(size):
    words = jnp.arange(6).reshape(2, 3) % size
    ours = jnn.Embed(size, 4, rate=0.5)
    variables = ours.init(key(), words, deterministic=True)
    theirs = nn.Embed(size, 4)
    equal(variables, theirs.init(key(), words))
    plain = theirs.apply(variables, words)
    equal(ours.apply(variables, words, deterministic=True), plain)
    equal(jnn.Embed(size, 4).apply(variables, words), plain)
    table = jn.embedding_dropout(key(1), variables["params"]["embedding"], 0.5)
    y = ours.apply(variables, words, deterministic=False, rng=key(1))
    equal(y, table[words])
    query = jnp.ones((2, 4))
    equal(
        ours.apply(variables, query, method="attend"),
        theirs.apply(variables, query, method="attend"),
    )
    with pytest.raises(ValueError, match="rate must be in"):
        jnn.Embed(size, 4, rate=-0.5)
    with pytest.raises(ValueError, match="integers"):
        ours.apply(variables, query, deterministic=False, rng=key())


def test_methods_of_cells_are_seen_by_flax():
    """Shared with nnx, they must still be methods of a module: scopes, interceptors."""
    seen = []

    def note(method, args, kwargs, context):
        seen.append((type(context.module).__name__, context.method_name))
        return method(*args, **kwargs)

    with nn.intercept_methods(note):
        jnn.RNN(jnn.LSTMCell(4)).init(jax.random.key(0), jnp.ones((2, 7, 3)))
    assert ("LSTMCell", "run") in seen
