"""Zoneout around any cell of flax: of the state that is passed on."""

from typing import Any, NamedTuple

import jax

from jaxnoise import recurrent
from jaxnoise._core import _check, _sharding
from jaxnoise._flax._wrapper import WrapperLayer, call, expected
from jaxnoise.recurrent._cell_layer import rates
from jaxnoise.recurrent._masks import mix
from jaxnoise.recurrent._noise import OutSharding, sample_mask


class ZoneoutNoise(NamedTuple):
    """Masks of a `ZoneoutWrapper`: how much of the new state is taken.

    They have the shape of the state, and time in front; `inner` is the noise of the
    wrapped cell, if that has any.
    """

    zoneout_hidden: Any = None
    zoneout_cell: Any = None
    inner: Any = None


class ZoneoutWrapperLayer(WrapperLayer):
    """The shared part of `ZoneoutWrapper`: a child has its two rates."""

    noise_type = ZoneoutNoise

    def step(self: Any, carry: Any, inputs: jax.Array, masks: Any) -> tuple[Any, Any]:
        """The carry after a step under these masks, and the output."""
        new, y = call(self.cell, carry, inputs, masks.inner)
        if not isinstance(new, tuple):
            hidden = mix(new, carry, masks.zoneout_hidden)
            return hidden, hidden if y is new else y
        (c, h), (old_c, old_h) = new, carry
        hidden = mix(h, old_h, masks.zoneout_hidden)
        output = hidden if y is h else y
        return (mix(c, old_c, masks.zoneout_cell), hidden), output

    def expected_noise(self: Any) -> ZoneoutNoise:
        """The noise of evaluation: the expectation of zoneout."""
        amounts: Any = rates(self)
        masks = recurrent.expected_noise(**amounts)
        inner = expected(self.cell)
        return ZoneoutNoise(masks.zoneout_hidden, masks.zoneout_cell, inner)

    def sample_noise(
        self: Any,
        key: jax.Array,
        input_shape: tuple[int, ...],
        num_steps: int | None = None,
        *,
        input_sharding: OutSharding = None,
    ) -> ZoneoutNoise:
        """Draw the masks of a sequence, or without `num_steps` those of one step.

        Args:
          key: PRNG key, consumed.
          input_shape: shape (*batch, *features) of the input of one step.
          num_steps: length of the sequence.
          input_sharding: on an explicit mesh, that of the input of one step; the masks
            of the state and of the output have its rows.
        """
        key = _check.key("ZoneoutWrapper", key)
        amounts = rates(self)
        steps = () if num_steps is None else (num_steps,)
        batch = len(input_shape) - self.num_feature_axes
        of_input = self._checked(input_sharding, input_shape)
        carry = self.carry_shapes(input_shape)
        parts: Any = carry if isinstance(carry, tuple) else (None, carry)
        if len(parts) != 2 or (
            parts[0] is None and not _check.known(amounts["zoneout_cell"], 0)
        ):
            raise ValueError(
                f"ZoneoutWrapper: zoneout_cell must be 0 unless the carry is (c, h), "
                f"got {self.zoneout_cell} for {type(self.cell).__name__}."
            )
        masks = {}
        names = ("zoneout_cell", "zoneout_hidden")
        for place, (name, part) in enumerate(zip(names, parts, strict=True)):
            if not _check.known(amounts[name], 0):
                shape = (*steps, *part.shape)
                of = _sharding.by_rows(of_input, batch, part.ndim)
                sharding = _sharding.aligned(of, part.shape, shape)
                fold = jax.random.fold_in(key, place)
                masks[name] = sample_mask(
                    fold, amounts[name], shape, sharding, scaled=False
                )
        inner = self._sample_inner(key, input_shape, num_steps, of_input)
        return ZoneoutNoise(**masks, inner=inner)
