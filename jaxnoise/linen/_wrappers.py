"""Dropout and zoneout around any cell of flax, on what goes in and comes out of it.

A wrapper has no parameters, and those of its cell stay where they are without it, so
checkpoints load both ways.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from jax.typing import ArrayLike

from jaxnoise import _check, recurrent
from jaxnoise.linen._cells import noisy
from jaxnoise.recurrent._cell import rates
from jaxnoise.recurrent._masks import mix, times
from jaxnoise.recurrent._noise import sample_mask

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


class ZoneoutNoise(NamedTuple):
    """Masks of a `ZoneoutWrapper`: how much of the new state is taken.

    They have the shape of the state, and time in front; `inner` is the noise of the
    wrapped cell, if that has any.
    """

    zoneout_hidden: Any = None
    zoneout_cell: Any = None
    inner: Any = None


class _Wrapper(nn.RNNCellBase):
    """Base of the wrappers; a child has the field `cell` and its rates."""

    def __post_init__(self):
        rates(self)
        super().__post_init__()

    def setup(self):
        nn.share_scope(self, _cell(self))

    @property
    def num_feature_axes(self) -> int:
        return _cell(self).num_feature_axes

    @nn.nowrap
    def initialize_carry(self, rng: jax.Array, input_shape: tuple[int, ...]) -> Any:
        """The carry of the wrapped cell before the first step."""
        return _cell(self).initialize_carry(rng, input_shape)

    @nn.nowrap
    def split_noise(
        self, noise: Any, input_shape: tuple[int, ...], num_steps: int
    ) -> tuple[Any, Any]:
        """The masks that all steps share, and those with time in front."""
        kinds: Any = (DropoutNoise, ZoneoutNoise)
        name = type(self).__name__
        if not isinstance(noise, kinds):
            raise TypeError(
                f"{name}: noise must be drawn by sample_noise of the wrapper, got "
                f"{type(noise).__name__}."
            )
        rank = len(input_shape)

        def timed(mask):
            if mask.ndim <= rank:
                return False
            if mask.ndim == rank + 1 and mask.shape[0] == num_steps:
                return True
            raise ValueError(
                f"{name}: a mask must have at most {rank} dims, or {num_steps} steps "
                f"before them, got shape {mask.shape}."
            )

        own = noise._replace(inner=None)
        fixed = jax.tree.map(lambda m: None if timed(m) else m, own)
        stepped = jax.tree.map(lambda m: m if timed(m) else None, own)
        if noise.inner is not None:
            inner = _cell(self).split_noise(noise.inner, input_shape, num_steps)
            fixed, stepped = (
                side._replace(inner=part)
                for side, part in zip((fixed, stepped), inner, strict=True)
            )
        return fixed, stepped

    @nn.nowrap
    def _sample_inner(self, key, input_shape, num_steps):
        cell = _cell(self)
        if not noisy(cell):
            return None
        return cell.sample_noise(jax.random.fold_in(key, 3), input_shape, num_steps)


class DropoutWrapper(_Wrapper):
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

    cell: nn.RNNCellBase
    input_rate: ArrayLike = 0.0
    state_rate: ArrayLike = 0.0
    output_rate: ArrayLike = 0.0
    variational: bool = False
    state_filter: StateFilter | None = None

    def __call__(
        self, carry: Any, inputs: jax.Array, noise: DropoutNoise | None = None
    ) -> tuple[Any, Any]:
        """The carry after a step, and the output.

        Args:
          carry: that of the wrapped cell.
          inputs: the input of the step.
          noise: masks from `sample_noise` without num_steps; None for none.
        """
        if noise is None:
            return self.cell(carry, inputs)
        carry, y = _call(self.cell, carry, times(inputs, noise.input), noise.inner)
        return _times(carry, noise.state), times(y, noise.output)

    @nn.nowrap
    def sample_noise(
        self, key: jax.Array, input_shape: tuple[int, ...], num_steps: int | None = None
    ) -> DropoutNoise:
        """Draw the masks of a sequence, or without `num_steps` those of one step.

        Args:
          key: PRNG key, consumed.
          input_shape: shape (*batch, *features) of the input of one step.
          num_steps: length of the sequence.
        """
        key = _check.key("DropoutWrapper", key)
        amounts = rates(self)
        batch = len(input_shape) - self.num_feature_axes
        steps = () if num_steps is None or self.variational else (num_steps,)

        def draw(place, rate, shape):
            if _check.known(rate, 0):
                return None
            rows = (1,) * batch if self.variational else shape[:batch]
            place = jax.random.fold_in(key, place)
            return sample_mask(place, rate, (*steps, *rows, *shape[batch:]))

        carry = _carry_shapes(self, input_shape)
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
            input=draw(0, amounts["input_rate"], input_shape),
            state=state,
            output=output,
            inner=self._sample_inner(key, input_shape, num_steps),
        )


class ZoneoutWrapper(_Wrapper):
    """Zoneout around any cell: units of the state stay as they were at random.

    Law: c = u_c c~ + (1 - u_c) c_before, h = u_h h~ + (1 - u_h) h_before, with
    u ~ Bernoulli(1 - zoneout) per step, row and unit, and c~, h~ the new state of the
    cell. E[h] = zoneout h_before + (1 - zoneout) h~, which takes its place without
    noise; Var[h] = zoneout (1 - zoneout) (h~ - h_before)^2. The output is the h of
    zoneout where the cell emits its h.

    Attributes:
      cell: any `flax.linen.RNNCellBase` whose carry is (c, h) or h.
      zoneout_hidden: probability that a unit of h stays as it was, in [0, 1].
      zoneout_cell: the same for c.

    Example:
      >>> import jax, jax.numpy as jnp, flax.linen as nn, jaxnoise.linen as jnn
      >>> rnn = jnn.RNN(jnn.ZoneoutWrapper(nn.MGUCell(4), zoneout_hidden=0.1))
      >>> x = jnp.ones((2, 7, 3))
      >>> params = rnn.init(jax.random.key(0), x, deterministic=True)
      >>> rnn.apply(params, x, deterministic=False, rng=jax.random.key(1)).shape
      (2, 7, 4)

    Reference: Krueger et al., Zoneout: regularizing RNNs by randomly preserving hidden
    activations, ICLR 2017, https://arxiv.org/abs/1606.01305.
    """

    cell: nn.RNNCellBase
    zoneout_hidden: ArrayLike = 0.0
    zoneout_cell: ArrayLike = 0.0

    def __call__(
        self, carry: Any, inputs: jax.Array, noise: ZoneoutNoise | None = None
    ) -> tuple[Any, Any]:
        """The carry after a step, and the output.

        Args:
          carry: that of the wrapped cell.
          inputs: the input of the step.
          noise: masks from `sample_noise` without num_steps; None for the expectation.
        """
        noise = self._expected() if noise is None else noise
        new, y = _call(self.cell, carry, inputs, noise.inner)
        if not isinstance(new, tuple):
            hidden = mix(new, carry, noise.zoneout_hidden)
            return hidden, hidden if y is new else y
        (c, h), (old_c, old_h) = new, carry
        hidden = mix(h, old_h, noise.zoneout_hidden)
        output = hidden if y is h else y
        return (mix(c, old_c, noise.zoneout_cell), hidden), output

    @nn.nowrap
    def _expected(self):
        amounts: Any = rates(self)
        masks = recurrent.expected_noise(**amounts)
        return ZoneoutNoise(masks.zoneout_hidden, masks.zoneout_cell)

    @nn.nowrap
    def sample_noise(
        self, key: jax.Array, input_shape: tuple[int, ...], num_steps: int | None = None
    ) -> ZoneoutNoise:
        """Draw the masks of a sequence, or without `num_steps` those of one step.

        Args:
          key: PRNG key, consumed.
          input_shape: shape (*batch, *features) of the input of one step.
          num_steps: length of the sequence.
        """
        key = _check.key("ZoneoutWrapper", key)
        amounts = rates(self)
        steps = () if num_steps is None else (num_steps,)
        carry = _carry_shapes(self, input_shape)
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
                fold = jax.random.fold_in(key, place)
                masks[name] = sample_mask(fold, amounts[name], shape, scaled=False)
        inner = self._sample_inner(key, input_shape, num_steps)
        return ZoneoutNoise(**masks, inner=inner)


def _cell(wrapper: Any) -> Any:
    return wrapper.cell


def _call(cell, carry, inputs, noise):
    return cell(carry, inputs) if noise is None else cell(carry, inputs, noise)


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


def _carry_shapes(cell, input_shape):
    key = jax.eval_shape(lambda: jax.random.key(0))
    return jax.eval_shape(lambda k: cell.initialize_carry(k, input_shape), key)


def _output_shape(cell, carry, input_shape):
    """The shape of what one step of the cell emits, without running it."""
    unbound = cell.clone(parent=None, name=None)
    key = jax.eval_shape(lambda: jax.random.key(0))
    inputs = jax.ShapeDtypeStruct(input_shape, np.float32)
    (_, y), _ = jax.eval_shape(unbound.init_with_output, key, carry, inputs)
    return y.shape
