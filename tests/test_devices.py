"""All that draws, on meshes of 2, 4 and 8 devices: the bits that one device gives.

Each program is one compilation of many noises. What it draws and what it sends is read
from its text.
"""

import functools
import math

import catalogue
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxnoise as jn
import jaxnoise.linen as jnn
from jaxnoise.testing import LawError, check_noise
from jaxnoise.testing._hlo import collectives, drawn_beyond_the_shard, words

# no size of an axis is the size of a part of another one, so that a program's shapes
# tell parts from wholes; 2 x 16 channels are whole blocks of 8 decisions on each device
X = np.linspace(0.5, 2, 24 * 20 * 3 * 32, dtype=np.float32).reshape(24, 20, 3, 32)
SPEC = PartitionSpec("data", "sequence", None, "tensor")
# beside the functions, which all have: the layers
LAYOUTS = {
    "2, data": (AxisType.Explicit, (2, 1, 1), None),
    "4, sequence and tensor": (AxisType.Auto, (1, 2, 2), "linen"),
    "8, data, sequence and tensor": (AxisType.Explicit, (2, 2, 2), "nnx"),
}
KINDS = pytest.mark.parametrize("kind", [AxisType.Explicit, AxisType.Auto], ids=str)
# their docstrings say so: a sum over each example, and a mask without an array
NEED_WHOLE_EXAMPLES = {"drop_block", "linen.DropBlock", "nnx.DropBlock"}
DRAWN_FOR_A_SHAPE = {"dropout_mask, apply_mask"}


def mesh_of(kind, shape, names=("data", "sequence", "tensor")):
    devices = jax.devices()[: math.prod(shape)]
    return jax.make_mesh(shape, names, axis_types=(kind,) * len(shape), devices=devices)


def with_key(rows, key, x):
    """The outputs of all rows, each with the same key."""
    return {name: row(jax.random.clone(key), x) for name, row in rows.items()}


def together(rows):
    """One function of x with the outputs of all rows."""
    return lambda x: with_key(rows, jax.random.key(0), x)


@pytest.fixture(scope="module")
def rows():
    both = catalogue.layers("linen") | catalogue.layers("nnx")
    return catalogue.functions() | both


@pytest.fixture(scope="module")
def on_one_device(rows):
    return jax.jit(together(rows))(X)


def assert_equal(found, expected):
    """To the bit, or to 1 ulp (of 1, near 0) where there are normals."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    values = jax.tree.leaves(expected)
    for (path, leaf), value in zip(
        jax.tree.leaves_with_path(found), values, strict=True
    ):
        assert leaf.dtype == value.dtype, path
        a, b = np.asarray(leaf, np.float64), np.asarray(value, np.float64)
        error = np.abs(a - b) / np.maximum(np.abs(b), 1)
        rounded = catalogue.is_rounded(str(path))
        assert error.max() <= (np.finfo(np.float32).eps if rounded else 0), path


@pytest.mark.parametrize("layout", LAYOUTS)
def test_functions_and_layers(layout, rows, on_one_device):
    kind, shape, api = LAYOUTS[layout]
    chosen = set(catalogue.functions()) | {n for n in rows if n.startswith(f"{api}.")}
    if shape[1:] != (1, 1):
        chosen -= NEED_WHOLE_EXAMPLES
    if kind is AxisType.Explicit:
        chosen -= DRAWN_FOR_A_SHAPE
    rows = {name: row for name, row in rows.items() if name in chosen}
    mesh = mesh_of(kind, shape)
    with jax.set_mesh(mesh):
        x = jax.device_put(X, NamedSharding(mesh, SPEC))
        compiled = jax.jit(together(rows)).lower(x).compile()
        y = compiled(x)
    expected = {name: on_one_device[name] for name in rows}
    assert_equal(y, expected)
    for name, value in y.items():
        assert value.sharding.is_equivalent_to(x.sharding, x.ndim), name
    text, shard = compiled.as_text(), x.sharding.shard_shape(x.shape)
    assert not collectives(text)
    assert not drawn_beyond_the_shard(text, x.shape, shard)


@KINDS
def test_a_mask_drawn_for_a_shape(kind):
    """Its place is that of what it meets; an explicit mesh does not know of that."""
    noise = catalogue.functions()["dropout_mask, apply_mask"]
    mesh = mesh_of(kind, (2, 2, 2))
    with jax.set_mesh(mesh):
        x = jax.device_put(X, NamedSharding(mesh, SPEC))
        call = jax.jit(functools.partial(noise, jax.random.key(0)))
        compiled = call.lower(x).compile()
        y = compiled(x)
    np.testing.assert_array_equal(y, jn.dropout(jax.random.key(0), X, 0.5))
    text, shard = compiled.as_text(), x.sharding.shard_shape(x.shape)
    assert not collectives(text)
    whole = kind is AxisType.Explicit
    assert drawn_beyond_the_shard(text, X.shape, shard) == [X.shape] * whole


def test_the_law_refuses_what_draws_the_whole_on_each_device():
    def draws_the_whole(key, x, rate):
        mask = jn.dropout_mask(key, x.shape, rate)
        return jn.apply_mask(x, mask, rate)

    with pytest.raises(LawError, match=r"sharding law.* draws .* beyond its shard"):
        check_noise(draws_the_whole, laws=["sharding"])


def test_words_beyond_a_shard_are_told_from_its_own():
    text = "%a = u32[12,10]{1,0} iota() %b = u32[24,1] add(u32[2] %k) %c = f32[24,10]"
    assert drawn_beyond_the_shard(text, (24, 10), (12, 10)) == [(24, 1)]
    assert drawn_beyond_the_shard("u32[7,20]{1,0}", (24, 10), (12, 10)) == [(7, 20)]
    assert not drawn_beyond_the_shard(text, (24, 10), (24, 10))


# --- shard_map: one key for all shards, or one for each


# one for each way to draw: the sharding law holds for every function
KINDS_OF_DRAW = ("dropout", "dropout, 8 bits", "spatial_dropout", "drop_block")
KINDS_OF_DRAW += ("gaussian_noise", "salt_and_pepper", "poisson_noise")


def test_under_shard_map_keys_agree_or_differ():
    """The same key, the same noise; fold_in(key, axis_index), each shard its own."""
    rows = {name: catalogue.functions()[name] for name in KINDS_OF_DRAW[:5]}
    mesh = mesh_of(AxisType.Explicit, (4, 2), ("data", "tensor"))
    x = X[:8, :5]
    cell = catalogue.cells()["LSTMCell, recurrent"]
    rows["masks of a sequence"] = functools.partial(masks, cell)

    def shard(key, x):
        own = jax.random.fold_in(key, jax.lax.axis_index("data"))
        results = with_key(rows, key, x), with_key(rows, own, x)
        return jax.tree.map(lambda leaf: leaf[None], results)

    data = PartitionSpec("data")
    with jax.set_mesh(mesh):
        placed = jax.device_put(x, NamedSharding(mesh, data))
        mapped = jax.shard_map(
            shard, in_specs=(PartitionSpec(), data), out_specs=data, axis_names={"data"}
        )
        agree, differ = jax.jit(mapped)(jax.random.key(0), placed)
    key, parts = jax.random.key(0), x.reshape(4, 2, *x.shape[1:])
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(4))
    loop = jax.jit(jax.vmap(functools.partial(with_key, rows)))
    assert_equal(differ, loop(keys, parts))
    assert_equal(agree, loop(jnp.stack([jax.random.key(0)] * 4), parts))


def masks(cell, key, x):
    """The noise of a sequence over examples of x."""
    return cell.sample_noise(key, (x.shape[0], x.shape[-1]), x.shape[1])


# --- vmap with spmd_axis_name


def test_vmap_over_an_axis_of_the_mesh():
    """Keys and examples over the devices: what each draws is in its own example."""
    rows = {name: catalogue.functions()[name] for name in KINDS_OF_DRAW}
    keys = jax.random.split(jax.random.key(0), len(X))
    each = functools.partial(with_key, rows)
    expected = jax.jit(jax.vmap(each))(keys, X)
    mesh = mesh_of(AxisType.Auto, (8,), ("data",))
    with jax.set_mesh(mesh):
        sharding = NamedSharding(mesh, PartitionSpec("data"))
        placed = jax.device_put((jax.random.clone(keys), X), sharding)
        mapped = jax.jit(jax.vmap(each, spmd_axis_name="data"))
        compiled = mapped.lower(*placed).compile()
        y = compiled(*placed)
    assert_equal(y, expected)
    for name, value in y.items():
        assert value.sharding.is_equivalent_to(sharding, value.ndim), name
    text = compiled.as_text()
    assert not collectives(text)
    assert not drawn_beyond_the_shard(text, X.shape, X[:3].shape)


# --- layers with parameters, and sequences


BATCH, STEPS, WIDTH = 24, 5, 32
ON_DATA = (PartitionSpec(), PartitionSpec("d"))
ON_TENSOR = (PartitionSpec(None, "d"), PartitionSpec())


def placed_on(mesh, spec, tree):
    """The tree on the mesh: `spec` for its matrices, its end for what has less dims."""
    return jax.tree.map(
        lambda x: jax.device_put(
            x, NamedSharding(mesh, PartitionSpec(*spec[-x.ndim :] if x.ndim else ()))
        ),
        tree,
    )


def applied(layers, off=False):
    """All layers on x: a function of the parameters of all."""

    def program(parameters, x):
        return {
            name: layer.apply(parameters[name], jax.random.key(1), x, off=off)
            for name, layer in layers.items()
        }

    return program


def run_on(mesh, specs, layers, x, off=False):
    """The outputs of the layers on a mesh, and the text of the program."""
    with jax.set_mesh(mesh):
        parameters = {name: layer.parameters for name, layer in layers.items()}
        parameters = placed_on(mesh, specs[0], parameters)
        x = jax.device_put(x, NamedSharding(mesh, specs[1]))
        compiled = jax.jit(applied(layers, off)).lower(parameters, x).compile()
        return compiled(parameters, x), compiled.as_text()


def on_one(layers, x):
    parameters = {name: layer.parameters for name, layer in layers.items()}
    return jax.jit(applied(layers))(parameters, x)


def close(found, expected):
    """Matmuls of shards may add up in another order: 8 ulps of the largest value."""
    for name, value in expected.items():
        error = np.abs(np.asarray(found[name]) - value).max()
        assert error <= 2**-20 * np.abs(value).max(), name


@pytest.mark.parametrize(
    ("kind", "specs", "api"),
    [(AxisType.Auto, ON_DATA, "nnx"), (AxisType.Explicit, ON_TENSOR, "linen")],
    ids=["data, nnx", "tensor, linen"],
)
def test_layers_with_parameters(kind, specs, api):
    """Examples, or columns of the kernels, on 8 devices."""
    layers = catalogue.dense(WIDTH, api)
    x = X.reshape(-1, WIDTH)[:BATCH]
    found, text = run_on(mesh_of(kind, (8,), ("d",)), specs, layers, x)
    close(found, on_one(layers, x))
    assert not collectives(text)


def test_embed_on_an_explicit_mesh_is_that_of_flax():
    """A table that is whole and ids that are split are for neither to look up."""
    mesh = mesh_of(AxisType.Explicit, (8,), ("d",))
    ids = jnp.zeros(BATCH, np.int32)
    for layer in (nn.Embed(50, 16), jnn.Embed(50, 16, rate=0.3, deterministic=True)):
        parameters = layer.init(jax.random.key(0), jnp.zeros(1, np.int32))
        with jax.set_mesh(mesh):
            placed = jax.device_put(ids, NamedSharding(mesh, PartitionSpec("d")))
            with pytest.raises(Exception, match="provide output PartitionSpec"):
                layer.apply(parameters, placed)


SEQUENCES = (
    "LSTMCell, all untied, per step",
    "nnx.GRUCell, all per sequence",
    "SimpleCell, all per step",
    "DropoutWrapper",
    "ZoneoutWrapper",
)


@pytest.fixture(scope="module")
def sequences():
    x = X.reshape(-1, STEPS, WIDTH)[:BATCH]
    layers = catalogue.sequences(WIDTH, SEQUENCES)
    return layers, x, on_one(layers, x)


@pytest.fixture(scope="module")
def sequences_on_data(sequences):
    layers, x, _ = sequences

    @functools.cache
    def run(kind):
        return run_on(mesh_of(kind, (8,), ("d",)), ON_DATA, layers, x)

    return run


@KINDS
def test_sequences(kind, sequences, sequences_on_data):
    found, text = sequences_on_data(kind)
    close(found, sequences[-1])
    assert not collectives(text)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(
            AxisType.Explicit,
            marks=pytest.mark.xfail(
                strict=True,
                raises=AssertionError,
                reason="sample_noise knows the shape of the input, not its sharding: "
                "each device draws the masks of all examples, the same bits",
            ),
        ),
        AxisType.Auto,
    ],
    ids=str,
)
def test_masks_of_sequences_are_drawn_where_the_examples_are(kind, sequences_on_data):
    _, text = sequences_on_data(kind)
    assert not [shape for shape in words(text) if BATCH in shape]


def test_masks_of_every_recurrent_method():
    """All places, which draw apart, by each way of sharing; units over the devices."""
    cells, x = catalogue.cells(), X.reshape(-1, STEPS, WIDTH)[:BATCH]
    names = {*SEQUENCES, "GRUCell, all per sequence", "LSTMCell, all batch shared"}
    names |= {"DropoutWrapper, variational"}
    chosen = {name: cells[name] for name in names if name in cells}
    draw = together({n: functools.partial(masks, cell) for n, cell in chosen.items()})
    expected = jax.jit(lambda: draw(x))()
    mesh = mesh_of(AxisType.Auto, (8,), ("d",))
    places = jax.tree.map(
        lambda m: NamedSharding(mesh, PartitionSpec(*[None] * (m.ndim - 1), "d")),
        expected,
    )
    compiled = jax.jit(lambda: draw(x), out_shardings=places).lower().compile()
    assert_equal(compiled(), expected)
    assert not collectives(compiled.as_text())


def test_sequences_with_their_units_over_the_devices():
    """One mask for all gates sends nothing that is not sent without noise."""
    rates = catalogue.rates("LSTMCell", set(catalogue.PLACES) - {"weight"})
    x = X.reshape(-1, STEPS, WIDTH)[:BATCH]
    layers = {"lstm": catalogue.linen(jnn.RNN(jnn.LSTMCell(16, **rates)), x[:1])}
    mesh = mesh_of(AxisType.Auto, (4,), ("d",))
    found, text = run_on(mesh, ON_TENSOR, layers, x)
    close(found, on_one(layers, x))
    _, without_noise = run_on(mesh, ON_TENSOR, layers, x, off=True)
    assert collectives(text) == collectives(without_noise)
