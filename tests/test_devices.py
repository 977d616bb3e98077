"""All that draws, on meshes of 2, 4 and 8 devices: the bits that one device gives.

Each program is one compilation of many noises. What it draws and what it sends is read
from its text.
"""

import functools
from collections import Counter

import catalogue
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from meshes import (
    KINDS,
    ON_DATA,
    ON_TENSOR,
    assert_equal,
    close,
    mesh_of,
    on_one,
    run_on,
    together,
    trained,
    with_key,
)

import jaxnoise as jn
from jaxnoise.testing import LawError, check_noise
from jaxnoise.testing._hlo import collectives, drawn_beyond_the_shard

pytestmark = pytest.mark.mesh

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
# as its docstring says: a sum over each example
NEED_WHOLE_EXAMPLES = {"drop_block", "linen.DropBlock", "nnx.DropBlock"}
NEED_WHOLE_EXAMPLES |= {"drop_block, share_channels"}


@pytest.fixture(scope="module")
def rows():
    both = catalogue.layers("linen") | catalogue.layers("nnx")
    return catalogue.functions() | both


@pytest.fixture(scope="module")
def on_one_device(rows):
    return jax.jit(together(rows))(X)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_functions_and_layers(layout, rows, on_one_device):
    kind, shape, api = LAYOUTS[layout]
    chosen = set(catalogue.functions()) | {n for n in rows if n.startswith(f"{api}.")}
    if shape[1:] != (1, 1):
        chosen -= NEED_WHOLE_EXAMPLES
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


def test_gradients_of_functions():
    """What the backward pass draws again, it draws there, and it sends nothing."""
    rows = catalogue.functions()
    names = sorted(set(rows) - NEED_WHOLE_EXAMPLES)

    def gradients(x):
        def loss(x):
            ys = with_key({name: rows[name] for name in names}, jax.random.key(0), x)
            return sum((y * y).sum() for y in ys.values())

        return jax.grad(loss)(x)

    mesh = mesh_of(AxisType.Auto, (2, 2, 2))
    with jax.set_mesh(mesh):
        x = jax.device_put(X, NamedSharding(mesh, SPEC))
        text = jax.jit(gradients).lower(x).compile().as_text()
    assert not collectives(text)
    shard = x.sharding.shard_shape(x.shape)
    assert not drawn_beyond_the_shard(text, x.shape, shard)


@KINDS
def test_a_mask_drawn_for_a_shape(kind):
    """Its place is that of what it meets; an explicit mesh has to be told of that."""

    def noise(x):
        return jn.apply_mask(x, jn.dropout_mask(jax.random.key(0), x.shape, 0.5), 0.5)

    mesh = mesh_of(kind, (2, 2, 2))
    with jax.set_mesh(mesh):
        x = jax.device_put(X, NamedSharding(mesh, SPEC))
        compiled = jax.jit(noise).lower(x).compile()
        y = compiled(x)
    np.testing.assert_array_equal(y, jn.dropout(jax.random.key(0), X, 0.5))
    text, shard = compiled.as_text(), x.sharding.shard_shape(x.shape)
    assert not collectives(text)
    whole = kind is AxisType.Explicit
    assert drawn_beyond_the_shard(text, X.shape, shard) == [X.shape] * whole


@pytest.mark.parametrize("dims", [(), (1, 3)], ids=str)
def test_a_mask_drawn_where_it_is_asked_for(dims):
    """Its sharding is that of the array, whole on the dims that share a draw."""

    def draw(sharding=None):
        options = {"broadcast_dims": dims, "out_sharding": sharding}
        return jn.dropout_mask(jax.random.key(0), X.shape, 0.5, **options)

    mesh = mesh_of(AxisType.Explicit, (2, 2, 2))
    with jax.set_mesh(mesh):
        masks = [draw(SPEC), jax.jit(lambda: draw(SPEC))()]
        masks.append(draw(NamedSharding(mesh, SPEC)))
    spec = [None if dim in dims else axis for dim, axis in enumerate(SPEC)]
    for mask in masks:
        assert mask.sharding.spec == PartitionSpec(*spec)
        np.testing.assert_array_equal(mask, draw())


@pytest.mark.parametrize(
    ("sharding", "error", "message"),
    [
        (PartitionSpec("data"), ValueError, r"where no mesh is set, .*jax\.set_mesh"),
        ("data", TypeError, r"NamedSharding, .*got 'data'.*jax\.typeof\(x\)"),
        ((4, "data"), ValueError, r"splits a dim of 6 into 4 for shape \(6, 5\)"),
        ((2, None, None, "data"), ValueError, r"at most 2 dims for shape \(6, 5\)"),
        ((AxisType.Auto, "data"), ValueError, r"explicit axes.*'data' of type Auto"),
        ((AxisType.Auto, PartitionSpec.UNCONSTRAINED), ValueError, r"explicit.*free"),
    ],
    ids=["no mesh", "no sharding", "uneven", "dims", "automatic", "unconstrained"],
)
def test_bad_shardings(sharding, error, message):
    if isinstance(sharding, tuple):
        first, *axes = sharding
        kind = AxisType.Auto if first is AxisType.Auto else AxisType.Explicit
        mesh = mesh_of(kind, (first if isinstance(first, int) else 2,), ("data",))
        sharding = NamedSharding(mesh, PartitionSpec(*axes))
    with pytest.raises(error, match=f"dropout_mask: out_sharding must .*{message}"):
        jn.dropout_mask(jax.random.key(0), (6, 5), 0.5, out_sharding=sharding)


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

    def masks(key, x):
        return cell.sample_noise(key, (x.shape[0], x.shape[-1]), x.shape[1])

    rows["masks of a sequence"] = masks

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


# --- layers with parameters


BATCH, WIDTH = 24, 32


@pytest.mark.parametrize(
    ("kind", "specs", "api", "more"),
    [
        (AxisType.Auto, ON_DATA, "nnx", {}),
        # for the parameter that VariationalDense has for its noise: one for all columns
        (AxisType.Explicit, ON_TENSOR, "linen", {"all-reduce": 1}),
    ],
    ids=["data, nnx", "tensor, linen"],
)
def test_layers_with_parameters(kind, specs, api, more):
    """Examples, or columns of the kernels, on 8 devices; and a training step."""
    layers = catalogue.dense(WIDTH, api)
    x = X.reshape(-1, WIDTH)[:BATCH]
    mesh = mesh_of(kind, (8,), ("d",))
    found, text = run_on(mesh, specs, layers, x)
    close(found, on_one(layers, x))
    assert not collectives(text)
    _, step = run_on(mesh, specs, layers, x, program=trained)
    _, without_noise = run_on(mesh, specs, layers, x, off=True, program=trained)
    assert collectives(step) == Counter(collectives(without_noise)) + Counter(more)


@pytest.mark.parametrize("api", ["linen", "nnx"])
def test_embed_on_an_explicit_mesh(api):
    """Ids that are split: flax does not know where what they look up belongs."""
    layers, x = {"": catalogue.dense(WIDTH, api)["Embed"]}, X[..., 0]
    for shape, features, kept in (
        ((8, 1), None, None),
        ((4, 2), "e", "e"),
        ((4, 2), "d", None),  # over the devices of the ids: it has to come together
    ):
        mesh = mesh_of(AxisType.Explicit, shape, ("d", "e"))
        specs = PartitionSpec(None, features), PartitionSpec("d")
        found, text = run_on(mesh, specs, layers, x)
        close(found, on_one(layers, x))
        assert found[""].sharding.spec == PartitionSpec("d", None, None, kept)
        assert bool(collectives(text)) is (features != kept)
    still, _ = run_on(mesh, specs, layers, x, off=True)
    table = jax.tree.leaves(layers[""].parameters)[0]
    np.testing.assert_array_equal(still[""], table[catalogue.ids_of(x)])
