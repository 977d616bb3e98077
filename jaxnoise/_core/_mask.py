"""Keep masks: a coin for each unit, and what a mask does to an array.

A mask of 32 bits a coin is `jax.random.bernoulli`, drawn and kept as bools. One of 8 or
16 bits is kept as bytes of eight coins (`_packed`), and expanded where it is used.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.custom_derivatives import SymbolicZero

from jaxnoise._core import (
    _check,
    _dims,
    _packed,
    _precision,
    _random,
    _sharding,
    _threefry,
    _wall,
)

# what a policy of jax.checkpoint knows the random decisions of this library by
NAME = "jaxnoise_mask"


class Coins(NamedTuple):
    """One coin for each element of an array of `shape`, but one along `shared` dims.

    The sharding is that of the array, on an explicit mesh.
    """

    shape: _random.Shape
    shared: tuple[int, ...] = ()
    bits: int = 32
    sharding: _sharding.Sharding = None

    @property
    def mask_shape(self) -> _random.Shape:
        """The shape of the mask: 1 on the dims that share a coin."""
        return _dims.shared(self.shape, self.shared)

    def draw(self, key: jax.Array, threshold: Any) -> jax.Array:
        """The coins in the form in which they are kept, and which `mask` expands."""
        if self.bits < 32:
            shape, placed = self._thin()
            drawn = _packed.draw(key, threshold, shape, self.bits, placed)
        elif self.shared:
            # one coin is for many elements: XLA for CPU would toss it for each
            drawn = _wall.materialised(self._bernoulli, key, threshold)
        else:
            drawn = self._bernoulli(key, threshold)
        return checkpoint_name(drawn, NAME)

    def mask(self, drawn: jax.Array) -> jax.Array:
        """Bool, True = kept, of `mask_shape`."""
        if self.bits == 32:
            return drawn
        mask = _packed.unpack(drawn, *self._thin())
        return lax.expand_dims(mask, self.shared)

    def mask_of_part(
        self, key: jax.Array, threshold: Any, part: _threefry.Part
    ) -> jax.Array:
        """The mask of a part of the last dim, starting at a multiple of its size.

        Nothing else is drawn, unless all the other dims share a coin, or a key does not
        count blocks. Then the whole mask is drawn, and cut.
        """
        if self.mask_shape[-1] == 1:  # one coin for all parts
            return keep_mask(key, threshold, self)
        shape, placed = self._thin()
        if not _random.counts_blocks(key) or len(shape) < 2:
            whole = keep_mask(key, threshold, self)
            padding = [(0, 0)] * (whole.ndim - 1) + [(0, -whole.shape[-1] % part.size)]
            whole = jnp.pad(whole, padding)
            return lax.dynamic_slice_in_dim(whole, part.start, part.size, axis=-1)

        def draw(key, threshold):
            if self.bits == 32:
                bits = _random.part_bits(key, self.mask_shape, part, self._placed())
                return (bits >> np.uint32(9)) < threshold
            return _packed.draw(key, threshold, shape, self.bits, placed, part)

        if self.bits == 32:
            return _wall.kept(_wall.materialised(draw, key, threshold))
        drawn = draw(key, threshold)
        mask = _packed.unpack(drawn, (*shape[:-1], part.size), placed)
        return lax.expand_dims(mask, self.shared)

    def _bernoulli(self, key, threshold):
        bits = _random.random_bits(key, self.mask_shape, self._placed())
        return (bits >> np.uint32(9)) < threshold

    def _placed(self):
        """The sharding of the mask."""
        return _sharding.aligned(self.sharding, self.shape, self.mask_shape)

    def _thin(self):
        """Shape and sharding of the mask without the shared dims."""
        placed = self._placed()
        own = [dim for dim in range(len(self.shape)) if dim not in self.shared]
        shape = tuple(self.shape[dim] for dim in own)
        return shape, None if placed is None else _sharding.of_dims(placed, own)


def keep_mask(key: jax.Array, threshold: Any, coins: Coins) -> jax.Array:
    """Bool, True = kept: `jax.random.bernoulli(key, keep, shape)` with 32 bits."""
    return coins.mask(coins.draw(key, threshold))


def coins_for(x: jax.Array, shared: tuple[int, ...] = (), bits: int = 32) -> Coins:
    """One coin for each element of `x`, on the devices where x is."""
    return Coins(x.shape, shared, bits, _sharding.like(x, x.shape))


def masked(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Compile `function(mask, x, *amounts)` with a mask that is drawn from a key.

    The result is called with (key, threshold, x, *amounts, shared=, bits=). What its
    backward pass keeps is the coins as they were drawn: a byte an element, or a bit if
    `bits` is less than 32.
    """

    @functools.partial(jax.jit, static_argnames=["shared", "bits"])
    def compiled(key, threshold, x, *amounts, shared=(), bits=32):
        coins = coins_for(x, shared, bits)

        def on_coins(drawn, *operands):
            return function(coins.mask(drawn), *operands)

        return applied(on_coins, coins.draw(key, threshold), x, *amounts)

    return compiled


def applied(
    function: Callable[..., jax.Array], drawn: jax.Array, *operands: Any
) -> jax.Array:
    """`function(drawn, *operands)`, whose backward pass keeps what was drawn.

    Nothing else that `function` computes is kept: it is computed again, and without a
    barrier, so that XLA fuses it with what reads it.
    """
    cheap = jax.checkpoint(function, prevent_cse=False)
    result = jax.custom_jvp(cheap)

    @functools.partial(result.defjvp, symbolic_zeros=True)
    def derivative(primals, tangents):
        kept, operands = _wall.kept(primals[0]), list(primals[1:])
        kept = checkpoint_name(kept, NAME)
        live = [
            index
            for index, tangent in enumerate(tangents[1:])
            if not isinstance(tangent, SymbolicZero)
        ]

        def of_live(*values):
            for index, value in zip(live, values, strict=True):
                operands[index] = value
            return cheap(kept, *operands)

        values = [operands[index] for index in live]
        return jax.jvp(of_live, values, [tangents[1 + index] for index in live])

    return result(drawn, *operands)


def keep_threshold(rate: Any, dtype: np.dtype, bits: int = 32) -> tuple[Any, Any]:
    """A drop rate in integers: (threshold, probability of keeping).

    A unit is kept iff its 23-bit draw is below the threshold, ceil(k 2^23) with
    k = float32(1 - rate), which is what `jax.random.bernoulli` computes. A rate that is
    known is subtracted in float64, a traced one is a float32 number: the two may end
    one step of 2^-23 apart.

    The probability, in `dtype`, is what kept values are divided by. Below 2^-12 the
    step of the grid is no longer small against it, and the probability with which
    units are really kept takes its place, so that the mean stays exact. With fewer
    bits, whose draws are of `bits` bits, it always does, and k is rounded to it; what
    has a chance of being kept keeps one.
    """
    fine = bits == 32
    grid, coarse = np.float32(2**23 if fine else 2**bits), np.float32(2**-12)
    if not isinstance(rate, jax.Array):
        keep = np.float32(1.0 - rate)
        threshold = np.ceil(keep * grid) if fine else np.rint(keep * grid)
        probability = 1.0 - rate if fine and keep >= coarse else threshold / grid
        return np.uint32(threshold), dtype.type(probability)
    keep = np.float32(1) - _check.unit_interval(rate)
    if fine:
        threshold = jnp.ceil(keep * grid)
        probability = jnp.where(keep >= coarse, keep, threshold / grid)
    else:
        threshold = jnp.maximum(jnp.rint(keep * grid), jnp.sign(keep))
        probability = threshold / grid
    return threshold.astype(np.uint32), probability.astype(dtype)


def drop(
    key: jax.Array,
    x: jax.Array,
    rate: _check.Amount,
    shared: tuple[int, ...] = (),
    bits: int = 32,
) -> jax.Array:
    """`x` / (1 - rate) where a coin, one along the shared dims, keeps it, else 0."""
    if _check.known(rate, 0):
        return x
    if _check.known(rate, 1):
        return _dropped(x)
    threshold, keep = keep_threshold(rate, _precision.wide_dtype(x), bits)
    return _drop(key, threshold, x, keep, shared=shared, bits=bits)


@jax.jit
def _dropped(x):
    """Zeros that are sharded as `x`; a constant would be whole on every device."""
    nothing = lax.optimization_barrier(jnp.zeros((), bool))
    return jnp.where(nothing, x, jnp.zeros((), x.dtype))


def scale_kept(mask: jax.Array, x: jax.Array, keep: Any) -> jax.Array:
    """Select, never multiply: a dropped nan or inf is 0, and so is its gradient."""
    return jnp.where(mask, scaled(x, keep), jnp.zeros((), x.dtype))


def scaled(x: jax.Array, keep: Any) -> jax.Array:
    """`x` / keep, which is `x` where nothing is kept."""
    # nothing is kept where keep is 0, but 1/0 would still reach the gradient
    one = jnp.ones_like(keep)
    # a product, since XLA makes one of a quotient when and only when it sees fit
    scale = one / jnp.where(keep > 0, keep, one)
    return _precision.in_wide(lambda real: real * scale, x)


_drop = masked(scale_kept)
