"""The layer that runs a cell over a sequence, with noise drawn once and outside."""

from collections.abc import Mapping
from typing import Any, TypedDict, Unpack

import jax
from flax import nnx

from jaxnoise import recurrent
from jaxnoise._core import _arrays
from jaxnoise.nnx._noise_layer import checked_source, is_deterministic, key_from
from jaxnoise.nnx._signature import ConstructorSignature
from jaxnoise.recurrent._cell_layer import has_noise
from jaxnoise.recurrent._time_layout import over_time

# none of the numbers that the places of the noise fold into the same key
_CARRY = 0x6361_7272


class RNNOptions(TypedDict, total=False):
    """What `flax.nnx.RNN` takes beside its cell and its rngs."""

    time_major: bool
    return_carry: bool
    reverse: bool
    keep_order: bool
    unroll: int
    state_axes: Mapping[str, int | type[nnx.Carry] | None] | None
    broadcast_rngs: nnx.filterlib.Filter


class RNN(nnx.RNN):
    """`flax.nnx.RNN` with noise for the cells of this package.

    The noise of a sequence is drawn before its first step by `cell.sample_noise`, or
    given. Other cells run as in `flax.nnx.RNN`. With the cells of this package
    `seq_lengths` may be 0, for which the carry is the initial one, and have any number
    of batch dims.

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
        if not hasattr(cell, "initialize_carry"):
            raise TypeError(
                f"RNN: cell must be a cell, such as jaxnoise.nnx.LSTMCell(3, 16, "
                f"rngs=rngs), got a value of {type(cell)}."
            )
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

    def set_view(self, deterministic: bool | None = None):
        """Class method used by `nnx.view`.

        Args:
          deterministic: if True, switches the noise off.
        """
        if deterministic is not None:
            self.deterministic = deterministic

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
        noise: recurrent.Noise | None = None,
    ) -> Any:
        """Run the cell over `inputs`.

        Args:
          inputs: (*batch, time, features), or (time, *batch, features) if time_major.
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
        flags: dict[str, Any] = {
            "seq_lengths": seq_lengths,
            "time_major": self.time_major if time_major is None else time_major,
            "reverse": self.reverse if reverse is None else reverse,
            "keep_order": self.keep_order if keep_order is None else keep_order,
        }
        wanted = self.return_carry if return_carry is None else return_carry
        cell: Any = self.cell
        rngs = checked_source(self, rngs)
        inputs = _arrays.array("RNN", "inputs", inputs)
        if not hasattr(cell, "sample_noise"):
            if noise is not None:
                raise TypeError(
                    f"RNN: noise must be None for {type(cell).__name__}, which has no "
                    f"noise, got {type(noise).__name__}."
                )
            carry = initial_carry
            if carry is None:
                features = inputs.ndim - cell.num_feature_axes
                time = 0 if flags["time_major"] else features - 1
                shape = (*inputs.shape[:time], *inputs.shape[time + 1 :])
                carry = self._initial_carry(shape, rngs)
            flags |= {"return_carry": wanted}
            return super().__call__(inputs, initial_carry=carry, **flags)

        def run(xs, lengths):
            carry = initial_carry
            if carry is None:
                carry = self._initial_carry(xs.shape[1:], rngs)
            options = {"unroll": self.unroll, "forward_mode": self.forward_mode}
            if noise is None and has_noise(cell):
                off = deterministic is None and cell.deterministic
                if off or is_deterministic(self, deterministic):
                    options |= {"deterministic": True}
                else:
                    own = self.noise_rngs if rngs is None else rngs
                    options |= {"key": key_from(self, own)}
            return cell.run(carry, xs, noise, seq_lengths=lengths, **options)

        carry, ys = over_time(run, inputs, feature_dims=1, **flags)
        return (carry, ys) if wanted else ys

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
