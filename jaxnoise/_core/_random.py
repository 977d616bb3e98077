"""From a key to random bits, uniforms, normals, Laplace variables, Poisson counts.

Every draw has the bits of `jax.random` for the same key. What differs is the way
there. JAX lowers threefry on CPU to a rolled loop over whole arrays; written out
round by round, as here, XLA fuses it with whatever consumes the bits, and neither the
counters nor the bits ever reach memory. On TPU the compiler counts a tenth fewer cycles
for it than for JAX's own. On every other platform, for every other key implementation
and without `jax_threefry_partitionable` the draw is that of `jax.random` itself.
"""

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnoise._core import _quantile, _sharding, _threefry

Shape = tuple[int, ...]
Sharding = _sharding.Sharding


def redrawn(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Compile `function(key, x, *amounts, **static)`, to be drawn again in backward.

    `jit` makes an eager call one kernel; keyword-only parameters are static, so new
    amounts do not compile again. `checkpoint` leaves the key and the amounts as the
    only residuals of the backward pass, in which the noise is drawn a second time.
    """
    parameters = inspect.signature(function).parameters.values()
    static = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]

    @functools.partial(jax.jit, static_argnames=static)
    @functools.wraps(function)
    def compiled(key, x, *amounts, **options):
        return jax.checkpoint(functools.partial(function, **options))(key, x, *amounts)

    return compiled


def uniform(
    key: jax.Array, shape: Shape, dtype: np.dtype, low: Any, sharding: Sharding = None
) -> jax.Array:
    """`jax.random.uniform(key, shape, dtype, low, 1)`: multiples of 2^-23 (2^-52)."""
    info = jnp.finfo(dtype)
    low, one = dtype.type(low), dtype.type(1)
    if info.bits == 64:
        drawn = _words(key, shape, sharding, _join_64)
    else:
        drawn = random_bits(key, shape, sharding)
    # random mantissa bits under the exponent of 1 make a number in [1, 2)
    mantissa = drawn >> drawn.dtype.type(info.bits - info.nmant)
    in_1_2 = lax.bitcast_convert_type(mantissa | one.view(drawn.dtype), dtype)
    return jnp.maximum(low, (in_1_2 - one) * (one - low) + low)


def normal(
    key: jax.Array, shape: Shape, dtype: np.dtype, sharding: Sharding = None
) -> jax.Array:
    """`jax.random.normal(key, shape, dtype)` to rounding.

    A complex one has total variance 1.
    """
    if jnp.issubdtype(dtype, jnp.complexfloating):
        part = np.dtype(np.float64 if dtype == np.complex128 else np.float32)
        real, imag = (normal(k, shape, part, sharding) for k in jax.random.split(key))
        return lax.complex(real, imag) / np.sqrt(2).astype(part)
    low = np.nextafter(dtype.type(-1), dtype.type(0))
    return _normal_of(uniform(key, shape, dtype, low, sharding))


def _normal_of(u: jax.Array) -> jax.Array:
    return _quantile_of(
        u, _quantile.normal, lambda u: np.sqrt(2).astype(u.dtype) * lax.erf_inv(u)
    )


def _quantile_of(u, on_cpu, by_jax):
    """Of two ways from a uniform in float32 the faster: accelerators like JAX's own."""
    if u.dtype != np.float32:
        return by_jax(u)
    return lax.platform_dependent(u, cpu=on_cpu, default=by_jax)


def poisson(key: jax.Array, mean: jax.Array, sharding: Sharding = None) -> jax.Array:
    """Poisson counts, as floats, from one uniform each: the quantile of `normal`'s u.

    Not the draw of `jax.random.poisson`, which rejects and tries again until the last
    element of the array has a count: that takes 30 times as long, its loop ends when
    all devices agree, and for means above 10^6 its variance is wrong.
    """
    low = np.nextafter(mean.dtype.type(-1), mean.dtype.type(0))
    u = uniform(key, mean.shape, mean.dtype, low, sharding)
    return _quantile.poisson(u, _normal_of(u), mean)


def laplace(
    key: jax.Array, shape: Shape, dtype: np.dtype, sharding: Sharding = None
) -> jax.Array:
    """`jax.random.laplace(key, shape, dtype)` to rounding: variance 2."""
    u = uniform(key, shape, dtype, -1 + jnp.finfo(dtype).epsneg, sharding)
    return _quantile_of(
        u, _quantile.laplace, lambda u: jnp.sign(u) * jnp.log1p(-jnp.abs(u))
    )


def random_bits(key: jax.Array, shape: Shape, sharding: Sharding = None) -> jax.Array:
    """`jax.random.bits(key, shape, uint32)`."""
    return _words(key, shape, sharding, _join_32)


def block_words(
    key: jax.Array,
    shape: Shape,
    count: int,
    sharding: Sharding = None,
    part: _threefry.Part | None = None,
) -> list[jax.Array]:
    """The words of `count` blocks for each element, the lower word of a block first.

    They are `jax.random.bits(key, (*shape, count), uint64)`. A part of the last dim is
    for keys that count blocks.
    """
    if not is_threefry(key):
        return list(jax.random.bits(key, (2 * count, *shape), np.uint32))
    mark_used(key)
    blocks = [
        _threefry.blocks(key, shape, sharding, every=count, first=index, part=part)
        for index in range(count)
    ]
    return [word for high, low in blocks for word in (low, high)]


def mark_used(key: jax.Array):
    """Tell JAX that the key is used (`jax_debug_key_reuse`), by a draw that is dead."""
    jax.random.bits(key, (), np.uint32)


def is_threefry(key: jax.Array) -> bool:
    """Whether a key is of the implementation whose blocks are written out here."""
    return str(jax.random.key_impl(key)) == "threefry2x32"


def counts_blocks(key: jax.Array) -> bool:
    """Whether an element has the block of its own counter, which is drawn alone."""
    return is_threefry(key) and jax.threefry_partitionable.value


def part_bits(
    key: jax.Array, shape: Shape, part: _threefry.Part, sharding: Sharding = None
) -> jax.Array:
    """Of `random_bits(key, shape)` a part of the last dim, and no other is drawn.

    For keys that count blocks. On every platform: JAX has no lowering for a part.
    """
    return _join_32(*_threefry.blocks(key, shape, sharding, part=part))


def _join_32(high: jax.Array, low: jax.Array) -> jax.Array:
    return high ^ low


def _join_64(high: jax.Array, low: jax.Array) -> jax.Array:
    return (high.astype(np.uint64) << np.uint64(32)) | low.astype(np.uint64)


def _words(key: jax.Array, shape: Shape, sharding: Sharding, join) -> jax.Array:
    """One threefry block per element, its two words joined."""
    dtype = np.uint64 if join is _join_64 else np.uint32
    placed = {} if sharding is None else {"out_sharding": sharding}

    def by_jax(key):
        return jax.random.bits(key, shape, dtype, **placed)

    def unrolled(key):
        return join(*_threefry.blocks(key, shape, sharding))

    # the counters below are one word wide, and a symbolic size has no known bound
    small = all(isinstance(size, int) for size in shape) and math.prod(shape) < 2**32
    if not (counts_blocks(key) and small):
        return by_jax(key)
    return lax.platform_dependent(key, cpu=unrolled, tpu=unrolled, default=by_jax)
