"""A sequence with all gates in one array: the forms for a GPU and for a TPU.

On a GPU each array that a step writes and each matmul is a kernel to launch, and the
launches are what a step of a small layer costs; a TPU starts a loop for each. Here all
gates of a step are written at once and meet the kernels of h in one matmul, forward and
backward. `_apart.py` is the form for the CPU, with the same names.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnoise._core import _sharding
from jaxnoise.recurrent import _scan_in_place
from jaxnoise.recurrent._masks import Mask
from jaxnoise.recurrent._matmul import (
    gate_axis,
    project,
    project_stacked,
    stacked_axis,
    through,
    unstacked,
    widened,
)
from jaxnoise.recurrent._noise import Noise
from jaxnoise.recurrent._weights import ByGate, Kernels

Arrays = tuple[jax.Array, ...]
"""Arrays (time, gates, *batch, H): the gates, and what else a cell saves."""


class Together(NamedTuple):
    """All gates in one array.

    axis: the dim of the gates in the slice of a step. -2 is where a matmul leaves them
      and takes them, so that a GPU has nothing to transpose. On a TPU the last two dims
      are tiles of 8 by 128, which three or four gates would leave half empty: there 0.
    fills: whether zeros are put behind the units of the kernels of h before a scan.
      XLA for GPU does so at every step.
    """

    axis: int
    fills: bool

    @property
    def _over_time(self):
        """The dim of the gates in a whole sequence, which has time in front."""
        return self.axis + 1 if self.axis >= 0 else self.axis

    def scan(
        self,
        body: Callable[[Any, Any, Any], tuple[Any, Any, Any]],
        carry: Any,
        arrays: Arrays,
        xs: Any,
        *,
        unroll: int | bool,
        reverse: bool = False,
    ) -> tuple[Any, Any, Any]:
        """`_scan_in_place.scan` with gates side by side: `body` has them in one tuple.

        A step reads one slice of an array and writes it, so nothing is read ahead.
        """

        def step(carry, inputs):
            inner, arrays = carry
            time, x = inputs
            slices = (_scan_in_place.at(array, time) for array in arrays)
            parts = tuple(
                part for gates in slices for part in unstacked(gates, self.axis)
            )
            inner, parts, y = body(inner, parts, x)
            written = []
            for array in arrays:
                size = array.shape[self._over_time]
                gates, parts = parts[:size], parts[size:]
                written.append(
                    _scan_in_place.put(array, jnp.stack(gates, self.axis), time)
                )
            return (inner, tuple(written)), y

        times = lax.iota(np.int32, arrays[0].shape[0])
        (carry, arrays), ys = lax.scan(
            step, (carry, arrays), (times, xs), reverse=reverse, unroll=unroll
        )
        return carry, arrays, ys

    def inputs(self, xs: jax.Array, mask: Mask, kernels: Kernels) -> Arrays:
        """The matmul of the input over the whole sequence, which `scan` writes over."""
        if isinstance(mask, tuple):
            return (jnp.stack(project(xs, mask, kernels.input), self._over_time),)
        ax = project_stacked(xs, mask, jnp.stack(kernels.input, gate_axis(mask)))
        return (jnp.moveaxis(ax, stacked_axis(mask), self._over_time),)

    def forward_kernels(self, kernels: Kernels, mask: Mask) -> Kernels:
        """The kernels as the forward scan takes them."""
        rows = 1 - gate_axis(mask)
        return kernels._replace(recurrent=self._filled(kernels.recurrent, rows, 1))

    def backward_kernels(
        self, kernels: jax.Array, mask: Mask, dhs: jax.Array
    ) -> jax.Array:
        """The kernels of h as the backward scan takes them.

        Put together again, after the forward scan: those that it took were to be kept
        in memory otherwise.
        """
        axis = gate_axis(mask)
        apart, _ = lax.optimization_barrier((unstacked(kernels, axis), dhs))
        summed = 1 if isinstance(mask, tuple) else len(apart)
        return self._filled(jnp.stack(apart, axis), 2, summed)

    def _filled(self, kernels, dim, gates):
        """Zeros behind the units of a dim that a matmul sums over, and gates beside it.

        XLA for GPU splits the sum of a matmul of few rows into 2, 4, 8 or 16 parts, of
        64 elements or more and a multiple of 4. Where that does not come out even, it
        would put zeros behind both operands, at every step.
        """
        units = kernels.shape[dim]
        parts = min(16, gates * units // 64)
        # on an explicit mesh, units that are split evenly might not be so with zeros
        explicit = jax.typeof(kernels).sharding.mesh.explicit_axes
        if not self.fills or explicit or parts < 2:
            return kernels
        multiple = 4 << (parts.bit_length() - 1)
        multiple //= math.gcd(multiple, gates)
        return widened(kernels, units + -units % multiple, dim)

    def settled(self, cotangents):
        """The cotangents of the gates and of c at a step, all from one kernel.

        Without the barrier each array that is written computes them again.
        """
        return lax.optimization_barrier(cotangents)

    def unproject_state(
        self, dy: ByGate, h: jax.Array, mask: Mask, kernels: jax.Array
    ) -> tuple[jax.Array, Mask]:
        """The cotangents of `h` and of its mask: a matmul that sums over the gates."""
        stacked = jnp.stack(dy, stacked_axis(mask)).astype(kernels.dtype)
        stacked = widened(stacked, kernels.shape[2])
        last = stacked.ndim - 1
        if isinstance(mask, tuple):
            dims, shape = (((last,), (2,)), ((0,), (0,))), (len(dy), *h.shape)
        else:
            dims, shape = (((last - 1, last), (1, 2)), ((), ())), h.shape
        like = _sharding.like(h, shape)
        found = lax.dot_general(stacked, kernels, dims, out_sharding=like)
        found = found.astype(h.dtype)
        parts = unstacked(found, 0) if isinstance(mask, tuple) else [found]
        return through(parts, h, mask)

    def by_gate(self, arrays: Arrays) -> ByGate:
        """The arrays that `scan` leaves for the backward pass, the same in both forms.

        In one program, XLA sees that `from_gates` takes this back.
        """
        return tuple(
            part for array in arrays for part in unstacked(array, self._over_time)
        )

    def from_gates(self, arrays: ByGate, gates: int) -> Arrays:
        """The way back."""
        more = tuple(
            jnp.expand_dims(array, self._over_time) for array in arrays[gates:]
        )
        return jnp.stack(arrays[:gates], self._over_time), *more

    def gradients(
        self, da: Arrays, xs: jax.Array, hs: jax.Array, masks: Noise, kernels: Kernels
    ) -> tuple[Kernels, jax.Array, Mask]:
        """The cotangents of kernels, inputs and their mask, from what `scan` left.

        One after the other, so that no more than one of these is in memory beside `da`.
        """
        axis = gate_axis(masks.recurrent)
        recurrent = unstacked(kernels.recurrent, axis)
        dah = self._of_state(da)
        drecurrent = self._weight_gradients(hs, masks.recurrent, recurrent, dah)
        if len(recurrent) > 1:  # of one gate, XLA makes one small matmul of both
            drecurrent, da = lax.optimization_barrier((drecurrent, da))
        dinput = self._weight_gradients(xs, masks.input, kernels.input, da[:1])
        dinput, da = lax.optimization_barrier((dinput, da))
        dxs, dmask = self._unproject(da[0], xs, masks.input, kernels.input)
        dkernels = Kernels(
            dinput,
            unstacked(self._sum(da[0]), 0),
            jnp.stack(drecurrent, axis),
            None if kernels.recurrent_bias is None else self._sum(da[-1])[-1],
        )
        return dkernels, dxs, dmask

    def _of_state(self, da):
        """The cotangents of the matmuls of h, among those of the gates and one more."""
        dax, *more = da
        if not more:
            return da
        last = dax.shape[self._over_time] - 1
        return (lax.slice_in_dim(dax, 0, last, axis=self._over_time), *more)

    def _weight_gradients(self, x, mask, kernels, dy):
        """The cotangents of the kernels, by gate."""
        if isinstance(mask, tuple):
            pull = jax.vjp(lambda kernels: project(x, mask, kernels), kernels)[1]
            return pull(
                tuple(part.astype(kernels[0].dtype) for part in self.by_gate(dy))
            )[0]
        found = []
        for array in dy:
            size = array.shape[self._over_time]
            here, kernels = kernels[:size], kernels[size:]
            pull = jax.vjp(lambda k: project_stacked(x, mask, k), jnp.stack(here, 1))[1]
            array = jnp.moveaxis(array, self._over_time, -2).astype(here[0].dtype)
            found += unstacked(pull(array)[0], 1)
        return tuple(found)

    def _unproject(self, dy, x, mask, kernels):
        """Batched over the gates: for one sum, XLA for GPU would fill the operands."""
        dims = (((dy.ndim - 1,), (2,)), ((0,), (0,)))
        parts = lax.dot_general(
            jnp.moveaxis(dy, self._over_time, 0).astype(kernels[0].dtype),
            jnp.stack(kernels),
            dims,
            out_sharding=_sharding.like(x, (len(kernels), *x.shape)),
        )
        return through(unstacked(parts.astype(x.dtype), 0), x, mask)

    def _sum(self, array):
        """Over time and the batch."""
        gates = jnp.moveaxis(array, self._over_time, 0)
        return gates.sum(tuple(range(1, array.ndim - 1)))


FOR_GPU = Together(axis=-2, fills=True)
FOR_TPU = Together(axis=0, fills=False)
