"""Dropout around any cell of flax: of what goes in, comes out and is passed on."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from jaxnoise._core import _check, _sharding
from jaxnoise._flax._wrapper import WrapperLayer, call, expected
from jaxnoise.recurrent._cell_layer import rates
from jaxnoise.recurrent._masks import times
from jaxnoise.recurrent._noise import OutSharding, sample_mask

StateFilter = Callable[[Any], Any]


class DropoutNoise(NamedTuple):
    """Masks of a `DropoutWrapper`, scaled by 1 / (1 - rate), None where it is off.

    `state` has the structure of the carry, with None where it is left alone; `inner` is
    the noise of the wrapped cell, if that has any. Masks have the shape of what they
    are for, with size 1 on the batch dims if variational; time is in front if not.
    """

    input: Any = None
    state: Any = None
    output: Any = None
    inner: Any = None


class DropoutWrapperLayer(WrapperLayer):
    """The shared part of `DropoutWrapper`, in linen and in nnx.

    A child has the three rates, `variational`, `state_filter` and `bits`.
    """

    noise_type = DropoutNoise

    def step(self: Any, carry: Any, inputs: jax.Array, masks: Any) -> tuple[Any, Any]:
        """The carry after a step under these masks, and the output."""
        carry, y = call(self.cell, carry, times(inputs, masks.input), masks.inner)
        return _times(carry, masks.state), times(y, masks.output)

    def expected_noise(self: Any) -> DropoutNoise:
        """The noise of evaluation: that of the wrapped cell."""
        return DropoutNoise(inner=expected(self.cell))

    def sample_noise(
        self: Any,
        key: jax.Array,
        input_shape: tuple[int, ...],
        num_steps: int | None = None,
        *,
        input_sharding: OutSharding = None,
    ) -> DropoutNoise:
        """Draw the masks of a sequence, or without `num_steps` those of one step.

        Args:
          key: PRNG key, consumed.
          input_shape: shape (*batch, *features) of the input of one step.
          num_steps: length of the sequence.
          input_sharding: on an explicit mesh, that of the input of one step; the masks
            of the state and of the output have its rows.
        """
        key = _check.key("DropoutWrapper", key)
        amounts = rates(self)
        batch = len(input_shape) - self.num_feature_axes
        steps = () if num_steps is None or self.variational else (num_steps,)
        of_input = self._checked(input_sharding, input_shape)

        def draw(place, rate, shape, of=None):
            if _check.known(rate, 0):
                return None
            rows = (1,) * batch if self.variational else shape[:batch]
            of = _sharding.by_rows(of_input, batch, len(shape)) if of is None else of
            drawn = (*steps, *rows, *shape[batch:])
            sharding = _sharding.aligned(of, shape, drawn)
            own = jax.random.fold_in(key, place)
            _check.bits("DropoutWrapper", self.bits, rate)
            return sample_mask(own, rate, drawn, sharding, bits=self.bits)

        carry = self.carry_shapes(input_shape)
        state = None
        if not _check.known(amounts["state_rate"], 0):
            keep = _state_filter if self.state_filter is None else self.state_filter
            chosen = jax.tree.leaves(keep(carry))
            leaves, structure = jax.tree.flatten(carry)
            masks = [
                draw(4 + place, amounts["state_rate"], leaf.shape) if drop else None
                for place, (leaf, drop) in enumerate(zip(leaves, chosen, strict=True))
            ]
            state = jax.tree.unflatten(structure, masks)
        output = None
        if not _check.known(amounts["output_rate"], 0):
            shape = self.output_shape(carry, input_shape)
            output = draw(1, amounts["output_rate"], shape)
        return DropoutNoise(
            input=draw(0, amounts["input_rate"], input_shape, of_input),
            state=state,
            output=output,
            inner=self._sample_inner(key, input_shape, num_steps, of_input),
        )


def _times(carry, masks):
    """The carry with its masks on it; None leaves a part alone."""
    if masks is None:
        return carry
    leaves, structure = jax.tree.flatten(carry)
    flat = structure.flatten_up_to(masks)
    return structure.unflatten(
        [times(leaf, mask) for leaf, mask in zip(leaves, flat, strict=True)]
    )


def _state_filter(carry):
    """TensorFlow's: h of an LSTM, and everything of the others."""
    if isinstance(carry, tuple) and len(carry) == 2:
        return (False, True)
    return jax.tree.map(lambda _: True, carry)
