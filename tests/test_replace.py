"""Other noises in the place of the dropouts of linen and nnx models."""

import functools
import inspect
import threading
import warnings

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import errors, nnx

import jaxnoise as jn
import jaxnoise.linen as jnn
import jaxnoise.nnx as jnx

X = jax.random.normal(jax.random.key(1), (4, 6, 8))
NOISE = functools.partial(jn.real_gaussian_dropout, stddev=0.5)
VARIANTS = {
    "dropout": (jn.dropout, None, jn.dropout),
    "gaussian_dropout": (jn.gaussian_dropout, None, jn.gaussian_dropout),
    "alpha_dropout": (jn.alpha_dropout, None, jn.alpha_dropout),
    "drop_path": (jn.drop_path, None, jn.drop_path),
    "partial": (NOISE, None, NOISE),
    "stddev": (jn.gaussian_noise, 0.3, lambda k, x, _: jn.gaussian_noise(k, x, 0.3)),
    "own function": (lambda k, x, r: x + r, None, lambda k, x, r: x + r),
    "class": ("SpatialDropout", None, jn.spatial_dropout),
    "instance": (
        ("UniformNoise", 0.2),
        None,
        lambda k, x, _: jn.uniform_noise(k, x, 0.2),
    ),
    "instance, rate": (
        ("DropBlock", 0.1, 2),
        0.3,
        lambda k, x, _: jn.drop_block(k, x, 0.3, 2),
    ),
}


def key(number=0):
    return jax.random.key(number)


def given(api, name):
    """What to pass to replace_dropout, in linen or in nnx."""
    variant, rate, _ = VARIANTS[name]
    if isinstance(variant, str):
        return getattr(api, variant), rate
    if isinstance(variant, tuple):
        layer, *amounts = variant
        return getattr(api, layer)(*amounts), rate
    return variant, rate


class FinalDropout(nn.Dropout):
    """With another call, as models have it."""

    @nn.compact
    def __call__(self, x, train):
        return super().__call__(x, deterministic=not train)


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        x = nn.Dense(8)(x)
        return nn.Dropout(0.4, deterministic=False)(x), None


class Model(nn.Module):
    """Dropout in every place and called in every way."""

    @nn.compact
    def __call__(self, x, train=True):
        x = nn.Dropout(0.3)(nn.Dense(8)(x), deterministic=not train)
        x = nn.Dropout(0.5, (1,), not train, rng_collection="other")(x)
        x = nn.Dropout(0.0)(x, False) + nn.Dropout(1.0)(x, False)
        x = jnn.Dropout(0.25, bits=8)(x, not train)
        x = nn.Dropout(0.5)(x, not train, rng=key(7))
        if train:  # its noise is always on
            scanned = nn.scan(
                nn.remat(Block),
                variable_axes={"params": 0},
                split_rngs={"params": True, "dropout": True},
                length=2,
            )
            x, _ = scanned(name="blocks")(x, None)
        x = nn.MultiHeadDotProductAttention(2, dropout_rate=0.3)(
            x, deterministic=not train
        )
        x = nn.MultiHeadAttention(2, dropout_rate=0.3, broadcast_dropout=False)(
            x, deterministic=not train
        )
        return FinalDropout(0.2)(x, train)


PLACES = [
    *(f"Dropout_{n}" for n in range(6)),
    "blocks/Dropout_0",
    "FinalDropout_0",
]


@functools.cache
def variables():
    shapes = jax.eval_shape(Model().init, key(), X)
    return jax.tree.map(
        lambda leaf: np.linspace(-1, 1, leaf.size, dtype=np.float32).reshape(
            leaf.shape
        ),
        shapes,
    )


@functools.partial(jax.jit, static_argnums=1)
def run(variables, train=True):
    rngs = {"dropout": key(3), "other": key(4)}
    return Model().apply(variables, X, train, rngs=rngs)


def test_linen_dropout_for_dropout_changes_no_bit():
    expected = run(variables())
    assert not (expected == run(variables(), False)).all()
    with jnn.replace_dropout(jn.dropout, attention=False) as replaced:
        np.testing.assert_array_equal(run(variables()), expected)
    assert replaced == PLACES


def test_linen_leaves_nothing_behind_and_jit_knows_the_context():
    plain = run(variables())
    compiled = run._cache_size()

    def add(key, x, rate, broadcast_dims=()):
        return x + rate

    def scale(key, x, rate, broadcast_dims=()):
        return x * rate

    results = []
    for variant in (add, scale, add, scale):
        with jnn.replace_dropout(variant) as replaced:
            results.append(np.asarray(run(variables())))
        # what was compiled for the variant before is not traced again
        assert len(replaced) == (10 if len(results) <= 2 else 0), replaced
    assert run._cache_size() == compiled + 2
    np.testing.assert_array_equal(results[0], results[2])
    np.testing.assert_array_equal(results[1], results[3])
    assert not (results[0] == results[1]).all() and not (results[0] == plain).all()
    np.testing.assert_array_equal(run(variables()), plain)


class Drawn(nn.Module):
    """The key that a Dropout of that name would draw."""

    @nn.compact
    def __call__(self):
        return self.make_rng("dropout")


class Named(nn.Module):
    kind: str

    @nn.compact
    def __call__(self, x=None):
        if self.kind == "key":
            return Drawn(name="noise")()
        return nn.Dropout(0.25, deterministic=False, name="noise")(x)


@pytest.mark.parametrize("name", VARIANTS)
def test_linen_variant_is_its_function_with_the_key_of_flax(name):
    rngs = {"dropout": key(5)}
    drawn = Named("key").apply({}, rngs=rngs)
    expected = VARIANTS[name][2](drawn, X, 0.25)
    with jnn.replace_dropout(*given(jnn, name)) as replaced:
        found = Named("dropout").apply({}, X, rngs=rngs)
    np.testing.assert_array_equal(found, expected)
    assert not (found == X).all() and replaced == ["noise"]


def test_linen_rates_by_path():
    class Two(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dropout(0.25, deterministic=False, name="encoder")(x)
            return x, nn.Dropout(0.25, deterministic=False, name="decoder")(x)

    paths = []

    def rate(path):
        paths.append(path)
        return {"encoder": 0, "decoder": None}[path]

    with jnn.replace_dropout(lambda k, x, r: x + r, rate):
        first, second = Two().apply({}, X, rngs={"dropout": key()})
    assert first is X and paths == ["encoder", "decoder"]
    np.testing.assert_array_equal(second, X + 0.25)


def test_linen_inner_context_wins():
    layer = nn.Dropout(0.5, deterministic=False)
    with jnn.replace_dropout(lambda k, x, r: x + 1) as outer:
        with jnn.replace_dropout(lambda k, x, r: x + 2) as inner:
            y = layer.apply({}, X, rng=key())
            np.testing.assert_array_equal(y, X + 2)
        assert (outer, inner) == ([], [""])
        np.testing.assert_array_equal(layer.apply({}, X, rng=key()), X + 1)
    with pytest.raises(RuntimeError), jnn.replace_dropout(lambda k, x, r: x + 1):
        raise RuntimeError
    y = layer.apply({}, X, rng=key())
    np.testing.assert_array_equal(y, jn.dropout(key(), X, 0.5))


def test_linen_context_is_for_its_thread():
    layer, seen = nn.Dropout(0.5, deterministic=False), []

    def run():
        seen.append(layer.apply({}, X, rng=key()))

    with jnn.replace_dropout(lambda k, x, r: x + 1):
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        run()
    np.testing.assert_array_equal(seen[0], jn.dropout(key(), X, 0.5))
    np.testing.assert_array_equal(seen[1], X + 1)


def test_linen_traced_rate_compiles_once():
    layer = nn.Dropout(0.5, deterministic=False)

    @jax.jit
    def call(rate):
        with jnn.replace_dropout(jn.gaussian_dropout, rate):
            return layer.apply({}, X, rng=key())

    for rate in (0.25, 0.5):
        expected = jax.jit(jn.gaussian_dropout)(key(), X, rate)
        np.testing.assert_allclose(call(rate), expected, rtol=1e-6)
    assert call._cache_size() == 1


def test_linen_needs_a_key_only_for_noise():
    def apply(layer, **more):
        with jnn.replace_dropout(jn.dropout):
            return layer.apply({}, X, **more)

    assert apply(nn.Dropout(0.5), deterministic=True) is X
    assert apply(nn.Dropout(0.0), deterministic=False) is X
    assert (apply(nn.Dropout(1.0), deterministic=False) == 0).all()
    with pytest.raises(errors.InvalidRngError):
        apply(nn.Dropout(0.5), deterministic=False)
    with pytest.raises(ValueError, match="deterministic"):
        apply(nn.Dropout(0.5))
    mask = jn.dropout_mask(key(), X.shape, 0.5)
    found = apply(jnn.Dropout(0.5), deterministic=False, mask=mask)
    np.testing.assert_array_equal(found, jn.apply_mask(X, mask, 0.5))


def test_linen_says_that_nothing_was_there():
    dense = nn.Dense(3)
    with pytest.warns(UserWarning, match="replace_dropout: there was nothing"):
        with jnn.replace_dropout(jn.dropout):
            variables = dense.init(key(), X)
    call = jax.jit(dense.apply)
    call(variables, X)
    with warnings.catch_warnings(), jnn.replace_dropout(jn.dropout):
        warnings.simplefilter("error")  # no module ran: nothing is known


# --- attention ----------------------------------------------------------------------


def ones_of_attention(apply):
    """The weights of attention under noise: values that are the unit vectors."""
    unit = jnp.broadcast_to(jnp.eye(6)[None, :, None], (4, 6, 2, 6))
    return np.moveaxis(np.asarray(apply(unit)), -2, 1)


class Weights(nn.MultiHeadDotProductAttention):
    """Attention from outside: its function, called with values of the test's."""

    @nn.compact
    def __call__(self, query, value, rng):
        return self.attention_fn(
            query,
            query,
            value,
            dropout_rng=rng,
            dropout_rate=self.dropout_rate,
            broadcast_dropout=self.broadcast_dropout,
            deterministic=False,
        )


QUERY = jax.random.normal(jax.random.key(2), (4, 6, 2, 3))


@pytest.mark.parametrize("broadcast", [False, True])
@pytest.mark.parametrize("name", ["dropout", "gaussian_dropout", "instance"])
def test_attention_is_the_function_on_the_weights(name, broadcast):
    """In linen and in nnx; shared over batch and heads if the function can."""
    plain = nn.dot_product_attention_weights(QUERY, QUERY)
    function = VARIANTS[name][2]
    shared = {"broadcast_dims": (0, 1)} if broadcast and name == "dropout" else {}
    expected = function(key(), plain, 0.3, **shared)
    layer = Weights(2, dropout_rate=0.3, broadcast_dropout=broadcast)
    with jnn.replace_dropout(*given(jnn, name)) as replaced:
        found = ones_of_attention(lambda v: layer.apply({}, QUERY, v, key()))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert replaced == [""]

    attention = nnx.MultiHeadAttention(
        2, 4, dropout_rate=0.3, broadcast_dropout=broadcast, rngs=nnx.Rngs(0)
    )
    other = jnx.replace_dropout(attention, *given(jnx, name))
    found = ones_of_attention(
        lambda v: other.attention_fn(
            QUERY,
            QUERY,
            v,
            dropout_rng=key(),
            dropout_rate=other.dropout_rate,
            broadcast_dropout=other.broadcast_dropout,
        )
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert attention.attention_fn is nnx.dot_product_attention


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_attention_in_bfloat16_rounds_values_where_flax_rounds_weights(rate):
    """Of values of 1 the outputs are those of flax to the bit.

    Of others each is rounded once, where flax rounds the factor and then the weight.
    """
    query = QUERY.astype(jnp.bfloat16)
    plain = nn.dot_product_attention_weights(query, query)
    assert plain.dtype == jnp.bfloat16
    attention = nnx.MultiHeadAttention(2, 4, dropout_rate=rate, rngs=nnx.Rngs(0))
    ours = jnx.replace_dropout(attention, jn.dropout).attention_fn

    def attend(function, v):
        options = {"dropout_rng": key(), "dropout_rate": rate}
        return function(query, query, v.astype(query.dtype), **options)

    def weights(function):
        found = ones_of_attention(lambda v: attend(function, v))
        return found.astype(np.float32)

    kept = weights(ours) != 0
    assert 0 < kept.mean() < 1
    np.testing.assert_array_equal(weights(ours), weights(nnx.dot_product_attention))

    values = jax.random.normal(jax.random.key(5), query.shape, query.dtype)
    mask = jax.random.bernoulli(key(), 1 - rate, (1, 1, *plain.shape[-2:]))
    dropped = jnp.where(mask, plain, jnp.zeros((), plain.dtype))
    factor = np.float32(1) / np.float32(1 - rate)
    scaled = (np.asarray(values, np.float32) * factor).astype(values.dtype)
    expected = jnp.einsum("...hqk,...khd->...qhd", dropped, scaled)
    np.testing.assert_array_equal(attend(ours, values), expected)


def test_attention_with_a_function_of_its_own_is_out_of_reach():
    def attend(query, key, value, **_):
        return value

    layer = nn.MultiHeadDotProductAttention(2, dropout_rate=0.3, attention_fn=attend)
    rngs = {"params": key(), "dropout": key(1)}
    with pytest.warns(UserWarning, match="nothing to replace"):
        with jnn.replace_dropout(jn.dropout):
            layer.init(rngs, X, deterministic=False)
    attention = nnx.MultiHeadAttention(
        2, 4, dropout_rate=0.3, attention_fn=attend, rngs=nnx.Rngs(0)
    )
    with pytest.raises(ValueError, match=r"must have an nnx\.Dropout"):
        jnx.replace_dropout(attention, jn.dropout)


OURS = {"linen": jnn.dot_product_attention, "nnx": jnx.dot_product_attention}


def attended(api, attention_fn=None, *variant, **replaced):
    """The output of an attention layer of flax, with its dropouts replaced or not."""
    own: dict = {"dropout_rate": 0.25, "broadcast_dropout": False}
    own |= {"deterministic": False, "kernel_init": some_kernel}
    own |= {} if attention_fn is None else {"attention_fn": attention_fn}

    def in_nnx():
        layer = nnx.MultiHeadAttention(2, 8, **own, decode=False, rngs=nnx.Rngs(0))
        if variant:
            layer = jnx.replace_dropout(layer, *variant, **replaced)
        return layer(X, rngs=nnx.Rngs(dropout=3))

    def in_linen():
        layer = nn.MultiHeadDotProductAttention(2, **own)
        if not variant:
            return layer.init_with_output({"params": key(), "dropout": key()}, X)[0]
        with jnn.replace_dropout(*variant, **replaced) as found:
            y, _ = layer.init_with_output({"params": key(), "dropout": key()}, X)
        assert found == [""]
        return y

    return jax.jit({"linen": in_linen, "nnx": in_nnx}[api])()


def some_kernel(key, shape, *dtype):
    return jnp.sin(jnp.arange(np.prod(shape), dtype=jnp.float32)).reshape(shape)


@pytest.mark.parametrize("api", OURS)
def test_attention_by_blocks_in_a_model_that_exists(api):
    """In one line, with the outputs of flax; and with few bits, those of ours."""
    lean = functools.partial(OURS[api], block_size=4)
    found = attended(api, None, jn.dropout, attention=lean)
    np.testing.assert_allclose(found, attended(api), rtol=1e-5, atol=1e-5)
    few = functools.partial(lean, bits=8)
    found = attended(api, None, jn.gaussian_noise, 0.1, attention=few)
    np.testing.assert_array_equal(found, attended(api, few))
    found = attended(api, None, jn.dropout, 0.5, attention=few)
    at_half = functools.partial(jn.dropout, bits=8)
    np.testing.assert_array_equal(found, attended(api, lean, at_half, 0.5))
    assert not (found == attended(api, few)).all()


@pytest.mark.parametrize("api", OURS)
def test_attention_that_is_ours_already(api):
    """It keeps its blocks, and has weights for other noise only without them."""
    found = attended(api, OURS[api], functools.partial(jn.dropout, bits=8))
    few = functools.partial(OURS[api], bits=8)
    np.testing.assert_array_equal(found, attended(api, few))
    found, expected = (
        attended(api, fn, jn.gaussian_dropout) for fn in (OURS[api], None)
    )
    np.testing.assert_array_equal(found, expected)
    for options in ({"block_size": 4}, {"drop": "keys"}):
        with pytest.raises(
            ValueError, match=r"must be jaxnoise\.dropout where.*gaussi"
        ):
            fn = functools.partial(OURS[api], **options)
            attended(api, fn, jn.gaussian_dropout)
    with pytest.raises(TypeError, match="attention must be True, False or an atten"):
        attended(api, None, jn.dropout, attention="blocks")


def test_linen_attention_is_traced_once_for_equal_functions():
    layer = nn.MultiHeadDotProductAttention(2, dropout_rate=0.25, deterministic=False)
    call = jax.jit(lambda: layer.init_with_output(key(), X)[0])
    for wanted in ([""], []):
        lean = functools.partial(jnn.dot_product_attention, block_size=4)
        with jnn.replace_dropout(jn.dropout, attention=lean) as replaced:
            jax.eval_shape(call)
        assert replaced == wanted


def test_nnx_attention_with_groups_masks_and_switches():
    options = {"num_kv_heads": 2, "dropout_rate": 0.3, "decode": False}
    rngs = nnx.Rngs(0, dropout=1)
    first = nnx.MultiHeadAttention(4, 8, **options, deterministic=False, rngs=rngs)
    second = jnx.replace_dropout(nnx.clone(first), jn.dropout)
    calls: list[dict] = [{}, {"deterministic": True}]
    # flax 0.12.7 has no is_causal
    if "is_causal" in inspect.signature(nnx.MultiHeadAttention.__call__).parameters:
        calls.append({"is_causal": True})
    for more in calls:
        found, expected = second(X, **more), first(X, **more)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    third = jnx.replace_dropout(first, jn.dropout, rate=0)
    np.testing.assert_allclose(
        third(X), first(X, deterministic=True), rtol=1e-5, atol=1e-5
    )


# --- nnx ----------------------------------------------------------------------------


class NnxModel(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(8, 8, rngs=rngs)
        self.noise = nnx.Dropout(0.3, rngs=rngs)
        self.again = self.noise
        self.more = nnx.List([nnx.Dropout(0.5, broadcast_dims=(1,), rngs=rngs)])
        self.other = nnx.Dropout(0.4, rng_collection="other", rngs=rngs)
        self.ours = jnx.Dropout(0.25, bits=8, rngs=rngs)
        self.off = nnx.Dropout(0.5, deterministic=True)
        self.end = nnx.Sequential(nnx.Dropout(0.2, rngs=rngs["noise"]), nnx.relu)

    def __call__(self, x):
        x = self.again(self.noise(self.first(x)))
        return self.end(self.off(self.ours(self.other(self.more[0](x)))))


def nnx_model():
    return NnxModel(nnx.Rngs(0, dropout=1, other=2, noise=3))


@nnx.jit
def nnx_jit(m, x):
    return m(x)


def test_nnx_dropout_for_dropout_changes_no_bit():
    first = nnx_model()
    second = jnx.replace_dropout(nnx.clone(first), jn.dropout)
    for call in (nnx_jit, nnx_jit):
        np.testing.assert_array_equal(call(second, X), call(first, X))
    assert type(second.more[0]) is jnx.Dropout and second.ours.bits == 8
    assert second.noise is second.again
    first, second = (nnx.view(m, deterministic=True) for m in (first, second))
    np.testing.assert_array_equal(second(X), first(X))


def test_nnx_gives_a_new_model_that_shares_variables():
    first = nnx_model()
    second = jnx.replace_dropout(first, jn.alpha_dropout)
    assert type(first.noise) is nnx.Dropout
    assert type(second.noise) is jnx.AlphaDropout
    assert second.first.kernel is first.first.kernel
    count = int(first.noise.rngs.count[...])
    second(X)
    assert first.noise.rngs.count[...] == count + 2


@pytest.mark.parametrize("name", VARIANTS)
def test_nnx_variant_is_its_function(name):
    layer = jnx.replace_dropout(nnx.Dropout(0.25), *given(jnx, name))
    expected = VARIANTS[name][2](key(), X, 0.25)
    np.testing.assert_array_equal(layer(X, rngs=key()), expected)
    assert not (expected == X).all()
    assert layer(X, deterministic=True) is X
    if name != "instance, rate":
        assert jnx.replace_dropout(nnx.Dropout(0.25), jn.dropout, rate=0)(X) is X
    y = nnx_jit(jnx.replace_dropout(nnx.Dropout(0.3, rngs=nnx.Rngs(0)), NOISE), X)
    assert y.shape == X.shape


def test_nnx_rates_by_path():
    rates = {"more/0": 0.1, "end/layers/0": 0}
    add = jnx.replace_dropout(
        nnx_model(), lambda k, x, r, broadcast_dims=(): x + r, rates.get
    )
    assert add.more[0].amount == 0.1 and add.noise.amount == 0.3
    assert add.more[0].options == (("broadcast_dims", (1,)),)
    assert add.end.layers[0](X) is X


def test_nnx_says_what_there_is():
    model = nnx.Sequential(nnx.Linear(8, 8, rngs=nnx.Rngs(0)), nnx.relu)
    with pytest.raises(ValueError, match=r"nnx.Dropout.*'layers/0' \(Linear\)"):
        jnx.replace_dropout(model, jn.dropout)
    once = jnx.replace_dropout(nnx.Dropout(0.5), jn.gaussian_dropout)
    with pytest.raises(ValueError, match="start from the first model"):
        jnx.replace_dropout(once, jn.alpha_dropout)


# --- errors of both -----------------------------------------------------------------


def replace_linen(variant, rate=None, layer=None):
    layer = layer or nn.Dropout(0.5)
    with jnn.replace_dropout(variant, rate):
        return layer.apply({}, X, deterministic=False, rng=key())


def replace_nnx(variant, rate=None, layer=None):
    return jnx.replace_dropout(layer or nnx.Dropout(0.5), variant, rate)


@pytest.mark.parametrize("replace", [replace_linen, replace_nnx])
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            (0.5,),
            TypeError,
            r"must be a function f\(key, x, rate\) or a layer of jaxno",
        ),
        ((nn.Dropout(0.5),), TypeError, "must be a function.*or a layer of jaxnoise"),
        ((nnx.Dropout,), TypeError, "must be a function.*or a layer of jaxnoise"),
        ((lambda k, x: x,), TypeError, r"callable as f\(key, x, rate\).*too many"),
        ((jn.drop_block,), TypeError, "missing a required.*Bind.*functools.partial"),
        ((jn.gaussian_noise,), ValueError, "rate must be given for gaussian_noise"),
        (
            (jn.gaussian_noise, lambda path: None),
            ValueError,
            "rate must be given for gaussian_noise",
        ),
        ((jn.dropout, -0.1), ValueError, "rate must be finite and at least 0, got -0"),
        ((jn.dropout, "a"), TypeError, "rate must be a real number, got 'a'"),
        ((jn.dropout, 1.5), ValueError, r"rate must be in \[0, 1\], got 1.5"),
    ],
)
def test_errors(replace, arguments, error, message):
    with pytest.raises(error, match=message):
        replace(*arguments)


def test_shared_draws_need_a_function_that_can():
    message = r"must take broadcast_dims, as the dropout at '' has.*=\(1,\), got gauss"
    for replace, kind in ((replace_linen, nn.Dropout), (replace_nnx, nnx.Dropout)):
        layer = kind(0.5, broadcast_dims=(1,))
        with pytest.raises(ValueError, match=message):
            replace(jn.gaussian_dropout, None, layer)
        replace(lambda k, x, r, broadcast_dims=(): x, None, layer)
        replace(functools.partial(jn.dropout, broadcast_dims=()), None, layer)
