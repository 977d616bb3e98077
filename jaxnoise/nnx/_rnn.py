"""The layer that runs a cell over a sequence, with noise drawn once and outside."""

from collections.abc import Mapping
from typing import Any, TypedDict, Unpack

import jax
from flax import nnx

from jaxnoise._core import _arrays
from jaxnoise._flax._wrapper import check_noise, drawn, expected
from jaxnoise.nnx._cells import NoiseCell
from jaxnoise.nnx._noise_layer import (
    Switched,
    checked_source,
    is_deterministic,
    key_from,
)
from jaxnoise.nnx._signature import ConstructorSignature
from jaxnoise.nnx._wrapper import check_cell
from jaxnoise.recurrent._cell_layer import has_noise
from jaxnoise.recurrent._steps import scanned
from jaxnoise.recurrent._time_layout import beside, of_step, over_time

# none of the numbers that the places of the noise fold into the same key
_CARRY = 0x6361_7272


class RNNOptions(TypedDict, total=False):
    """Options of `flax.nnx.RNN`: its parameters but the cell and rngs."""

    time_major: bool
    return_carry: bool
    reverse: bool
    keep_order: bool
    unroll: int
    state_axes: Mapping[str, int | type[nnx.Carry] | None] | None
    broadcast_rngs: nnx.filterlib.Filter


class RNN(Switched, nnx.RNN):
    """`flax.nnx.RNN` with noise: the same arguments and outputs.

    Takes the cells of this package, any `flax.nnx.RNNCellBase`, and wrappers of them.
    The noise of a sequence is drawn before its first step by `cell.sample_noise`, or
    given.

    Unlike `flax.nnx.RNN`: `seq_lengths` may be 0, for which the carry is the initial
    one, and have any number of batch dims. Lengths above the number of steps are an
    error where they are known.

    Args:
      cell: the cell.
      deterministic: True for no noise; `model.eval()` and `nnx.view` set it. That of
        the cell counts too.
      rng_collection: the stream that keys come from.
      rngs: where the noise takes its keys from, and the initial carry where that is
        random: from the stream `carry`, or else from key 0. True for keys given at the
        call only.
      forward_mode: True for a plain scan, which `jax.jvp` can differentiate as well.
      **options: time_major, return_carry, reverse, keep_order, unroll, state_axes and
        broadcast_rngs, as in `flax.nnx.RNN`.

    Example:
      >>> import jax.numpy as jnp, jaxnoise.nnx as jnx
      >>> from flax import nnx
      >>> rngs = nnx.Rngs(0, dropout=1)
      >>> rnn = jnx.RNN(jnx.LSTMCell(3, 16, input_rate=0.5, rngs=rngs), rngs=rngs)
      >>> x = jnp.ones((2, 7, 3))
      >>> bool((rnn(x) == rnn(x)).all()), bool(
      ...     (rnn(x, deterministic=True) == rnn(x, deterministic=True)).all())
      (False, True)
    """

    __signature__ = ConstructorSignature()

    def __init__(
        self,
        cell: Any,
        *,
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        rngs: nnx.Rngs | bool = True,
        forward_mode: bool = False,
        **options: Unpack[RNNOptions],
    ):
        check_cell("RNN", cell)
        carry_rngs = rngs
        if isinstance(rngs, nnx.Rngs) and not _has_stream(rngs, "carry"):
            carry_rngs = True
        super().__init__(cell, rngs=carry_rngs, **options)
        self.deterministic = deterministic
        self.rng_collection = rng_collection
        self.forward_mode = forward_mode
        # a stream of its own: calls of this layer do not advance the caller's
        self.noise_rngs = nnx.data(None)
        if isinstance(rngs, nnx.Rngs) and _has_stream(rngs, rng_collection):
            self.noise_rngs = rngs[rng_collection].fork()

    def __call__(
        self,
        inputs: jax.Array,
        *,
        initial_carry: Any = None,
        seq_lengths: Any = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
        rngs: nnx.Rngs | nnx.RngStream | jax.Array | None = None,
        deterministic: bool | None = None,
        noise: Any = None,
    ) -> Any:
        """Run the cell over `inputs`.

        Args:
          inputs: (*batch, time, *features), or (time, *batch, *features) if time_major.
          initial_carry, return_carry, time_major, reverse, keep_order: as in
            `flax.nnx.RNN`.
          seq_lengths: integers (*batch) from 0 to time: where each sequence ends.
          rngs: a PRNG key for the noise, used as it is, or where to take keys from;
            wins over the constructor's. A random initial carry follows it, too.
          deterministic: True for no noise; wins over the constructor's.
          noise: the noise itself, from `cell.sample_noise`.

        Returns:
          The outputs, in the layout of the inputs; (carry, outputs) if return_carry.

        Raises:
          ValueError: shapes that do not fit, a sequence without steps, seq_lengths out
            of range, a noisy cell without rngs or with deterministic None.
          TypeError: noise for a cell without noise, or rngs is something else.
        """
        cell: Any = self.cell
        rngs = checked_source(self, rngs)
        inputs = _arrays.array("RNN", "inputs", inputs)

        def run(xs, lengths):
            carry = initial_carry
            if carry is None:
                carry = self._initial_carry(xs.shape[1:], rngs)
                carry = beside(carry, xs, xs.ndim - 1 - cell.num_feature_axes)
            chosen = self._noise_or_key(deterministic, rngs, noise)
            return self._run(carry, xs, *chosen, lengths)

        carry, ys = over_time(
            run,
            inputs,
            feature_dims=cell.num_feature_axes,
            seq_lengths=seq_lengths,
            time_major=self.time_major if time_major is None else time_major,
            reverse=self.reverse if reverse is None else reverse,
            keep_order=self.keep_order if keep_order is None else keep_order,
        )
        wanted = self.return_carry if return_carry is None else return_carry
        return (carry, ys) if wanted else ys

    def _noise_or_key(self, deterministic, rngs, noise):
        """The noise that is given, or the key to draw it from; None for the other."""
        cell: Any = self.cell
        if noise is not None:
            check_noise("RNN", cell, noise)
            return noise, None
        if not has_noise(cell):
            return expected(cell), None
        off = deterministic is None and cell.deterministic
        if off or is_deterministic(self, deterministic):
            return expected(cell), None
        return None, key_from(self, self.noise_rngs if rngs is None else rngs)

    def _run(self, carry, xs, noise, key, lengths):
        cell: Any = self.cell
        if isinstance(cell, NoiseCell):
            return cell.run(
                carry,
                xs,
                noise,
                key=key,
                seq_lengths=lengths,
                unroll=self.unroll,
                forward_mode=self.forward_mode,
            )
        if key is not None:
            steps, *shape = xs.shape
            of_input = of_step(jax.typeof(xs).sharding)
            noise = drawn(cell, key, tuple(shape), steps, of_input)
        return self._lifted_scan(carry, xs, noise, lengths)

    def _lifted_scan(self, carry, xs, noise, lengths):
        # a copy made in this trace, since flax scans no other: so what has parameters
        # alone may be closed over, as in a `jax.vmap` over keys
        graph, params, others = nnx.split(self.cell, nnx.Param, ...)
        cell = nnx.merge(graph, params, others, copy=True)
        # axes and streams are those of `flax.nnx.RNN`
        broadcast = nnx.All(nnx.RngState, self.broadcast_rngs)
        axes = nnx.StateAxes({broadcast: None, **self.state_axes})

        def lift(body):
            scan = nnx.scan(
                body,
                in_axes=(axes, nnx.Carry, 0, None),
                out_axes=(nnx.Carry, 0),
                unroll=self.unroll,
                # as in flax.nnx.RNN: what a cell changes in itself comes back
                graph=True,
                graph_updates=True,
            )
            only = self.broadcast_rngs
            return nnx.split_rngs(splits=1, only=only, squeeze=True)(scan)

        found = scanned(lift, cell, carry, xs, noise, lengths)
        state = nnx.state(cell, nnx.All(nnx.Variable, nnx.Not(nnx.Param)))
        if jax.tree.leaves(state):
            nnx.update(self.cell, state)
        return found

    def _initial_carry(self, input_shape, rngs):
        """The carry before the first step, which takes a key only if it needs one.

        To take one advances a stream, and that is refused in a trace that did not make
        the stream, as in a `jax.vmap` over keys.
        """
        cell: Any = self.cell
        if getattr(cell, "carry_init", ...) is None:
            # zeros, in all cells of flax; they ask for keys all the same
            return cell.initialize_carry(input_shape, lambda: jax.random.key(0))
        source = self.rngs
        if isinstance(rngs, jax.Array):
            key = jax.random.fold_in(rngs, _CARRY)
            source = nnx.RngStream(key, tag="carry")
        elif isinstance(rngs, nnx.RngStream):
            source = rngs
        elif rngs is not None and _has_stream(rngs, "carry"):
            source = rngs.carry.fork()
        return cell.initialize_carry(input_shape, source)


def _has_stream(rngs, name):
    return bool({name, "default"} & set(rngs))
