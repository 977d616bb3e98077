"""LSTM, GRU and RNN of `flax.nnx` with the noises of `jaxnoise.recurrent`.

Parameters have the names, shapes and initial values of the cells of the same name in
flax. Noise is a value that a cell is called with; without it a cell is deterministic.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike

from jaxnoise import _check, recurrent
from jaxnoise.recurrent._cell import mask_dtype, rates
from jaxnoise.recurrent._sequence import over_time


class NoiseCell:
    """What the cells have in common, in front of a cell of flax.

    A child says how many `gates` it has, which `functions` run a sequence and a step,
    and what its `weights` are.
    """

    def _set_noise(self, tied, per_step, batch_shared, amounts):
        for name, value in amounts.items():
            setattr(self, name, value)
        rates(self)
        self.tied, self.per_step, self.batch_shared = tied, per_step, batch_shared

    def __call__(
        self, carry: Any, inputs: jax.Array, noise: recurrent.Noise | None = None
    ) -> tuple[Any, jax.Array]:
        """The carry after a step, and the output.

        Args:
          carry: (c, h) for an LSTM, else h; each (*batch, hidden_features).
          inputs: (*batch, in_features).
          noise: masks from `sample_noise` without num_steps; None for none.
        """
        cell: Any = self
        _, step = cell.functions
        noise = self.expected_noise() if noise is None else noise
        return step(cell.weights(inputs), carry, inputs, noise, **self._options())

    def run(
        self,
        carry: Any,
        inputs: jax.Array,
        noise: recurrent.Noise | None = None,
        **options: Any,
    ) -> tuple[Any, jax.Array]:
        """The final carry and the outputs of a sequence, with time in front.

        Args:
          carry: (c, h) for an LSTM, else h; each (*batch, hidden_features).
          inputs: (time, *batch, in_features).
          noise: masks from `sample_noise`; None for none.
          **options: those of `jaxnoise.recurrent.lstm`.
        """
        cell: Any = self
        sequence, _ = cell.functions
        noise = self.expected_noise() if noise is None else noise
        options |= self._options()
        return sequence(cell.weights(inputs), carry, inputs, noise, **options)

    def sample_noise(
        self, key: jax.Array, input_shape: tuple[int, ...], num_steps: int | None = None
    ) -> recurrent.Noise:
        """Draw the masks of a sequence, or without `num_steps` those of one step.

        Args:
          key: PRNG key, consumed.
          input_shape: shape (*batch, in_features) of the input of one step.
          num_steps: length of the sequence.
        """
        cell: Any = self
        return recurrent.sample_noise(
            key,
            input_shape,
            cell.hidden_features,
            gates=cell.gates,
            num_steps=num_steps,
            tied=self.tied,
            per_step=self.per_step,
            batch_shared=self.batch_shared,
            dtype=mask_dtype(cell.param_dtype),
            **rates(self),
        )

    def expected_noise(self) -> recurrent.Noise:
        """What takes the place of noise in evaluation: the expectation of zoneout."""
        cell: Any = self
        zoneout = {k: v for k, v in rates(self).items() if k.startswith("zoneout")}
        return recurrent.expected_noise(dtype=mask_dtype(cell.param_dtype), **zoneout)

    def _options(self):
        cell: Any = self
        activations = {"gate_fn": cell.gate_fn, "activation_fn": cell.activation_fn}
        return {"tied": self.tied, **activations}


class LSTMCell(NoiseCell, nnx.LSTMCell):
    """`flax.nnx.LSTMCell` with noise: the same parameters, for `jaxnoise.nnx.RNN`.

    Law: that of `jaxnoise.recurrent.lstm`; the carry is (c, h), as in flax.

    Args:
      in_features, hidden_features: widths of the input and of the state.
      input_rate, recurrent_rate, candidate_rate, cell_rate, zoneout_hidden,
        zoneout_cell, weight_rate, output_rate, tied, per_step, batch_shared: as in
        `jaxnoise.recurrent.sample_noise`.
      **options: those of `flax.nnx.LSTMCell`, `rngs` among them.

    Example:
      >>> import jax.numpy as jnp, jaxnoise.nnx as jnx
      >>> from flax import nnx
      >>> rngs = nnx.Rngs(0, dropout=1)
      >>> rnn = jnx.RNN(jnx.LSTMCell(3, 16, recurrent_rate=0.3, rngs=rngs), rngs=rngs)
      >>> rnn(jnp.ones((2, 7, 3))).shape
      (2, 7, 16)
    """

    gates = 4
    functions = (recurrent.lstm, recurrent.lstm_step)

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        input_rate: ArrayLike = 0.0,
        recurrent_rate: ArrayLike = 0.0,
        candidate_rate: ArrayLike = 0.0,
        cell_rate: ArrayLike = 0.0,
        zoneout_hidden: ArrayLike = 0.0,
        zoneout_cell: ArrayLike = 0.0,
        weight_rate: ArrayLike = 0.0,
        output_rate: ArrayLike = 0.0,
        tied: bool = True,
        per_step: bool = False,
        batch_shared: bool = False,
        **options: Any,
    ):
        nnx.LSTMCell.__init__(self, in_features, hidden_features, **options)
        amounts = {
            "input_rate": input_rate,
            "recurrent_rate": recurrent_rate,
            "candidate_rate": candidate_rate,
            "cell_rate": cell_rate,
            "zoneout_hidden": zoneout_hidden,
            "zoneout_cell": zoneout_cell,
            "weight_rate": weight_rate,
            "output_rate": output_rate,
        }
        self._set_noise(tied, per_step, batch_shared, amounts)

    def weights(self, inputs: jax.Array) -> recurrent.Weights:
        """The parameters as `jaxnoise.recurrent` takes them."""
        wx = [dense.kernel[...] for dense in (self.ii, self.if_, self.ig, self.io)]
        dense_h = (self.hi, self.hf, self.hg, self.ho)
        wh = [dense.kernel[...] for dense in dense_h]
        biases = [dense.bias[...] for dense in dense_h if dense.bias is not None]
        arrays = self.promote_dtype((inputs, *wx, *wh, *biases), dtype=self.dtype)
        parts = [arrays[1:5], arrays[5:9], arrays[9:13]]
        return recurrent.Weights(*(jnp.concatenate(part, axis=-1) for part in parts))


class GRUCell(NoiseCell, nnx.GRUCell):
    """`flax.nnx.GRUCell` with noise: the same parameters, for `jaxnoise.nnx.RNN`.

    Law: that of `jaxnoise.recurrent.gru`; the carry is h. As in flax, and unlike the
    linen cell, the matmul of h has no bias for the gate n.

    Args:
      in_features, hidden_features: widths of the input and of the state.
      input_rate, recurrent_rate, candidate_rate, zoneout_hidden, weight_rate,
        output_rate, tied, per_step, batch_shared: as in
        `jaxnoise.recurrent.sample_noise`.
      **options: those of `flax.nnx.GRUCell`, `rngs` among them.

    Example:
      >>> import jax.numpy as jnp, jaxnoise.nnx as jnx
      >>> from flax import nnx
      >>> rngs = nnx.Rngs(0, dropout=1)
      >>> rnn = jnx.RNN(jnx.GRUCell(3, 16, input_rate=0.3, rngs=rngs), rngs=rngs)
      >>> rnn(jnp.ones((2, 7, 3))).shape
      (2, 7, 16)
    """

    gates = 3
    functions = (recurrent.gru, recurrent.gru_step)

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        input_rate: ArrayLike = 0.0,
        recurrent_rate: ArrayLike = 0.0,
        candidate_rate: ArrayLike = 0.0,
        zoneout_hidden: ArrayLike = 0.0,
        weight_rate: ArrayLike = 0.0,
        output_rate: ArrayLike = 0.0,
        tied: bool = True,
        per_step: bool = False,
        batch_shared: bool = False,
        **options: Any,
    ):
        nnx.GRUCell.__init__(self, in_features, hidden_features, **options)
        amounts = {
            "input_rate": input_rate,
            "recurrent_rate": recurrent_rate,
            "candidate_rate": candidate_rate,
            "zoneout_hidden": zoneout_hidden,
            "weight_rate": weight_rate,
            "output_rate": output_rate,
        }
        self._set_noise(tied, per_step, batch_shared, amounts)

    def weights(self, inputs: jax.Array) -> recurrent.Weights:
        """The parameters as `jaxnoise.recurrent` takes them."""
        assert self.dense_i.bias is not None
        kernels = self.dense_i.kernel[...], self.dense_h.kernel[...]
        arrays = (inputs, *kernels, self.dense_i.bias[...])
        _, *arrays = self.promote_dtype(arrays, dtype=self.dtype)
        return recurrent.Weights(*arrays)


class RNN(nnx.RNN):
    """`flax.nnx.RNN` with noise for the cells of this package.

    The noise of a sequence is drawn before its first step by `cell.sample_noise`, or
    given. Other cells run as in `flax.nnx.RNN`. With the cells of this package
    `seq_lengths` may be 0, for which the carry is the initial one, and have any number
    of batch dims.

    Args:
      cell: the cell.
      deterministic: True for no noise; `model.eval()` and `nnx.view` set it.
      rng_collection: the stream that keys come from.
      rngs: where the carry and the noise take their keys from; True for a carry from
        key 0, and noise with keys given at the call only.
      forward_mode: True for a plain scan, which `jax.jvp` can differentiate as well.
      **options: those of `flax.nnx.RNN`.

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

    def __init__(
        self,
        cell: Any,
        *,
        deterministic: bool | None = False,
        rng_collection: str = "dropout",
        rngs: nnx.Rngs | bool = True,
        forward_mode: bool = False,
        **options: Any,
    ):
        super().__init__(cell, rngs=rngs, **options)
        self.deterministic = deterministic
        self.rng_collection = rng_collection
        self.forward_mode = forward_mode
        # a stream of its own: calls of this layer do not advance the caller's
        self.noise_rngs = nnx.data(None)
        if isinstance(rngs, nnx.Rngs) and {rng_collection, "default"} & set(rngs):
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
            wins over the constructor's.
          deterministic: True for no noise; wins over the constructor's.
          noise: the noise itself, from `cell.sample_noise`.

        Returns:
          The outputs, in the layout of the inputs; (carry, outputs) if return_carry.

        Raises:
          ValueError: shapes that do not fit, a sequence without steps, seq_lengths out
            of range, a noisy cell without rngs or with deterministic None.
          TypeError: noise for a cell without noise.
        """
        flags: dict[str, Any] = {
            "seq_lengths": seq_lengths,
            "time_major": self.time_major if time_major is None else time_major,
            "reverse": self.reverse if reverse is None else reverse,
            "keep_order": self.keep_order if keep_order is None else keep_order,
        }
        wanted = self.return_carry if return_carry is None else return_carry
        cell: Any = self.cell
        source = None if isinstance(rngs, jax.Array) else rngs
        if not hasattr(cell, "sample_noise"):
            if noise is not None:
                raise TypeError(
                    f"RNN: noise must be None for {type(cell).__name__}, which has no "
                    f"noise, got {type(noise).__name__}."
                )
            flags |= {"return_carry": wanted, "rngs": source}
            return super().__call__(inputs, initial_carry=initial_carry, **flags)

        def run(xs, lengths):
            carry = initial_carry
            if carry is None:
                carry_rngs = self.rngs if source is None else source
                carry = cell.initialize_carry(xs.shape[1:], carry_rngs)
            drawn = noise
            if noise is None and not self._without_noise(deterministic):
                drawn = cell.sample_noise(self._key(rngs), xs.shape[1:], xs.shape[0])
            options = {"unroll": self.unroll, "forward_mode": self.forward_mode}
            return cell.run(carry, xs, drawn, seq_lengths=lengths, **options)

        carry, ys = over_time(run, inputs, feature_dims=1, **flags)
        return (carry, ys) if wanted else ys

    def _without_noise(self, at_call):
        if all(_check.known(rate, 0) for rate in rates(self.cell).values()):
            return True
        deterministic = self.deterministic if at_call is None else at_call
        if deterministic is None:
            raise ValueError(
                "RNN: deterministic is missing. Pass it to the constructor, "
                "RNN(..., deterministic=False), or to the call, "
                "rnn(x, deterministic=False), or set it for a whole model with "
                "nnx.view(model, deterministic=False); True switches the noise off."
            )
        return deterministic

    def _key(self, rngs):
        source = self.noise_rngs if rngs is None else rngs
        if source is None:
            raise ValueError(
                f"RNN: deterministic is False, but there are no rngs for the noise. "
                f"Pass them to the constructor, RNN(..., rngs=nnx.Rngs(0, "
                f"{self.rng_collection}=1)), or to the call, rnn(x, rngs=rngs)."
            )
        if isinstance(source, nnx.Rngs):
            return source[self.rng_collection]()
        return source() if isinstance(source, nnx.RngStream) else source
