"""What is shared in the masks of a sequence, the laws that they obey, and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from sequences import BATCH, EVERY, FEATURES, STEPS, WIDTH, problem, run, sample

import jaxnoise.recurrent as jr

pytestmark = pytest.mark.recurrent


@pytest.mark.parametrize("steps", [None, STEPS])
def test_shapes(steps):
    unit, time = (*BATCH, FEATURES), () if steps is None else (STEPS,)
    expected = jr.Noise(
        input=(*BATCH, WIDTH),
        recurrent=unit,
        candidate=unit,
        cell=unit,
        zoneout_hidden=(*time, *unit),
        zoneout_cell=(*time, *unit),
        weight=(4, FEATURES, FEATURES),
        output=unit,
    )
    noise = sample(steps=steps, **EVERY)
    assert jax.tree.map(jnp.shape, noise) == expected
    assert all(mask.dtype == np.float32 for mask in noise)

    untied = sample(steps=steps, tied=False, **EVERY)
    assert jax.tree.map(jnp.shape, untied) == expected._replace(
        input=(4, *BATCH, WIDTH), recurrent=(4, *unit)
    )
    per_step = sample(steps=steps, tied=False, per_step=True, **EVERY)
    assert jax.tree.map(jnp.shape, per_step) == jr.Noise(
        input=(*time, 4, *BATCH, WIDTH),
        recurrent=(*time, 4, *unit),
        **{
            name: (4, FEATURES, FEATURES) if name == "weight" else (*time, *unit)
            for name in jr.Noise._fields[2:]
        },
    )
    shared = sample(steps=steps, batch_shared=True, **EVERY)
    assert shared.recurrent.shape == (1, 1, FEATURES)
    assert shared.zoneout_cell.shape == (*time, 1, 1, FEATURES)
    assert sample(steps=steps) == jr.Noise()


def test_masks_of_gates_steps_rows_and_places_are_their_own():
    """Units that should differ are kept together as often as independent ones are."""
    batch, rate = (40,), 0.5
    n = 4 * 40 * FEATURES * 20
    noise = sample(
        steps=20,
        batch=batch,
        tied=False,
        per_step=True,
        recurrent_rate=rate,
        output_rate=rate,
        cell_rate=rate,
    )
    kept = np.asarray(noise.recurrent) > 0
    output = np.asarray(noise.output) > 0
    pairs = {
        "gates": (kept[:, 0], kept[:, 1]),
        "steps": (kept[:-1], kept[1:]),
        "rows": (kept[:, :, :-1], kept[:, :, 1:]),
        "units": (kept[..., :-1], kept[..., 1:]),
        "places": (kept[:, 0], output),
        "output, cell": (output, np.asarray(noise.cell) > 0),
    }
    for name, (one, other) in pairs.items():
        agree, total = int((one == other).sum()), one.size
        # detects a correlation of .16 with probability 1 - 1e-6
        assert total >= 93.03 * (0.5 / 0.08) ** 2
        assert scipy.stats.binomtest(agree, total, 0.5).pvalue > 1e-6, name
    assert scipy.stats.binomtest(int(kept.sum()), n, 0.5).pvalue > 1e-6


def test_turning_a_place_on_leaves_the_masks_of_the_others():
    every = sample(tied=False, **EVERY)
    for name, rate in EVERY.items():
        place = name.removesuffix("_rate")
        alone = sample(tied=False, **{name: rate})
        assert [
            field for field, mask in alone._asdict().items() if mask is not None
        ] == [place]
        np.testing.assert_array_equal(getattr(alone, place), getattr(every, place))


def test_the_key_decides():
    same, other = sample(3, **EVERY), sample(4, **EVERY)
    for a, b, c in zip(sample(3, **EVERY), same, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert (a != c).any()


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_values_and_mean(rate):
    noise = sample(batch=(500,), steps=40, recurrent_rate=rate, zoneout_hidden=rate)
    q = np.float32(1 - rate)
    assert set(np.unique(noise.recurrent)) == {np.float32(0), np.float32(1) / q}
    assert set(np.unique(noise.zoneout_hidden)) == {0.0, 1.0}
    for mask in (noise.recurrent, noise.zoneout_hidden):
        kept = int((mask > 0).sum())
        assert scipy.stats.binomtest(kept, mask.size, 1 - rate).pvalue > 1e-6


def test_expected_noise_is_the_mean_of_zoneout():
    weights, carry, xs = problem(steps=1)
    rates = {"zoneout_hidden": 0.3, "zoneout_cell": 0.6}
    keys = jax.random.split(jax.random.key(5), 20_000)
    noise = jax.vmap(lambda key: sample(key, steps=1, **rates))(keys)
    outputs = jax.vmap(lambda noise: jr.lstm(weights, carry, xs, noise)[0])(noise)
    expected, _ = jr.lstm(weights, carry, xs, jr.expected_noise(**rates))
    for values, mean in zip(outputs, expected, strict=True):
        values, mean = np.asarray(values, np.float64), np.asarray(mean)
        error = values.std(0) / np.sqrt(len(keys))
        assert (np.abs(values.mean(0) - mean) <= 5.5 * error + 1e-6).all()


def test_bad_rates_shapes_and_keys():
    with pytest.raises(ValueError, match=r"sample_noise: recurrent_rate must be in"):
        sample(recurrent_rate=1.5)
    with pytest.raises(ValueError, match=r"expected_noise: zoneout_cell must be in"):
        jr.expected_noise(zoneout_cell=-0.1)
    with pytest.raises(ValueError, match="num_steps must be at least 1"):
        sample(steps=0, recurrent_rate=0.5)
    with pytest.raises(ValueError, match="input_shape"):
        jr.sample_noise(jax.random.key(0), (), FEATURES, gates=4)
    with pytest.raises(ValueError, match="vmap"):
        sample(jax.random.split(jax.random.key(0)), recurrent_rate=0.5)
    with pytest.raises(TypeError, match="key"):
        sample(None, recurrent_rate=0.5)


def test_bad_sequences():
    weights, carry, xs = problem()
    run(weights, carry, xs, None)
    with pytest.raises(ValueError, match="xs must have at least one step"):
        run(weights, carry, xs[:0], None)
    with pytest.raises(ValueError, match="with a width of 4"):
        run(weights, carry, xs[..., :3], None)
    with pytest.raises(ValueError, match="with a width of 4"):
        run(weights, carry, jnp.ones((*xs.shape[:-1], WIDTH + 1)), None)
    with pytest.raises(ValueError, match=r"with a width of 4, got shape \(4,\)"):
        run(weights, carry, xs[0, 0, 0], None)
    with pytest.raises(ValueError, match="carry must have 2"):
        run(weights, carry[:1], xs, None)
    with pytest.raises(ValueError, match="carry must have 2"):
        run(weights, jax.tree.map(lambda c: c[:1], carry), xs, None)
    with pytest.raises(ValueError, match="carry must have 2"):
        wide = jax.tree.map(lambda c: jnp.concatenate([c, c], -1), carry)
        run(weights, wide, xs, None)
    with pytest.raises(TypeError, match="floating"):
        run(weights, carry, jnp.ones(xs.shape, int), None)
    with pytest.raises(TypeError, match="one dtype"):
        run(weights._replace(bias=weights.bias.astype(jnp.bfloat16)), carry, xs, None)
    with pytest.raises(ValueError, match=r"seq_lengths must be in \[0, 6\]"):
        run(weights, carry, xs, None, seq_lengths=np.full(BATCH, 7))
    with pytest.raises(ValueError, match="got values from -1 to -1"):
        run(weights, carry, xs, None, seq_lengths=np.full(BATCH, -1))
    with pytest.raises(ValueError, match="batch shape"):
        run(weights, carry, xs, None, seq_lengths=np.full((3,), 2))
    with pytest.raises(TypeError, match="integers"):
        run(weights, carry, xs, None, seq_lengths=np.full(BATCH, 2.0))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("input", (WIDTH, 16), r"shape \(4, 20\) for 4 gate.* 5 units.*got \(4, 16\)"),
        ("recurrent", (FEATURES, 24), r"shape \(5, 20\).*got \(5, 24\)"),
        ("recurrent", (20,), r"shape .*got \(20,\)"),
        ("recurrent", (), r"shape .*got \(\)"),
        (
            "input",
            [(WIDTH, FEATURES)] * 3,
            r"tuple of 4 of shape \(4, 5\), got \(\(4, ",
        ),
        ("recurrent", [(FEATURES, 4)] * 4, r"of shape \(5, 5\), got \(\(5, 4\), "),
        ("recurrent", [], r"a tuple .* each of 4 gate.*got \(\)"),
        ("bias", (4,), r"shape \(20,\) .*got \(4,\)"),
        ("bias", [(FEATURES,)] * 3, r"of shape \(5,\), got \(\(5,\), "),
        ("bias", None, r"an array, or a tuple .*got None"),
        ("recurrent_bias", (20,), r"shape \(5,\), got \(20,\)"),
    ],
)
def test_bad_weights(name, value, message):
    weights, carry, xs = problem()
    if isinstance(value, list):
        value = tuple(jnp.ones(shape) for shape in value)
    elif value is not None:
        value = jnp.ones(value)
    match = rf"lstm: weights\.{name} must .*{message}"
    with pytest.raises((TypeError, ValueError), match=match):
        run(weights._replace(**{name: value}), carry, xs, None)


def test_bad_noise():
    weights, carry, xs = problem()
    with pytest.raises(TypeError, match="sample_noise"):
        run(weights, carry, xs, {"input": 1})
    for place, shape in {
        "input": (*BATCH, FEATURES),
        "recurrent": (STEPS + 1, *BATCH, FEATURES),
        "candidate": (7, *BATCH, FEATURES),
        "zoneout_cell": (2, STEPS, *BATCH, FEATURES),
        "weight": (3, FEATURES, FEATURES),
    }.items():
        with pytest.raises(ValueError, match=rf"noise\.{place} must broadcast"):
            run(weights, carry, xs, jr.Noise(**{place: np.ones(shape, np.float32)}))
    with pytest.raises(TypeError, match="floating mask"):
        run(weights, carry, xs, jr.Noise(output=np.ones((*BATCH, FEATURES), bool)))
    gru = jr.Weights(*(w[..., : 3 * FEATURES] for w in weights[:3]))
    with pytest.raises(ValueError, match=r"noise\.cell must be None"):
        jr.gru(gru, carry[1], xs, sample(cell_rate=0.5))


def test_masks_of_any_lower_rank_broadcast():
    weights, carry, xs = problem()
    mask = np.array([0, 2, 0, 2, 2], np.float32)
    low = run(weights, carry, xs, jr.Noise(recurrent=mask))
    whole = jnp.broadcast_to(mask, (*BATCH, FEATURES))
    full = run(weights, carry, xs, jr.Noise(recurrent=whole))
    jax.tree.map(np.testing.assert_array_equal, low, full)


def test_the_draw_is_that_of_the_package():
    key = jax.random.key(0)
    place = jax.random.fold_in(jax.random.clone(key), jr.Noise._fields.index("output"))
    kept = jax.random.bernoulli(place, np.float32(0.7), (*BATCH, FEATURES))
    np.testing.assert_array_equal(sample(key, output_rate=0.3).output > 0, kept)
