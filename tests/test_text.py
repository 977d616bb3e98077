"""Noise of words against formulas of jax.random with the same key."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from data import normal
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxnoise as jn
import jaxnoise.linen as jnn
import jaxnoise.nnx as jnx

IDS = np.arange(96, dtype=np.int32).reshape(8, 12) % 7
MASK = 99


@pytest.fixture
def key():
    return jax.random.key(4)


def again(key):
    return jax.random.clone(key)


def replaced(key, rate, ids=IDS, protected=()):
    """token_dropout in words of jax.random and NumPy."""
    keep = np.asarray(jax.random.bernoulli(key, np.float32(1 - rate), ids.shape))
    return np.where(keep | np.isin(ids, protected), ids, MASK)


@pytest.mark.parametrize(
    ("rate", "dtype"),
    [(0.1, np.int32), (0.5, np.uint8), (0.9, np.int16), (0.5, np.uint32)],
)
def test_token_dropout(key, rate, dtype):
    ids = IDS.astype(dtype)
    y = jn.token_dropout(key, ids, rate, MASK, protected=(0, 3))
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, replaced(again(key), rate, ids, (0, 3)))
    assert (y == MASK).any()


def test_token_dropout_at_the_ends(key):
    ids = jnp.asarray(IDS)
    assert jn.token_dropout(key, ids, 0, MASK) is ids
    assert (jn.token_dropout(again(key), ids, 1, MASK) == MASK).all()
    y = jn.token_dropout(again(key), ids, 1.0, MASK, protected=[0])
    np.testing.assert_array_equal(y, np.where(IDS == 0, 0, MASK))
    assert jn.token_dropout(again(key), jnp.zeros((0, 3), int), 0.5, 1).shape == (0, 3)


def test_token_dropout_is_decided_by_the_key(key):
    """Again, jitted, with a traced rate, under x64, vmapped over keys, on any mesh."""
    first = np.asarray(jn.token_dropout(key, IDS, 0.5, MASK))
    calls = []

    @jax.jit
    def traced(key, ids, rate):
        calls.append(1)
        return jn.token_dropout(key, ids, rate, MASK)

    np.testing.assert_array_equal(traced(again(key), IDS, 0.5), first)
    np.testing.assert_array_equal(traced(again(key), IDS, 0.0), IDS)
    assert (traced(again(key), IDS, 1.0) == MASK).all() and len(calls) == 1
    with jax.enable_x64(True):
        y = jn.token_dropout(again(key), IDS.astype(np.int64), 0.5, MASK)
        np.testing.assert_array_equal(y, first)
        assert y.dtype == np.int64
    assert not (jn.token_dropout(jax.random.key(5), IDS, 0.5, MASK) == first).all()

    def call(key):
        return jn.token_dropout(key, IDS, 0.5, MASK)

    keys = jax.random.split(again(key), 3)
    np.testing.assert_array_equal(jax.vmap(call)(keys), [call(k) for k in keys])


@pytest.mark.parametrize("kind", [AxisType.Explicit, AxisType.Auto])
@pytest.mark.parametrize("noise", ["token_dropout", "neftune_noise"])
def test_on_a_mesh(key, noise, kind):
    """With ids on explicit meshes the laws do not deal, nor with lengths on any."""
    lengths = jnp.asarray([12, 3, 0, 7, 12, 1, 2, 5])

    def call(x, lengths):
        if noise == "token_dropout":
            return jn.token_dropout(again(key), x, 0.5, MASK, protected=(1,))
        return jn.neftune_noise(again(key), x, 5.0, lengths=lengths)

    x = jnp.asarray(IDS)
    x = x if noise == "token_dropout" else jnp.ones((8, 12, 4)) * x[..., None]
    expected = jax.jit(call)(x, lengths)
    mesh = jax.make_mesh((8,), ("d",), axis_types=(kind,))
    with jax.set_mesh(mesh):
        placed = jax.device_put((x, lengths), NamedSharding(mesh, PartitionSpec("d")))
        compiled = jax.jit(call).lower(*placed).compile()
        y = compiled(*placed)
    np.testing.assert_allclose(y, expected, rtol=1e-6)
    assert y.sharding.is_equivalent_to(placed[0].sharding, x.ndim)
    assert "all-" not in (compiled.as_text() or "")


def test_token_dropout_lowers_everywhere(key):
    call = jax.jit(lambda k, ids: jn.token_dropout(k, ids, 0.5, MASK))
    platforms = ("cpu", "cuda", "rocm", "tpu")
    jax.export.export(call, platforms=platforms)(key, jnp.asarray(IDS))


def test_token_dropout_rate(key):
    """n = 2^18, false alarms 1e-6: 4.892 standard errors; it sees 0.8 % of rate 0.3."""
    y = jn.token_dropout(key, jnp.zeros(2**18, jnp.int32), 0.3, 1)
    assert abs(float(y.mean()) - 0.3) <= 4.892 * np.sqrt(0.3 * 0.7 / y.size)


def test_token_dropout_errors(key):
    def call(ids=IDS, rate=0.5, mask_id: object = MASK, key=key, **options):
        key = again(key) if isinstance(key, jax.Array) else key
        return jn.token_dropout(key, ids, rate, mask_id, **options)

    for rate in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match=r"token_dropout: rate must be in \[0, 1]"):
            call(rate=rate)
    for ids in (IDS.astype(np.float32), IDS > 2):
        for rate in (0, 0.5):
            with pytest.raises(TypeError, match="token_dropout: ids must have an int"):
                call(ids=ids, rate=rate)
    with pytest.raises(ValueError, match=r"mask_id must be in \[0, 255\].*got 999\. C"):
        call(ids=IDS.astype(np.uint8), mask_id=999)
    with pytest.raises(ValueError, match=r"protected must be in \[-128, 127\].*-129"):
        call(ids=IDS.astype(np.int8), protected=(1, -129))
    with pytest.raises(TypeError, match=r"mask_id must be an integer, got 1\.5"):
        call(mask_id=1.5)
    with pytest.raises(TypeError, match="key must be a PRNG key, got 0"):
        call(key=0)
    with pytest.raises(ValueError, match="batch of keys"):
        call(key=jax.random.split(again(key), 2))


def test_token_dropout_layers(key):
    expected = jn.token_dropout(again(key), IDS, 0.5, MASK, protected=(0,))
    ids = jnp.asarray(IDS)
    linen = jnn.TokenDropout(0.5, MASK, protected=[0])
    y = linen.apply({}, ids, deterministic=False, rng=again(key))
    np.testing.assert_array_equal(y, expected)
    assert linen.apply({}, ids, deterministic=True) is ids
    assert jnn.TokenDropout(0, MASK, deterministic=False).apply({}, ids) is ids
    layer = jnx.TokenDropout(0.5, MASK, protected=[0], rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(layer(ids, rngs=again(key)), expected)
    assert not (layer(ids) == layer(ids)).all()
    assert nnx.view(layer, deterministic=True)(ids) is ids


def test_neftune_noise(key):
    x = normal(8, 3, 5, 4)
    u = jax.random.uniform(again(key), x.shape, minval=-1)
    y = jn.neftune_noise(again(key), x, 5.0)
    np.testing.assert_allclose(y, x + 5 / np.sqrt(5 * 4) * u, rtol=1e-6, atol=1e-6)
    lengths = np.asarray([5, 2, 0])
    bound = 5 / np.sqrt(np.maximum(lengths, 1) * 4)
    y = np.asarray(jn.neftune_noise(again(key), x, 5.0, lengths=lengths))
    expected = x + bound[:, None, None] * u
    for row, length in enumerate(lengths):
        np.testing.assert_allclose(
            y[row, :length], expected[row, :length], rtol=1e-6, atol=1e-6
        )
        # padding is not text: to the bit
        np.testing.assert_array_equal(y[row, length:], x[row, length:])


def test_neftune_noise_without_a_batch_and_with_two_batch_dims(key):
    x = normal(8, 2, 3, 5, 4)
    lengths = jnp.asarray([[5, 2, 0], [1, 3, 4]], jnp.uint8)
    y = jax.jit(jn.neftune_noise)(again(key), x, 5.0, lengths=lengths)
    flat = jn.neftune_noise(
        again(key), x.reshape(6, 5, 4), 5.0, lengths=lengths.ravel()
    )
    np.testing.assert_allclose(y.reshape(6, 5, 4), flat, rtol=1e-6)
    alone = jn.neftune_noise(again(key), x[0, 0], 5.0, lengths=5)
    np.testing.assert_allclose(alone, jn.neftune_noise(again(key), x[0, 0], 5.0))


def test_neftune_noise_has_the_same_length_for_every_sequence(key):
    """The mean square of the noise of a sequence is alpha^2 / 3, however long it is.

    4000 sequences, false alarms 1e-6: 4.892 standard errors of their own.
    """
    lengths = jnp.arange(4000) % 8 + 1
    x = jnp.zeros((4000, 8, 2))
    y = np.asarray(jn.neftune_noise(key, x, 3.0, lengths=lengths), np.float64)
    squares = (y**2).sum((1, 2))
    for length in (1, 8):
        chosen = squares[np.asarray(lengths) == length]
        error = 4.892 * chosen.std() / np.sqrt(chosen.size)
        assert abs(chosen.mean() - 3.0) <= error


def test_neftune_noise_gradients(key):
    x, lengths = jnp.ones((2, 3, 4)), jnp.asarray([3, 1])

    def loss(x, alpha):
        y = jn.neftune_noise(again(key), x, alpha, lengths=lengths)
        return (y * jnp.arange(24.0).reshape(y.shape)).sum()

    by_x, by_alpha = jax.grad(loss, argnums=(0, 1))(x, 2.0)
    np.testing.assert_allclose(by_x, np.arange(24.0).reshape(2, 3, 4))
    np.testing.assert_allclose(by_alpha, loss(x, 1.0) - loss(x, 0.0), rtol=1e-5)


def test_neftune_noise_errors(key):
    x = jnp.ones((2, 3, 4))
    with pytest.raises(ValueError, match=r"lengths must have the shape \(2,\).*\(3,\)"):
        jn.neftune_noise(key, x, 1.0, lengths=jnp.ones(3, int))
    with pytest.raises(TypeError, match="lengths must have an integer dtype, got flo"):
        jn.neftune_noise(key, x, 1.0, lengths=jnp.ones(2))
    with pytest.raises(ValueError, match=r"embeddings must be \(\*batch, time, feat"):
        jn.neftune_noise(key, x[0, 0], 1.0)
    with pytest.raises(TypeError, match="embeddings must have a floating dtype"):
        jn.neftune_noise(key, x.astype(int), 1.0)


def test_neftune_layers_take_lengths_at_the_call(key):
    x, lengths = jnp.ones((2, 3, 4)), jnp.asarray([3, 1])
    expected = jn.neftune_noise(again(key), x, 5.0, lengths=lengths)
    y = jnn.NeftuneNoise(5.0, deterministic=False).apply(
        {}, x, rng=again(key), lengths=lengths
    )
    np.testing.assert_array_equal(y, expected)
    y = jnx.NeftuneNoise(5.0)(x, rngs=again(key), lengths=lengths)
    np.testing.assert_array_equal(y, expected)


def test_an_id_may_be_the_last_of_its_dtype():
    ids = jnp.arange(8, dtype=np.int8)
    y = jn.token_dropout(jax.random.key(0), ids, 1.0, 127, protected=(-128,))
    assert y.dtype == np.int8 and (y == 127).all()
    with pytest.raises(ValueError, match=r"mask_id must be in \[-128, 127\].*got 128"):
        jn.token_dropout(jax.random.key(0), ids, 1.0, 128)
