"""A recurrent cell as a layer of linen or nnx: its rates, its noise and its runs."""

from typing import Any

import jax

from jaxnoise._core import _check, _precision
from jaxnoise.recurrent import _noise, _scan, _steps

RATES = (
    "input_rate",
    "recurrent_rate",
    "candidate_rate",
    "cell_rate",
    "state_rate",
    "weight_rate",
    "output_rate",
    "zoneout_hidden",
    "zoneout_cell",
)


def rates(layer: Any) -> dict[str, _check.Amount]:
    """The checked rates among the attributes of a layer, by name."""
    name = type(layer).__name__
    return {
        rate: _check.rate(name, value, name=rate)
        for rate, value in _given_rates(layer).items()
    }


def _given_rates(layer: Any) -> dict[str, Any]:
    """The rates as they were given: the constructor has checked them."""
    # vars and the class: an attribute missing on a bound flax module runs its setup
    return {
        name: getattr(layer, name)
        for name in RATES
        if name in vars(layer) or hasattr(type(layer), name)
    }


def has_noise(layer: Any) -> bool:
    """Whether there is noise to be drawn for a cell, or for what it wraps."""
    if not hasattr(type(layer), "sample_noise"):
        return False
    if any(not _check.known(rate, 0) for rate in _given_rates(layer).values()):
        return True
    return "cell" in vars(layer) and has_noise(layer.cell)


def without_noise(cell: Any, deterministic: bool | None) -> Any:
    """The noise of evaluation, for a cell that is called without noise.

    Raises:
      ValueError: there is noise to be drawn, and deterministic is not True.
    """
    if has_noise(cell) and not deterministic:
        name = type(cell).__name__
        raise ValueError(
            f"{name}: noise is missing, and deterministic is not True. {cell.runner} "
            f"draws the noise of a sequence: take it in the place of the RNN of flax. "
            f"By hand, pass what cell.sample_noise draws as noise=. For no noise, pass "
            f"deterministic=True to {name} or to the call."
        )
    return cell.expected_noise()


class CellLayer:
    """Base of the cells of linen and of nnx, in front of their own base.

    A child has its rates and the options of its functions as attributes. It says how
    many `gates` it has, which `functions` run a sequence and a step, which attribute
    has the width of its state (`_features_name`), what its `weights` are, the name of
    the layer that draws for it (`runner`), and how constructor and call say whether it
    is deterministic (`deterministic_from`).
    """

    def __call__(
        self: Any,
        carry: Any,
        inputs: jax.Array,
        noise: _noise.Noise | None = None,
        deterministic: bool | None = None,
    ) -> tuple[Any, jax.Array]:
        """The carry after a step, and the output.

        Args:
          carry: (c, h) for an LSTM, else h; each (*batch, width of the state).
          inputs: (*batch, width).
          noise: masks from `sample_noise` without num_steps. May be left out if the
            rates are 0 or the cell is deterministic.
          deterministic: True for no noise, where none is passed.

        Raises:
          ValueError: no noise, a rate that is not 0, and deterministic is not True.
        """
        _, step = self.functions
        return self._apply(step, carry, inputs, noise, deterministic)

    def run(
        self: Any,
        carry: Any,
        inputs: jax.Array,
        noise: _noise.Noise | None = None,
        *,
        key: jax.Array | None = None,
        deterministic: bool | None = None,
        **options: Any,
    ) -> tuple[Any, jax.Array]:
        """The final carry and the outputs of a sequence, with time in front.

        Args:
          carry: (c, h) for an LSTM, else h; each (*batch, width of the state).
          inputs: (time, *batch, width).
          noise: masks from `sample_noise`. May be left out if the rates are 0, there is
            a key, or the cell is deterministic.
          key: PRNG key to draw them from, where inputs and state are; not beside noise.
          deterministic: True for no noise, where neither noise nor key is passed.
          **options: those of `jaxnoise.recurrent.lstm`.

        Raises:
          ValueError: a key and noise; neither, a rate that is not 0, and deterministic
            is not True; and what `jaxnoise.recurrent.lstm` raises.
        """
        sequence, _ = self.functions
        arguments = (carry, inputs, noise, deterministic)
        return self._apply(sequence, *arguments, key, **options)

    def _apply(
        self: Any, function, carry, inputs, noise, deterministic, key=None, **options
    ):
        weights = self.weights(inputs)
        if key is not None and noise is not None:
            raise ValueError(
                f"{type(self).__name__}: noise must be None beside a key, which it is "
                f"drawn from, got {type(noise).__name__}. Pass one of the two."
            )
        if key is not None:
            steps, *shape = inputs.shape
            places = _scan.shardings(self.gates, weights, inputs)
            noise = self.sample_noise(key, tuple(shape), steps, **places)
        elif noise is None:
            noise = without_noise(self, self.deterministic_from(deterministic))
        _, step = self.functions
        # what a step takes by keyword alone are options of the cell
        options |= {name: getattr(self, name) for name in step.__kwdefaults__}
        return function(weights, carry, inputs, noise, **options)

    def sample_noise(
        self: Any,
        key: jax.Array,
        input_shape: tuple[int, ...],
        num_steps: int | None = None,
        *,
        input_sharding: _noise.OutSharding = None,
        state_sharding: _noise.OutSharding = None,
    ) -> _noise.Noise:
        """Draw the masks of a sequence, or without `num_steps` those of one step.

        A cell of linen need not be bound. Shapes and laws are those of
        `jaxnoise.recurrent.sample_noise`.

        Args:
          key: PRNG key, consumed.
          input_shape: shape (*batch, width) of the input of one step.
          num_steps: length of the sequence.
          input_sharding, state_sharding: on an explicit mesh, those of one step.
        """
        return _noise.sample_noise(
            key,
            input_shape,
            getattr(self, self._features_name),
            gates=self.gates,
            num_steps=num_steps,
            tied=self.tied,
            per_step=self.per_step,
            batch_shared=self.batch_shared,
            bits=self.bits,
            dtype=_precision.wide_dtype(self.param_dtype),
            **_given_rates(self),
            input_sharding=input_sharding,
            state_sharding=state_sharding,
        )

    def split_noise(
        self: Any, noise: _noise.Noise, input_shape: tuple[int, ...], num_steps: int
    ) -> tuple[_noise.Noise, _noise.Noise]:
        """The masks that all steps share, and those with time in front."""
        rank = len(input_shape)
        by_gate = rank if self.tied else rank + 1
        ranks = _noise.Noise(by_gate, by_gate, *[rank] * 6)._replace(weight=3)
        return _steps.split(type(self).__name__, noise, ranks, num_steps)

    def expected_noise(self: Any) -> _noise.Noise:
        """The noise of evaluation: the expectation of zoneout."""
        zoneout = {
            name: rate
            for name, rate in _given_rates(self).items()
            if name.startswith("zoneout")
        }
        return _noise.expected_noise(
            dtype=_precision.wide_dtype(self.param_dtype), **zoneout
        )
