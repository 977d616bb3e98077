"""Recurrent noise on meshes: the bits that one device gives, drawn and sent apart."""

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
    applied,
    assert_equal,
    close,
    mesh_of,
    on_one,
    placed_on,
    run_on,
    together,
    trained,
)

import jaxnoise.linen as jnn
from jaxnoise._flax._wrapper import WrapperLayer
from jaxnoise.testing._hlo import collectives, words

pytestmark = pytest.mark.mesh

# no size is that of a part of another one
BATCH, STEPS, WIDTH = 24, 10, 32
X = np.linspace(0.5, 2, BATCH * STEPS * WIDTH, dtype=np.float32)
X = X.reshape(BATCH, STEPS, WIDTH)
SEQUENCES = (
    "LSTMCell, all untied, per step",
    "nnx.GRUCell, all per sequence",
    "SimpleCell, all per step",
    "DropoutWrapper",
    "ZoneoutWrapper",
    "nnx.DropoutWrapper",
)


@pytest.fixture(scope="module")
def sequences():
    layers = catalogue.sequences(WIDTH, SEQUENCES)
    return layers, on_one(layers, X)


@pytest.fixture(scope="module")
def sequences_on_data(sequences):
    layers, _ = sequences

    @functools.cache
    def run(kind):
        return run_on(mesh_of(kind, (8,), ("d",)), ON_DATA, layers, X)

    return run


@KINDS
def test_sequences(kind, sequences, sequences_on_data):
    found, text = sequences_on_data(kind)
    close(found, sequences[-1])
    assert not collectives(text)


@KINDS
def test_masks_of_sequences_are_drawn_where_the_examples_are(kind, sequences_on_data):
    _, text = sequences_on_data(kind)
    assert not [shape for shape in words(text) if BATCH in shape]


def chosen_cells():
    """All places, which draw apart, by each way of sharing."""
    names = {*SEQUENCES, "GRUCell, all per sequence", "LSTMCell, all batch shared"}
    names |= {"DropoutWrapper, variational"}
    return {name: cell for name, cell in catalogue.cells().items() if name in names}


def masks(cell, key, x):
    """The noise of a sequence over examples of x."""
    return cell.sample_noise(key, (x.shape[0], x.shape[-1]), x.shape[1])


@pytest.fixture(scope="module")
def masks_on_one_device():
    draw = together(
        {n: functools.partial(masks, cell) for n, cell in chosen_cells().items()}
    )
    return jax.jit(lambda: draw(jnp.ones((BATCH, STEPS, WIDTH))))()


def test_masks_of_every_recurrent_method(masks_on_one_device):
    """Their steps and their units over the devices of an automatic mesh."""
    draw = together(
        {n: functools.partial(masks, cell) for n, cell in chosen_cells().items()}
    )
    mesh = mesh_of(AxisType.Auto, (2, 4), ("time", "units"))

    def placed(mask):
        spec = ["time" if size == STEPS else None for size in mask.shape]
        return NamedSharding(mesh, PartitionSpec(*spec[:-1], "units"))

    places = jax.tree.map(placed, masks_on_one_device)
    x = jnp.ones((BATCH, STEPS, WIDTH))
    compiled = jax.jit(lambda: draw(x), out_shardings=places).lower().compile()
    assert_equal(compiled(), masks_on_one_device)
    assert not collectives(compiled.as_text())
    drawn = words(compiled.as_text())
    drawn = {shape for shape in drawn if len(shape) > 1}  # of one dim: its counters
    assert not [s for s in drawn if STEPS in s or s[-1] in (WIDTH, catalogue.FEATURES)]


def test_masks_where_they_are_asked_for(masks_on_one_device):
    """Rows and units of the state over the devices of an explicit mesh."""
    mesh = mesh_of(AxisType.Explicit, (4, 2), ("rows", "units"))
    of_input, of_state = PartitionSpec("rows"), PartitionSpec("rows", "units")

    def draw():
        found = {}
        for name, cell in chosen_cells().items():
            places = {"input_sharding": of_input, "state_sharding": of_state}
            if isinstance(cell, WrapperLayer):
                del places["state_sharding"]
            step = (BATCH, WIDTH)
            found[name] = cell.sample_noise(jax.random.key(0), step, STEPS, **places)
        return found

    with jax.set_mesh(mesh):
        compiled = jax.jit(draw).lower().compile()
        found = compiled()
    assert_equal(found, masks_on_one_device)
    assert not collectives(compiled.as_text())
    assert not [shape for shape in words(compiled.as_text()) if BATCH in shape]
    noise = found["LSTMCell, all untied, per step"]
    assert noise.input.sharding.spec == PartitionSpec(None, None, "rows", None)
    assert noise.cell.sharding.spec == PartitionSpec(None, "rows", "units")
    assert noise.weight.sharding.spec == PartitionSpec(None, None, "units")
    shared = found["LSTMCell, all batch shared"]
    assert shared.cell.sharding.spec == PartitionSpec(None, "units")
    noise = found["DropoutWrapper"]
    assert noise.output.sharding.spec == PartitionSpec(None, "rows", None)


# --- tensor-parallel: the units over the devices


def lstm(*places, **options):
    """A layer of linen by its noise."""
    x = X[:1]
    cell = jnn.LSTMCell(16, **catalogue.rates("LSTMCell", places), **options)
    return {"lstm": catalogue.linen(jnn.RNN(cell), x)}


# a cell of linen has the kernels of its gates apart, a GRU of nnx side by side


def run_tensor_parallel(layers, **options):
    mesh = mesh_of(AxisType.Auto, (4,), ("d",))
    return run_on(mesh, ON_TENSOR, layers, X, **options)


@functools.cache
def without_noise(cell):
    """What is sent without noise: by a sequence, and by a training step."""
    layers = catalogue.sequences(WIDTH, [f"{cell}, all per sequence"])
    runs = (
        run_tensor_parallel(layers, off=True, program=program)
        for program in (applied, trained)
    )
    return tuple(collectives(text) for _, text in runs)


@pytest.mark.parametrize(
    ("cell", "sharing"),
    [
        ("LSTMCell", "per sequence"),
        ("LSTMCell", "untied, per step"),
        ("nnx.GRUCell", "per sequence"),
    ],
)
def test_sequences_with_their_units_over_the_devices(cell, sharing):
    """All places, in a sequence and in a training step, which leaves the units there.

    For the gradient, masks by gate make as many operands of what is one without: there
    h is sent once for each gate, after the loop.
    """
    layers = catalogue.sequences(WIDTH, [f"{cell}, all {sharing}"])
    found, sequence = run_tensor_parallel(layers)
    close(found, on_one(layers, X))
    _, step = run_tensor_parallel(layers, program=trained)
    sent, sent_to_train = map(Counter, without_noise(cell))
    if sharing == "untied, per step":
        sent_to_train["all-gather"] += 3
    assert collectives(sequence) == sent
    assert collectives(step) == sent_to_train
    whole = {(BATCH, 16), (4, BATCH, 16), (STEPS, 4, BATCH, 16)}
    if cell == "LSTMCell":  # three gates side by side do not go into four parts
        whole.add((4, 16, 16))
    assert not whole & (words(sequence) | words(step))


def test_kernels_by_gate_send_h_alone():
    """Once in each step; and in a training step its cotangent, and all h, once."""
    assert without_noise("LSTMCell") == (
        {"all-gather": 1},
        {"all-gather": 2, "all-reduce": 1},
    )


def test_units_over_the_devices_of_an_explicit_mesh():
    """Forward and gradient; each device draws the masks of its rows and units.

    In float64, so that sums over all rows and steps may be in another order.
    """
    rates = catalogue.rates("LSTMCell", catalogue.PLACES)
    with jax.enable_x64(True):
        x = np.float64(X)
        cell = jnn.LSTMCell(16, param_dtype=np.float64, **rates)
        layer = catalogue.linen(jnn.RNN(cell), x[:1])
        parameters = jax.tree.map(np.float64, layer.parameters)

        def loss(parameters, x):
            y = layer.apply(parameters, jax.random.key(1), x)
            return (y**2).sum(), y

        call = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))
        expected = call(parameters, x)
        mesh = mesh_of(AxisType.Explicit, (2, 4), ("b", "d"))
        with jax.set_mesh(mesh):
            placed = placed_on(mesh, ON_TENSOR[0], parameters)
            x = jax.device_put(x, NamedSharding(mesh, PartitionSpec("b")))
            compiled = call.lower(placed, x).compile()
            found = compiled(placed, x)
        assert found[1].sharding.spec == PartitionSpec("b", None, "d")
        for leaf, value in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
            assert leaf.dtype == np.float64
            error = np.abs(np.asarray(leaf) - value).max()
            assert error <= 1e-12 * np.abs(value).max()
    drawn = words(compiled.as_text())
    assert not [shape for shape in drawn if BATCH in shape]
    assert not {(BATCH // 2, 16), (4, 16, 16)} & drawn


# --- time over the devices


def test_steps_over_the_devices():
    """A recurrence needs all steps: an automatic mesh gathers them, with or without."""
    layers, mesh = lstm(*catalogue.PLACES), mesh_of(AxisType.Auto, (2,), ("d",))
    on_time = (PartitionSpec(), PartitionSpec(None, "d"))
    found, text = run_on(mesh, on_time, layers, X)
    close(found, on_one(layers, X))
    _, without_noise = run_on(mesh, on_time, layers, X, off=True)
    assert collectives(text) == collectives(without_noise)


def test_an_explicit_mesh_must_gather_the_steps_first():
    layers = lstm("recurrent")
    mesh = mesh_of(AxisType.Explicit, (2,), ("d",))
    on_time = (PartitionSpec(), PartitionSpec(None, "d"))
    with pytest.raises(ValueError, match=r"lstm: xs must not be split over time.*resh"):
        run_on(mesh, on_time, layers, X)
