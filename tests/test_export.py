"""All that draws as an artefact for four platforms, and its bits when it is loaded.

`jax.export` lowers for platforms that this machine does not have. The artefact is
written out and read again, and what it computes here is what the function computes.
Where sizes are symbols, one artefact serves all sizes, with the bits of each.
"""

import functools
from typing import Any

import catalogue
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import export

import jaxnoise as jn
import jaxnoise.linen as jnn
import jaxnoise.nnx as jnx
from jaxnoise import learned, losses, mc, recurrent, tree
from jaxnoise.testing import CASES
from jaxnoise.testing._transforms import PLATFORMS
from jaxnoise.testing._weight_cases import WEIGHT_CASES

pytestmark = pytest.mark.export

X = np.linspace(0.5, 2, 4 * 6 * 5 * 8, dtype=np.float32).reshape(4, 6, 5, 8)
WIDTH = X.shape[-1]
RUN = ("LSTMCell, all untied, per step", "DropoutWrapper")
LOWERED = ("LSTMCell, all batch shared", "GRUCell, all untied, per step")
LOWERED += ("SimpleCell, all per step", "DropoutWrapper, variational", "ZoneoutWrapper")
LOWERED += ("nnx.LSTMCell, all per sequence", "nnx.GRUCell, all per sequence")
FAMILIES = {
    "functions": (catalogue.functions, X),
    "linen, with parameters": (lambda: catalogue.dense(WIDTH, "linen"), X[:, 0, 0]),
    "sequences": (lambda: catalogue.sequences(WIDTH, RUN), X[:, 0]),
}
ONLY_LOWERED = {
    "linen": (lambda: catalogue.layers("linen"), X),
    "nnx": (lambda: catalogue.layers("nnx"), X),
    "nnx, with parameters": (lambda: catalogue.dense(WIDTH, "nnx"), X[:, 0, 0]),
    "sequences": (lambda: catalogue.sequences(WIDTH, LOWERED), X[:, 0]),
}


def output_and_gradients(row, parameters, key, x):
    """The output, and the gradient of the sum of its squares by all that has one."""

    def loss(parameters, x):
        if isinstance(row, catalogue.Parametric):
            y = row.apply(parameters, key, x)
        else:
            y = row(key, x)
        return jnp.sum(y.astype(np.float32) ** 2), y

    gradients, y = jax.grad(loss, argnums=(0, 1), has_aux=True)(parameters, x)
    return y, gradients


def program_of(rows):
    """One function with the outputs and gradients of all rows, and its parameters."""
    parameters = {
        name: jax.tree.leaves(row.parameters)
        for name, row in rows.items()
        if isinstance(row, catalogue.Parametric)
    }

    # leaves and key data: the format of an artefact knows no classes but JAX's own
    @jax.jit
    def program(parameters, data, x):
        found = {}
        for name, row in rows.items():
            own: Any = ()
            if isinstance(row, catalogue.Parametric):
                structure = jax.tree.structure(row.parameters)
                own = jax.tree.unflatten(structure, parameters[name])
            key = jax.random.wrap_key_data(data)
            y, gradients = output_and_gradients(row, own, key, x)
            found[name] = [y, *jax.tree.leaves(gradients)]
        return found

    return program, parameters


@pytest.mark.parametrize("family", FAMILIES)
def test_an_artefact_for_all_platforms_gives_the_same_bits(family):
    make, x = FAMILIES[family]
    program, parameters = program_of(make())
    arguments = parameters, np.asarray([1, 2], np.uint32), x
    artefact = export.export(program, platforms=PLATFORMS)(*arguments).serialize()
    loaded = export.deserialize(artefact)
    assert loaded.platforms == PLATFORMS
    found, expected = loaded.call(*arguments), program(*arguments)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        for ours, value in zip(found[name], values, strict=True):
            assert_equal(ours, value, name)


def assert_equal(found, expected, name):
    """To the bit; what is rounded as in the laws, to 4 ulps of the largest value."""
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape), name
    error = np.abs(np.asarray(found) - np.asarray(expected)).max(initial=0)
    size = np.abs(np.asarray(expected)).max(initial=1)
    rounded = catalogue.is_rounded(name) or name in SUMS
    bound = 4 * np.finfo(np.float32).eps * size if rounded else 0
    assert error <= bound, (name, error)


@pytest.mark.parametrize("family", ONLY_LOWERED)
def test_the_others_lower_for_all_platforms(family):
    """Layers over the same functions, and the other cells and ways of sharing."""
    make, x = ONLY_LOWERED[family]
    rows = make()
    program, parameters = program_of(rows)
    arguments = parameters, np.asarray([1, 2], np.uint32), x
    exported = export.export(program, platforms=PLATFORMS)(*arguments)
    assert exported.platforms == PLATFORMS
    # an output for each row, and the gradient of x with it
    assert len(exported.out_avals) >= 2 * len(rows)


def _step(function, gates, key, x):
    """A single step of a recurrent function, with noise."""
    h, ones = jnp.zeros((x.shape[0], 4)), jnp.ones((WIDTH + 5, 4 * gates))
    weights = recurrent.Weights(ones[:WIDTH], ones[WIDTH:-1], ones[-1])
    options = {"gates": gates, "recurrent_rate": 0.5}
    noise = recurrent.sample_noise(key, (x.shape[0], WIDTH), 4, **options)
    return function(weights, (h, h) if gates == 4 else h, x[:, 0] - 1, noise)[1]


def _backwards(key, x):
    """A sequence that is reversed within lengths of its own."""
    rnn = jnn.RNN(jnn.SimpleCell(4, input_rate=0.5), reverse=True, keep_order=True)
    layer = catalogue.linen(rnn, jnp.ones((1, 1, WIDTH)))
    options = {"deterministic": False, "rng": key, "seq_lengths": _lengths(x)}
    return rnn.apply(layer.parameters, x, **options)


def _lengths(x):
    return (x[..., 0] > 1).sum(1)


def _attention(key, x, **options):
    """Of each time with each, for two heads."""
    q = x.reshape(*x.shape[:-1], 2, -1)
    y = jn.dot_product_attention(key, q, jnp.sin(q), jnp.cos(q), 0.5, **options)
    return y.reshape(x.shape)


def _layer_of_attention(api, block_size, key, x):
    """Of flax, with an `attention_fn` of ours."""
    attend = functools.partial(api.dot_product_attention, block_size=block_size)
    own: Any = {"dropout_rate": 0.5, "deterministic": False, "attention_fn": attend}
    own["kernel_init"] = _some_kernel
    if api is jnn:
        layer = nn.MultiHeadDotProductAttention(2, **own)
        return layer.init_with_output({"params": key, "dropout": key}, x)[0]
    own |= {"decode": False, "rngs": nnx.Rngs(0)}
    layer = nnx.MultiHeadAttention(2, WIDTH, **own)
    return layer(x, rngs=nnx.Rngs(dropout=key))


def _some_kernel(key, shape, *dtype):
    return np.sin(np.arange(np.prod(shape), dtype=np.float32)).reshape(shape)


# functions of (key, x) for what the catalogue lacks, or has with time known alone
ELSEWHERE = {
    "neftune_noise": lambda k, x: jn.neftune_noise(k, x, 5),
    "neftune_noise, lengths": lambda k, x: jn.neftune_noise(
        k, x, 5, lengths=_lengths(x)
    ),
    "drop_block": lambda k, x: jn.drop_block(k, x, 0.3, 3),
    "tree.mask, tree.apply_mask": lambda k, x: tree.apply_mask(
        [x], tree.mask(k, [x], 0.5), 0.5
    )[0],
    "losses.ar": lambda k, x: losses.ar(x, 2),
    "losses.tar": lambda k, x: losses.tar(x, 1),
    "losses.r_drop": lambda k, x: losses.r_drop(x, 2 * x),
    "losses.fraternal": lambda k, x: losses.fraternal(x, 2 * x, axis=1),
    "mc.predict": lambda k, x: mc.predict(
        lambda k: jn.dropout(k, x, 0.5), k, 3, chunk=2
    ),
    "mc.mean": lambda k, x: mc.mean(x),
    "mc.std": lambda k, x: mc.std(x, ddof=1),
    "mc.predictive_entropy": lambda k, x: mc.predictive_entropy(x, from_logits=True),
    "mc.mutual_information": lambda k, x: mc.mutual_information(x, from_logits=True),
    "mc.variation_ratio": lambda k, x: mc.variation_ratio(x),
    "mc.expected_calibration_error": lambda k, x: mc.expected_calibration_error(
        x, x.argmin(-1), from_logits=True
    ),
    "learned.variational_kl": lambda k, x: learned.variational_kl(x),
    "learned.gaussian_kl": lambda k, x: learned.gaussian_kl(x, -1.0, 1),
    "learned.prune": lambda k, x: learned.prune(x, -1.0),
    "learned.sparsity": lambda k, x: learned.sparsity(x, -1.0),
    "learned.sparse_log_alpha": lambda k, x: learned.sparse_log_alpha(x, -1.0),
    "learned.concrete_dropout_regularizer": (
        lambda k, x: learned.concrete_dropout_regularizer(0, x, 1)
    ),
    "recurrent.lstm_step": functools.partial(_step, recurrent.lstm_step, 4),
    "recurrent.gru_step": functools.partial(_step, recurrent.gru_step, 3),
    "recurrent.simple_step": functools.partial(_step, recurrent.simple_step, 1),
    "seq_lengths": _backwards,
    "dot_product_attention": lambda k, x: _attention(k, x, bits=8),
    "dot_product_attention, blocks": lambda k, x: _attention(
        k, x, block_size=2, bits=8, key_value_seq_lengths=_lengths(x)
    ),
    "dot_product_attention, blocks, keys": lambda k, x: _attention(
        k, x, block_size=4, drop="keys", is_causal=True
    ),
    "linen.dot_product_attention": functools.partial(_layer_of_attention, jnn, 4),
    "nnx.dot_product_attention": functools.partial(_layer_of_attention, jnx, None),
}
# of these the gradients are sums, which XLA may fuse
SUMS = ("mc.predictive_entropy", "mc.mutual_information")
SUMS += ("mc.expected_calibration_error", "linen.dot_product_attention")
SUMS += ("nnx.dot_product_attention",)
# a symbolic size is none of theirs, and the sequences of the catalogue are these
WITHOUT = {"recurrent.Noise", "recurrent.Weights", "recurrent.expected_noise"}
WITHOUT |= {"tree.leaf_key"}
OF_LAYERS = {f"recurrent.{name}" for name in ("lstm", "gru", "simple", "sample_noise")}
CELLS = (
    "LSTMCell, all untied",
    "GRUCell, all per sequence",
    "SimpleCell, all per step",
)
SYMBOLIC = {
    "functions": (catalogue.functions, "batch, time, 5, 8"),
    "linen, with parameters": (lambda: catalogue.dense(WIDTH, "linen"), "batch, 8"),
    "sequences": (lambda: catalogue.sequences(WIDTH, CELLS), "batch, time, 8"),
    "elsewhere": (lambda: ELSEWHERE, "batch, time, 8"),
}
ONLY_EXPORTED = {
    "linen": (lambda: catalogue.layers("linen"), "batch, time, 5, 8"),
    "nnx": (lambda: catalogue.layers("nnx"), "batch, time, 5, 8"),
    "nnx, with parameters": (lambda: catalogue.dense(WIDTH, "nnx"), "batch, 8"),
    "sequences": (
        lambda: catalogue.sequences(WIDTH, (*RUN, *LOWERED)),
        "batch, time, 8",
    ),
}
SIZES = {"batch": (4, 2), "time": (6, 3)}
LEAST = {"batch": 2, "time": 3}
# bits are compared, for which nothing has to be fast
QUICKLY = {"xla_backend_optimization_level": 0}
QUICKLY |= {"xla_llvm_disable_expensive_passes": True}


def exported_with_symbols(make, shape):
    """The program, its parameters, and the artefact for any batch and time."""
    program, parameters = program_of(make())
    constraints = [f"{symbol} >= {n}" for symbol, n in LEAST.items() if symbol in shape]
    symbols = export.symbolic_shape(shape, constraints=constraints)
    x = jax.ShapeDtypeStruct(symbols, np.float32)
    data = np.asarray([1, 2], np.uint32)
    return program, parameters, export.export(program)(parameters, data, x)


@pytest.mark.parametrize("family", SYMBOLIC)
def test_symbolic_sizes_give_the_bits_of_the_known_ones(family):
    _, shape = SYMBOLIC[family]
    program, parameters, exported = exported_with_symbols(*SYMBOLIC[family])
    for number in range(2):
        sizes = [n.strip() for n in shape.split(",")]
        sizes = [int(SIZES[n][number] if n in SIZES else n) for n in sizes]
        x = X.ravel()[: np.prod(sizes)].reshape(sizes)
        arguments = parameters, np.asarray([1, number], np.uint32), x
        found, expected = (
            jax.jit(call, compiler_options=QUICKLY)(*arguments)
            for call in (exported.call, program)
        )
        for name, values in expected.items():
            for ours, value in zip(found[name], values, strict=True):
                assert_equal(ours, value, name)


@pytest.mark.parametrize("family", ONLY_EXPORTED)
def test_the_others_export_with_symbolic_sizes(family):
    """Layers over the same functions, and the other cells and ways of sharing."""
    *_, exported = exported_with_symbols(*ONLY_EXPORTED[family])
    assert {str(size) for size in exported.in_avals[-1].shape} >= {"batch"}


def test_every_public_function_is_exported_with_symbolic_sizes():
    covered = {name for case in (*CASES, *WEIGHT_CASES) for name in case.covers}
    covered |= {name for row in ELSEWHERE for name in row.split(", ")}
    for module in (jn, learned, losses, mc, recurrent, tree):
        prefix = module.__name__.removeprefix("jaxnoise").removeprefix(".")
        for name, value in vars(module).items():
            ours = getattr(value, "__module__", "").startswith("jaxnoise")
            if callable(value) and ours and not name.startswith("_"):
                full = f"{prefix}.{name}".removeprefix(".")
                assert full in covered | WITHOUT | OF_LAYERS, full


TOO_SMALL = {
    "drop_block: the size t must be known to be at least 3": (
        lambda k, x: jn.drop_block(k, x, 0.3, 3)
    ),
    "std: the size b must be known to be at least 2": lambda k, x: mc.std(x, ddof=1),
    "lstm: unroll must be 1 where the number of steps is not known, got 2 for t": (
        lambda k, x: jnn.RNN(jnn.LSTMCell(4), unroll=2).init_with_output(k, x)[0]
    ),
    "dot_product_attention: scale must be given where the depth of q is a symbol": (
        lambda k, x: jn.dot_product_attention(k, *[jnp.swapaxes(x, 0, 2)] * 3, 0.5)
    ),
    "dropout_mask: shape must be an integer, got 1.5": (
        lambda k, x: jn.dropout_mask(k, (*x.shape, 1.5), 0.5)
    ),
    "apply_mask: mask must broadcast to x of shape": (
        lambda k, x: jn.apply_mask(x, jn.dropout_mask(k, (x.shape[1], 8), 0.5)[1:], 0.5)
    ),
}


@pytest.mark.parametrize("message", TOO_SMALL)
def test_what_must_be_known_of_a_size_is_said(message):
    x = jax.ShapeDtypeStruct(export.symbolic_shape("b, t, 8"), np.float32)
    call = jax.jit(lambda x: TOO_SMALL[message](jax.random.key(0), x))
    with pytest.raises((TypeError, ValueError), match=message):
        export.export(call)(x)
