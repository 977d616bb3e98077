"""Traced amounts under checkify: bad ones are errors, and cost nothing without it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify
from jax.sharding import PartitionSpec as P

import jaxnoise as jn
import jaxnoise.linen as jnn
from jaxnoise import learned, losses, recurrent, schedules, tree, weights
from jaxnoise._core import _traced

NAN, INF = float("nan"), float("inf")
X, KERNEL = jnp.ones((2, 3, 4)), jnp.ones((4, 4))
RATES, STRENGTHS = (-0.5, 1.5, NAN, -INF), (-0.5, NAN, INF)


def key():
    return jax.random.key(0)


def noise(name, *more, x=X, **options):
    function = getattr(jn, name)
    return lambda amount: function(key(), x, amount, *more, **options)


MASK = jnp.ones(X.shape, bool)
RATED = {
    "dropout: rate": noise("dropout"),
    "dropout_mask: rate": lambda r: jn.dropout_mask(key(), (2, 3), r),
    "apply_mask: rate": lambda r: jn.apply_mask(X, MASK, r),
    "spatial_dropout: rate": noise("spatial_dropout"),
    "drop_path: rate": noise("drop_path"),
    "drop_block: rate": noise("drop_block", 2),
    "alpha_dropout: rate": noise("alpha_dropout"),
    "feature_alpha_dropout: rate": noise("feature_alpha_dropout"),
    "gaussian_dropout: rate": noise("gaussian_dropout"),
    "real_gaussian_dropout: rate": noise("real_gaussian_dropout", 1),
    "salt_and_pepper: rate": noise("salt_and_pepper"),
    "salt_and_pepper: salt_vs_pepper": lambda share: jn.salt_and_pepper(
        key(), X, 0.5, salt_vs_pepper=share
    ),
    "embedding_dropout: rate": noise("embedding_dropout", x=KERNEL),
    "token_dropout: rate": noise("token_dropout", 3, x=jnp.ones((2, 3), int)),
    "tree.dropconnect: rate": lambda r: tree.dropconnect(key(), {"a": X}, r),
    "tree.mask: rate": lambda r: tree.mask(key(), {"a": X}, r),
    "tree.apply_mask: rate": lambda r: tree.apply_mask({"a": X}, {"a": MASK}, r),
    "dropconnect_dense: rate": lambda r: weights.dropconnect_dense(key(), X, KERNEL, r),
    "sample_noise: recurrent_rate": lambda r: recurrent.sample_noise(
        key(), (2, 3), 4, gates=4, recurrent_rate=r
    ),
    "expected_noise: zoneout_cell": lambda r: recurrent.expected_noise(zoneout_cell=r),
    "early_dropout: rate": lambda r: schedules.early_dropout(r, 3)(1),
    "depth_rates: rate": lambda r: schedules.depth_rates(r, 3),
    "Dropout: rate": lambda r: jnn.Dropout(r).apply(
        {}, X, deterministic=False, rng=key()
    ),
}
SCALED = {
    "gaussian_noise: stddev": noise("gaussian_noise"),
    "uniform_noise: scale": noise("uniform_noise"),
    "laplace_noise: scale": noise("laplace_noise"),
    "poisson_noise: scale": noise("poisson_noise"),
    "speckle_noise: stddev": noise("speckle_noise"),
    "neftune_noise: alpha": noise("neftune_noise"),
    "real_gaussian_dropout: stddev": lambda s: jn.real_gaussian_dropout(
        key(), X, 0.5, s
    ),
    "tree.gaussian_noise: stddev": lambda s: tree.gaussian_noise(key(), {"a": X}, s),
    "concrete_dropout: temperature": lambda t: learned.concrete_dropout(
        key(), X, jnp.float32(0), t
    ),
    "ar: alpha": lambda a: losses.ar(X, a),
}
ALL = RATED | SCALED


@functools.cache
def checked(name):
    """Compiled once; a nested jit must not hide the check."""
    inner = jax.jit(lambda amount: jax.tree.leaves(ALL[name](amount)))
    return jax.jit(checkify.checkify(lambda amount: [inner(amount)] and amount + 0))


@pytest.mark.parametrize("name", ALL)
def test_a_bad_traced_amount_is_an_error_under_checkify(name):
    function, argument = name.split(": ")
    good = 0.25
    assert checked(name)(jnp.float32(good))[0].get() is None
    for bad in RATES if name in RATED else STRENGTHS:
        message = checked(name)(jnp.float32(bad))[0].get()
        assert message is not None, bad
        assert message.lower().startswith(f"{function.lower()}: {argument} must be ")
        assert f"got {bad}" in message and len(message) < 500
        with pytest.raises(ValueError, match=rf"{argument} must be .*, got "):
            checked(name)(jnp.float32(bad))[0].throw()


def test_slopes_of_rrelu_must_be_in_order_under_checkify():
    check = jax.jit(checkify.checkify(lambda a, b: jn.rrelu(key(), X, a, b)))
    assert check(0.1, 0.3)[0].get() is None
    for ends, message in {
        (0.3, 0.1): "rrelu: lower must be at most upper, got 0.3.* and 0.1.* Swap",
        (NAN, 0.1): "rrelu: lower must be finite, got nan",
        (0.1, INF): "rrelu: upper must be finite, got inf",
    }.items():
        with pytest.raises(ValueError, match=message):
            check(*ends)[0].throw()
    rows = jax.vmap(lambda a: jn.rrelu(key(), X, a, 0.2))
    with pytest.raises(ValueError, match=r"lower must be at most upper, got 0\.3"):
        checkify.checkify(rows)(jnp.array([0.1, 0.3]))[0].throw()


def test_a_float64_amount_must_be_finite_in_the_precision_of_the_noise():
    with jax.enable_x64(True):
        amount, x = jnp.float64(1e300), jnp.ones(3, jnp.float32)
        check = checkify.checkify(jax.jit(lambda a, x: jn.gaussian_noise(key(), x, a)))
        with pytest.raises(ValueError, match="stddev must be finite in float32"):
            check(amount, x)[0].throw()
        assert check(amount, x.astype(jnp.float64))[0].get() is None


def loss(rate, stddev, x=X):
    """Both kinds of amount, of which one has a gradient."""
    k1, k2 = jax.random.split(key())
    return jn.gaussian_noise(k2, jn.dropout(k1, x, rate), stddev).sum()


def in_scan(rate, stddev):
    def step(total, step):
        return total + loss(rate * step, stddev), None

    return jax.lax.scan(step, jnp.float32(0), jnp.array([0.5, 1.0]))[0]


def over_keys(rate, stddev):
    keys = jax.random.split(key(), 3)
    return jax.vmap(lambda k: jn.dropout(k, X, rate) * stddev)(keys).sum()


def over_rates(rate, stddev):
    rates = jnp.stack([rate / 4, rate / 2, rate])
    return jax.vmap(loss, in_axes=(0, None))(rates, stddev).sum()


def sharded(rate, stddev):
    devices, kind = jax.devices()[:2], (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((2,), ("data",), kind, devices=devices)
    local = jax.shard_map(
        lambda rate, x: loss(rate, stddev, x)[None],
        mesh=mesh,
        in_specs=(P(), P("data")),
        out_specs=P("data"),
    )
    return local(rate, X).sum()


def in_a_layer(rate, stddev):
    rnn = jnn.RNN(jnn.LSTMCell(4, recurrent_rate=rate))
    params = jnn.RNN(jnn.LSTMCell(4)).init(key(), X)
    y = rnn.apply(params, X, deterministic=False, rngs={"dropout": key()})
    return (y * stddev).sum()


TRANSFORMS = {
    "plain": loss,
    "jit": jax.jit(loss),
    "jit in jit": jax.jit(lambda r, s: jax.jit(loss)(r, s)),
    "checkpoint": jax.checkpoint(loss),
    "gradient": lambda r, s: jax.grad(loss, argnums=1)(r, s),
    "gradient of checkpoint": jax.grad(jax.checkpoint(loss), argnums=1),
    "derivative": lambda r, s: jax.jvp(loss, (r, s), (r, s))[1],
    "hessian": jax.hessian(lambda r, s: loss(r, s) ** 2, argnums=1),
    "scan": in_scan,
    "gradient of scan": jax.grad(in_scan, argnums=1),
    "cond": lambda r, s: jax.lax.cond(s > 0, loss, lambda r, s: s, r, s),
    "vmap over keys": over_keys,
    "vmap over rates": over_rates,
    "gradient of vmap": jax.grad(over_rates, argnums=1),
    "shard_map": sharded,
    "a cell with a custom derivative": jax.grad(in_a_layer, argnums=1),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms(name):
    """They work as without the check, and the check works in them."""
    transformed = TRANSFORMS[name]

    @jax.jit
    def without_and_with(*amounts):
        return transformed(*amounts), checkify.checkify(transformed)(*amounts)

    good = jnp.float32(0.25), jnp.float32(0.5)
    found, (error, same) = without_and_with(*good)
    assert error.get() is None
    np.testing.assert_allclose(same, found, rtol=1e-6)
    with pytest.raises(ValueError, match=r"rate must be in \[0, 1\], got 1.5"):
        without_and_with(jnp.float32(1.5), good[1])[1][0].throw()


def test_vmap_of_checkify_says_which_rows():
    rows = jax.vmap(checkify.checkify(lambda r: jn.dropout(key(), X, r)))
    error, _ = rows(jnp.array([0.5, 1.5, -1.0]))
    assert "at mapped index 1: dropout: rate must be" in error.get()
    assert "at mapped index 2: dropout: rate must be" in error.get()
    assert "index 0" not in error.get()
    none = jax.vmap(lambda r: jn.dropout(key(), X, r))
    assert checkify.checkify(none)(jnp.zeros(0))[0].get() is None


@pytest.mark.parametrize("name", ALL)
def test_without_checkify_there_is_nothing_left(name, monkeypatch):
    """The same program to the character, without an effect that dispatch would see."""
    # a function of its own each time, or the first trace would be taken again
    amount = jnp.float32(0.25)
    lowered = jax.jit(lambda amount: ALL[name](amount)).trace(amount)
    assert not lowered.jaxpr.effects
    found = lowered.lower().as_text()
    bound = []
    monkeypatch.setattr(
        _traced,
        "watched",
        lambda law, message, number, *_: [bound.append(law)] and number,
    )
    plain = jax.jit(lambda amount: ALL[name](amount)).lower(amount).as_text()
    assert bound and found == plain


def test_it_is_exported():
    exported = jax.export.export(jax.jit(loss))(jnp.float32(0.5), jnp.float32(0.5))
    again = jax.export.deserialize(exported.serialize(vjp_order=1))
    expected = jax.jit(loss)(0.5, 0.25)
    np.testing.assert_allclose(again.call(0.5, 0.25), expected, rtol=1e-6)


# what the docs say; a rate that is not in the table is clipped, and nan is 1
NAN_GIVES_NAN = ("gaussian_dropout", "alpha_dropout", "feature_alpha_dropout")
NAN_GIVES_NAN += ("expected_noise", "early_dropout", "depth_rates")
# a schedule gives what it was given to the function that clips it
AS_IT_IS = ("early_dropout", "depth_rates")


@pytest.mark.parametrize("name", ALL)
def test_without_checkify_a_bad_traced_amount_does_what_the_docs_say(name):
    function = name.split(":")[0]
    draw = jax.jit(lambda amount: jax.tree.leaves(ALL[name](amount))[-1])

    def at(amount):
        return np.asarray(draw(jnp.float32(amount)))

    if name in SCALED:
        if function == "poisson_noise":
            np.testing.assert_array_equal(at(-0.5), X)
            np.testing.assert_array_equal(at(NAN), X)
        else:
            assert np.isnan(at(NAN)).any()
        if function in ("gaussian_noise", "uniform_noise", "laplace_noise"):
            np.testing.assert_allclose(at(-0.5) - X, X - at(0.5), atol=1e-6)
    elif function not in AS_IT_IS:
        for bad, same in ((-0.5, 0), (-INF, 0), (1.5, 1), (INF, 1)):
            np.testing.assert_array_equal(at(bad), at(same))
    if name in RATED and function in NAN_GIVES_NAN:
        assert np.isnan(at(NAN)).all()
    elif function == "drop_block":
        assert not at(NAN).any()
    elif name in RATED:
        np.testing.assert_array_equal(at(NAN), at(1))
