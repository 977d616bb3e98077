"""A recurrent cell as a layer of linen or nnx: its rates, its noise and its runs."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnoise import _check
from jaxnoise.recurrent import _noise

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
    # vars and the class: an attribute missing on a bound flax module runs its setup
    return {
        name: _check.rate(type(layer).__name__, getattr(layer, name), name=name)
        for name in RATES
        if name in vars(layer) or hasattr(type(layer), name)
    }


def noisy(layer: Any) -> bool:
    """Whether there is noise to be drawn for a cell, or for what it wraps."""
    if not hasattr(type(layer), "sample_noise"):
        return False
    if any(not _check.known(rate, 0) for rate in rates(layer).values()):
        return True
    return "cell" in vars(layer) and noisy(layer.cell)


class CellLayer:
    """What the cells of linen and of nnx have in common, in front of their own base.

    A child has its rates and the options of its functions as attributes. It says how
    many `gates` it has, which `functions` run a sequence and a step, which attribute
    has the width of its state (`_features_name`), and what its `weights` are.
    """

    def __call__(
        self: Any, carry: Any, inputs: jax.Array, noise: _noise.Noise | None = None
    ) -> tuple[Any, jax.Array]:
        """The carry after a step, and the output.

        Args:
          carry: (c, h) for an LSTM, else h; each (*batch, width of the state).
          inputs: (*batch, width).
          noise: masks from `sample_noise` without num_steps; None for none.
        """
        _, step = self.functions
        return self._apply(step, carry, inputs, noise)

    def run(
        self: Any,
        carry: Any,
        inputs: jax.Array,
        noise: _noise.Noise | None = None,
        **options: Any,
    ) -> tuple[Any, jax.Array]:
        """The final carry and the outputs of a sequence, with time in front.

        Args:
          carry: (c, h) for an LSTM, else h; each (*batch, width of the state).
          inputs: (time, *batch, width).
          noise: masks from `sample_noise`; None for none.
          **options: those of `jaxnoise.recurrent.lstm`.
        """
        sequence, _ = self.functions
        return self._apply(sequence, carry, inputs, noise, **options)

    def _apply(self: Any, function, carry, inputs, noise, **options):
        noise = self.expected_noise() if noise is None else noise
        _, step = self.functions
        # what a step takes by keyword alone are options of the cell
        options |= {name: getattr(self, name) for name in step.__kwdefaults__}
        return function(self.weights(inputs), carry, inputs, noise, **options)

    def sample_noise(
        self: Any,
        key: jax.Array,
        input_shape: tuple[int, ...],
        num_steps: int | None = None,
    ) -> _noise.Noise:
        """Draw the masks of a sequence, or without `num_steps` those of one step.

        A cell of linen need not be bound. Shapes and laws are those of
        `jaxnoise.recurrent.sample_noise`.

        Args:
          key: PRNG key, consumed.
          input_shape: shape (*batch, width) of the input of one step.
          num_steps: length of the sequence.
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
            dtype=_mask_dtype(self),
            **rates(self),
        )

    def expected_noise(self) -> _noise.Noise:
        """What takes the place of noise in evaluation: the expectation of zoneout."""
        zoneout = {k: v for k, v in rates(self).items() if k.startswith("zoneout")}
        return _noise.expected_noise(dtype=_mask_dtype(self), **zoneout)


def _mask_dtype(cell):
    wide = jnp.finfo(cell.param_dtype).bits == 64
    return np.dtype(np.float64 if wide else np.float32)
