"""The shared base of the wrappers around a cell, of linen and of nnx.

A wrapper has no parameters but those of its cell, and none of its own noise reaches
them.
"""

from typing import Any, ClassVar

import jax

from jaxnoise._core import _sharding
from jaxnoise.recurrent._cell_layer import has_noise, without_noise
from jaxnoise.recurrent._steps import split


class WrapperLayer:
    """Base of the wrappers, in front of their base in linen or nnx.

    A child has the `cell` and the rates as attributes, a `step` that takes masks, says
    which `noise_type` they are in, and how constructor and call say whether it is
    deterministic (`deterministic_from`). From its framework it has `carry_shapes` and
    `output_shape`.
    """

    noise_type: ClassVar[type]

    def __call__(
        self: Any,
        carry: Any,
        inputs: jax.Array,
        noise: Any = None,
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
        if noise is None:
            noise = without_noise(self, self.deterministic_from(deterministic))
        return self.step(carry, inputs, noise)

    @property
    def num_feature_axes(self: Any) -> int:
        return self.cell.num_feature_axes

    def split_noise(
        self: Any, noise: Any, input_shape: tuple[int, ...], num_steps: int
    ) -> tuple[Any, Any]:
        """The masks that all steps share, and those with time in front."""
        name = type(self).__name__
        if not isinstance(noise, self.noise_type):
            raise TypeError(
                f"{name}: noise must be a {self.noise_type.__name__}, got "
                f"{type(noise).__name__}. Draw it with sample_noise of the wrapper."
            )
        own = noise._replace(inner=None)
        ranks = type(noise)(*[len(input_shape)] * len(noise))
        fixed, stepped = split(name, own, ranks, num_steps)
        if noise.inner is not None:
            inner = self.cell.split_noise(noise.inner, input_shape, num_steps)
            fixed, stepped = (
                side._replace(inner=part)
                for side, part in zip((fixed, stepped), inner, strict=True)
            )
        return fixed, stepped

    def _checked(self, sharding, input_shape):
        name = type(self).__name__
        return _sharding.checked(name, "input_sharding", sharding, input_shape)

    def _sample_inner(self: Any, key, input_shape, num_steps, of_input):
        if not has_noise(self.cell):
            return None
        key = jax.random.fold_in(key, 3)
        return drawn(self.cell, key, input_shape, num_steps, of_input)


def drawn(
    cell: Any,
    key: jax.Array,
    input_shape: tuple[int, ...],
    num_steps: int | None,
    sharding: _sharding.Sharding,
) -> Any:
    """The noise of any cell; one of somebody else may not know of shardings."""
    placed = {} if sharding is None else {"input_sharding": sharding}
    return cell.sample_noise(key, input_shape, num_steps, **placed)


def expected(cell: Any) -> Any:
    """The noise of evaluation; None for a cell of somebody else, which has none."""
    return cell.expected_noise() if is_ours(cell) else None


def call(cell: Any, carry: Any, inputs: Any, noise: Any) -> tuple[Any, Any]:
    """A step of any cell, with the noise of evaluation where none is given."""
    noise = expected(cell) if noise is None else noise
    return cell(carry, inputs) if noise is None else cell(carry, inputs, noise)


def is_ours(cell: Any) -> bool:
    """Whether a cell has noise, or wraps one that may have."""
    return hasattr(type(cell), "expected_noise")


def check_cell(name: str, cell: Any, is_cell: bool, such_as: str, mend: str = ""):
    """Refuse what is no cell, where a cell is something `such_as` that."""
    if not is_cell:
        is_class = isinstance(cell, type)
        kind = f"{cell} itself" if is_class else f"a value of {type(cell)}"
        raise TypeError(f"{name}: cell must be a {such_as}, got {kind}.{mend}")


def check_noise(name: str, cell: Any, noise: Any):
    """Refuse noise for a cell that has none."""
    if not hasattr(type(cell), "sample_noise"):
        raise TypeError(
            f"{name}: noise must be None for {type(cell).__name__}, which has no "
            f"noise, got {type(noise).__name__}. Wrap the cell in a DropoutWrapper or "
            f"ZoneoutWrapper."
        )


def order(name: str) -> str:
    """The mend where a wrapper is around something else than a cell."""
    return (
        f" The wrapper goes around the cell, and the RNN around the wrapper: "
        f"RNN({name}(cell))."
    )
