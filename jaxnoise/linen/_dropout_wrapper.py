"""Dropout around any cell of flax: of what goes in, comes out and is passed on."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from jax.typing import ArrayLike

from jaxnoise._core import _check, _sharding
from jaxnoise.linen._wrapper import Wrapper, call, carry_shapes, expected
from jaxnoise.recurrent._cell_layer import rates, without_noise
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


class DropoutWrapper(Wrapper):
    """Dropout of the input, the state and the output of any cell, as in TensorFlow.

    Law: x' = D(x), (s', y) = cell(s, x'), s = D(s'), y' = D(y), with
    D(v) = v m / q, m ~ Bernoulli(q), q = 1 - rate, from independent masks. E[D(v)] = v,
    Var[D(v)] = v^2 rate / q. The state that is dropped is the one passed on, so the
    initial one is not and the final one is; the output of a step is that of the cell.
    In an LSTM h is dropped and c is not.

    Attributes:
      cell: any `flax.linen.RNNCellBase`, MGU and ConvLSTM included.
      input_rate, state_rate, output_rate: probabilities of dropping, in [0, 1].
      variational: False for new masks per step and row. True for one mask for all steps
        and all rows.
      state_filter: None drops h of a carry (c, h) and all of any other carry.
        Otherwise a function of the carry with a bool for each part, True = dropped.
      deterministic: True for no noise, where none is passed. Here, at the call, or in
        `jaxnoise.linen.RNN`, in one of the three.
      bits: as in `jaxnoise.dropout`, for all masks.

    Sharp bits: state_rate with `variational` on a cell that carries its state over
    linearly, as a GRU does, grows without bound: max |h| is 1e10 after 35 steps and inf
    after 200 at rate .5. `recurrent_rate` of `GRUCell` does not.

    Example:
      >>> import jax, jax.numpy as jnp, flax.linen as nn, jaxnoise.linen as jnn
      >>> rnn = jnn.RNN(jnn.DropoutWrapper(nn.LSTMCell(4), output_rate=0.5))
      >>> x = jnp.arange(1.0, 11.0).reshape(5, 1, 2)
      >>> params = rnn.init(jax.random.key(0), x, deterministic=True)
      >>> plain = rnn.apply(params, x, deterministic=True)
      >>> y = rnn.apply(params, x, deterministic=False, rng=jax.random.key(1))
      >>> bool(((y == 0) | jnp.isclose(y, plain / 0.5)).all())
      True

    Reference: Zaremba, Sutskever, Vinyals, Recurrent neural network regularization,
    2014, https://arxiv.org/abs/1409.2329; Gal, Ghahramani, A theoretically grounded
    application of dropout in recurrent neural networks, NeurIPS 2016,
    https://arxiv.org/abs/1512.05287.
    """

    noise_type = DropoutNoise

    input_rate: ArrayLike = 0.0
    state_rate: ArrayLike = 0.0
    output_rate: ArrayLike = 0.0
    variational: bool = False
    state_filter: StateFilter | None = None
    deterministic: bool | None = None
    bits: int = 32

    def __call__(
        self,
        carry: Any,
        inputs: jax.Array,
        noise: DropoutNoise | None = None,
        deterministic: bool | None = None,
    ) -> tuple[Any, Any]:
        """The carry after a step, and the output.

        Args:
          carry: that of the wrapped cell.
          inputs: the input of the step.
          noise: masks from `sample_noise` without num_steps. May be left out if the
            rates, also those of the wrapped cell, are 0, or the wrapper deterministic.
          deterministic: True for no noise, where none is passed.

        Raises:
          ValueError: no noise, a rate that is not 0, and deterministic is not True.
        """
        masks: Any = noise
        if noise is None:
            masks = without_noise(self, self.deterministic_from(deterministic))
        carry, y = call(self.cell, carry, times(inputs, masks.input), masks.inner)
        return _times(carry, masks.state), times(y, masks.output)

    @nn.nowrap
    def expected_noise(self) -> DropoutNoise:
        """What takes the place of noise in evaluation: that of the wrapped cell."""
        return DropoutNoise(inner=expected(self.cell))

    @nn.nowrap
    def sample_noise(
        self,
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
        name = "DropoutWrapper"
        key = _check.key(name, key)
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
            _check.bits(name, self.bits, rate)
            return sample_mask(own, rate, drawn, sharding, bits=self.bits)

        carry = carry_shapes(self, input_shape)
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
            shape = _output_shape(self.cell, carry, input_shape)
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


def _output_shape(cell, carry, input_shape):
    """The shape of what one step of the cell emits, without running it."""
    unbound = cell.clone(parent=None, name=None)
    key = jax.eval_shape(lambda: jax.random.key(0))
    inputs = jax.ShapeDtypeStruct(input_shape, np.float32)
    noise = expected(unbound)
    given = () if noise is None else (noise,)
    (_, y), _ = jax.eval_shape(unbound.init_with_output, key, carry, inputs, *given)
    return y.shape
