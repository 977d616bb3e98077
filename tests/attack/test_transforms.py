"""Attacks on what JAX makes of noise: transforms in transforms, donated inputs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hostile import EXAMPLES, attack, noise_of, one_of
from hypothesis import strategies as st

from jaxnoise.testing import CASES

# attention has no x: its case makes queries, keys and values of one
OF_X = [case for case in CASES if "attention" not in case.name]

pytestmark = pytest.mark.attack

X = jax.ShapeDtypeStruct((2, 3, 4), "float32")


def by_grad(f):
    return lambda key, x: jax.grad(lambda x: f(key, x).sum())(x)


def by_jvp(f):
    return lambda key, x: jax.jvp(lambda x: f(key, x), (x,), (x,))[1]


def by_scan(f):
    def scanned(key, x):
        keys = jax.random.split(key, 2)
        return jax.lax.scan(lambda x, key: (f(key, x), None), x, keys)[0]

    return scanned


def by_vmap(f):
    def mapped(key, x):
        return jax.vmap(f, in_axes=(0, None))(jax.random.split(key, 2), x)[0]

    return mapped


def by_cond(f):
    return lambda key, x: jax.lax.cond(x.sum() > 0, f, lambda key, x: x, key, x)


def by_loop(f):
    def looped(key, x):
        again = jax.random.fold_in
        return jax.lax.fori_loop(0, 2, lambda i, x: f(again(key, i), x), x)

    return looped


TRANSFORMS = {
    "grad": by_grad,
    "jvp": by_jvp,
    "remat": jax.checkpoint,
    "scan": by_scan,
    "vmap": by_vmap,
    "jit": jax.jit,
    "cond": by_cond,
    "loop": by_loop,
}


def test_nests():
    """Up to four transforms around each other: x's shape and dtype, and no leak."""

    def call(case, nest):
        if "grad" in nest and "loop" in nest[nest.index("grad") :]:
            nest = [name for name in nest if name != "loop"]  # while has no transpose
        f = functools.reduce(
            lambda f, name: TRANSFORMS[name](f),
            nest,
            lambda key, x: case.noise(key, x, np.float32(0.5)),
        )
        # the check of JAX calls keys that are split in a vmap and scanned over used
        # twice, for jax.random.normal too
        split = "scan" in nest and "vmap" in nest[nest.index("scan") :]
        with jax.checking_leaks(), jax.debug_key_reuse(not split):
            y = jax.eval_shape(f, jax.random.key(0), X)
        assert (y.shape, y.dtype) == (X.shape, X.dtype)

    # the shape laws of the other functions are the same
    chosen = [c for c in CASES if c.name in ("dropout", "gaussian_noise", "drop_block")]
    chosen += [c for c in CASES if c.name in ("poisson_noise", "dropout, 8 bits")]
    attack(
        "nests",
        call,
        EXAMPLES["nests"],
        case=one_of(chosen),
        nest=st.lists(st.sampled_from(sorted(TRANSFORMS)), min_size=1, max_size=4),
    )


def test_vmap_of_grad_of_remat_of_scan_is_a_loop():
    """The values of one deep nest, against Python loops over keys and over steps."""
    noise = next(case.noise for case in CASES if case.name == "dropout")
    x = jnp.linspace(0.5, 2, 24, dtype=jnp.float32).reshape(2, 3, 4)

    def steps(key, x):
        def body(x, key):
            # a clone, since the backward pass of remat draws again
            return noise(jax.random.clone(key), x, 0.25) ** 2, None

        return jax.lax.scan(body, x, jax.random.split(jax.random.clone(key), 2))[
            0
        ].sum()

    keys = jax.random.split(jax.random.key(1), 3)
    nested = jax.vmap(jax.grad(jax.checkpoint(steps), argnums=1), in_axes=(0, None))
    found = nested(jax.random.clone(keys), x)
    for number in range(3):
        y, slope = np.asarray(x, np.float64), 1.0
        own = jax.random.split(jax.random.clone(keys)[number], 2)
        for step in range(2):
            mask = jax.random.bernoulli(jax.random.clone(own)[step], 0.75, x.shape)
            scale = np.where(mask, 1 / 0.75, 0.0)
            slope, y = slope * 2 * (y * scale) * scale, (y * scale) ** 2
        np.testing.assert_allclose(found[number], slope, rtol=1e-5)


@pytest.mark.parametrize("case", OF_X, ids=lambda case: case.name)
def test_donated_inputs(case):
    """A donated x gives what x gives; the array that was donated is then refused."""
    noise = noise_of(case)
    plain, donated = jax.jit(noise), jax.jit(noise, donate_argnums=1)
    numbers = np.random.default_rng(0).standard_normal((16, 2, 3, 4), np.float32)

    def call(number, amount, row):
        x = jnp.asarray(np.abs(numbers[row]))
        if case.name == "embedding_dropout":
            x = x[0]  # a table
        amount = np.float32(amount)
        expected = plain(jax.random.key(number), x, amount)
        y = donated(jax.random.key(number), x, amount)
        np.testing.assert_array_equal(y, expected)
        if x.is_deleted():
            with pytest.raises(ValueError, match="deleted or donated"):
                noise(jax.random.key(number), x, 0.5)

    attack(
        f"donated {case.name}",
        call,
        -(-EXAMPLES["donated"] // len(OF_X)),
        number=st.integers(0, 3),
        amount=one_of([0.0, 0.25, 0.5]),
        row=st.integers(0, 15),
    )


def test_there_are_20000_examples():
    assert sum(EXAMPLES.values()) >= 20_000
