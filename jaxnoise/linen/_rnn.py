"""The layer that runs a cell over a sequence, with noise drawn once and outside."""

import functools
from typing import Any

import flax.linen as nn
import jax
from flax.core.frozen_dict import FrozenDict
from flax.typing import PRNGKey

from jaxnoise._core import _arrays
from jaxnoise._flax._wrapper import check_noise, drawn, expected
from jaxnoise.linen._cells import NoiseCell
from jaxnoise.linen._noise_layer import is_deterministic
from jaxnoise.linen._wrapper import check_cell, deterministic_of
from jaxnoise.recurrent._cell_layer import has_noise
from jaxnoise.recurrent._steps import scanned
from jaxnoise.recurrent._time_layout import beside, of_step, over_time

_LIFTED = {
    "variable_axes": FrozenDict(),
    "variable_broadcast": "params",
    "variable_carry": False,
    "split_rngs": FrozenDict({"params": False}),
}


class RNN(nn.RNN):
    """`flax.linen.RNN` with noise: the same parameters, arguments and outputs.

    Takes the cells of this package, any `flax.linen.RNNCellBase`, and wrappers of them.
    The noise of a sequence is drawn before its first step by `cell.sample_noise`, or
    given. Inside `flax.linen.Bidirectional` the two directions draw their own.

    Unlike `flax.linen.RNN`: `seq_lengths` may be 0, for which the carry is the initial
    one, and have any number of batch dims; the history of the carry is not kept for
    them. Lengths above the number of steps are an error where they are known.

    Attributes:
      cell, time_major, return_carry, reverse, keep_order, unroll, variable_axes,
        variable_broadcast, variable_carry, split_rngs: as in `flax.linen.RNN`.
      deterministic: True for no noise. Here, at the call or in the cell, in one of the
        three.
      rng_collection: the stream that keys come from.
      forward_mode: True for a plain scan, which `jax.jvp` can differentiate as well;
        False for the faster one of `jaxnoise.recurrent`.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise.linen as jnn
      >>> cell = jnn.LSTMCell(16, input_rate=0.5, recurrent_rate=0.3)
      >>> rnn, x = jnn.RNN(cell, return_carry=True), jnp.ones((2, 7, 3))
      >>> params = rnn.init(jax.random.key(0), x, deterministic=True)
      >>> noise = cell.sample_noise(jax.random.key(1), (2, 3), 7)
      >>> carry, y = rnn.apply(params, x, noise=noise)
      >>> carry, y = rnn.apply(params, x, initial_carry=carry, noise=noise)
    """

    deterministic: bool | None = None
    rng_collection: str = "dropout"
    forward_mode: bool = False

    def __post_init__(self):
        check_cell("RNN", self.cell)
        super().__post_init__()

    def __call__(
        self,
        inputs: jax.Array,
        *,
        initial_carry: Any = None,
        init_key: PRNGKey | None = None,
        seq_lengths: Any = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
        deterministic: bool | None = None,
        rng: jax.Array | None = None,
        noise: Any = None,
    ) -> Any:
        """Run the cell over `inputs`.

        Args:
          inputs: (*batch, time, *features), or (time, *batch, *features) if time_major.
          initial_carry, init_key, return_carry, time_major, reverse, keep_order: as in
            `flax.linen.RNN`.
          seq_lengths: integers (*batch) from 0 to time: where each sequence ends.
          deterministic: True for no noise.
          rng: PRNG key for the noise, used as it is; by default one from `make_rng`.
          noise: the noise itself, from `cell.sample_noise`; neither `deterministic` nor
            a key is needed then. Masks per step are in the order of processing.

        Returns:
          The outputs, in the layout of the inputs; (carry, outputs) if return_carry.

        Raises:
          ValueError: shapes that do not fit, a sequence without steps, seq_lengths out
            of range, deterministic given twice or, for a noisy cell, not at all.
          TypeError: noise for a cell without noise.
          flax.errors.InvalidRngError: neither rng nor the stream `rng_collection`.
        """
        inputs = _arrays.array("RNN", "inputs", inputs)

        def run(xs, lengths):
            carry = initial_carry
            if carry is None:
                key = jax.random.key(0) if init_key is None else init_key
                carry = self.cell.initialize_carry(key, xs.shape[1:])
                carry = beside(carry, xs, xs.ndim - 1 - self.cell.num_feature_axes)
            chosen = self._noise_or_key(deterministic, rng, noise)
            return self._run(carry, xs, *chosen, lengths)

        carry, ys = over_time(
            run,
            inputs,
            feature_dims=self.cell.num_feature_axes,
            seq_lengths=seq_lengths,
            time_major=self.time_major if time_major is None else time_major,
            reverse=self.reverse if reverse is None else reverse,
            keep_order=self.keep_order if keep_order is None else keep_order,
        )
        wanted = self.return_carry if return_carry is None else return_carry
        return (carry, ys) if wanted else ys

    @nn.nowrap
    def _noise_or_key(self, deterministic, rng, noise):
        """The noise that is given, or the key to draw it from; None for the other."""
        if noise is not None:
            check_noise("RNN", self.cell, noise)
            return noise, None
        if not has_noise(self.cell):
            return expected(self.cell), None
        if is_deterministic(self, deterministic, deterministic_of(self.cell)):
            return expected(self.cell), None
        return None, self.make_rng(self.rng_collection) if rng is None else rng

    @nn.nowrap
    def _run(self, carry, xs, noise, key, lengths):
        lifted = all(getattr(self, name) == value for name, value in _LIFTED.items())
        if isinstance(self.cell, NoiseCell) and lifted:
            return self.cell.run(
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
            noise = drawn(self.cell, key, tuple(shape), steps, of_input)
        return self._lifted_scan(carry, xs, noise, lengths)

    @nn.nowrap
    def _lifted_scan(self, carry, xs, noise, lengths):
        axes: Any = (0, nn.broadcast)
        lift = functools.partial(
            nn.scan,
            in_axes=axes,
            unroll=self.unroll,
            variable_axes=self.variable_axes,
            variable_broadcast=self.variable_broadcast,
            variable_carry=self.variable_carry,
            split_rngs=self.split_rngs,
        )
        return scanned(lift, self.cell, carry, xs, noise, lengths)
