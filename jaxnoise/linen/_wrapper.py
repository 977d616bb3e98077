"""What the wrappers around a cell of flax have in common.

A wrapper has no parameters, and those of its cell stay where they are without it, so
checkpoints load both ways.
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax

from jaxnoise._core import _sharding
from jaxnoise.linen._noise_layer import deterministic_from
from jaxnoise.recurrent._cell_layer import has_noise, rates


class Wrapper(nn.RNNCellBase):
    """Base of the wrappers: the cell that all have.

    A child has its rates and a field `deterministic`, and says which `noise_type` its
    masks are in.
    """

    noise_type: ClassVar[type]
    runner = "jaxnoise.linen.RNN"
    deterministic_from = nn.nowrap(deterministic_from)

    cell: nn.RNNCellBase

    def __post_init__(self):
        _check_inside(type(self).__name__, self.cell)
        rates(self)
        super().__post_init__()

    def setup(self):
        scope: Any = self.scope
        inside: Any = self.cell.scope
        while inside is not None and inside is not scope:
            inside = inside.parent
        if inside is None:
            # a cell that belongs elsewhere stays there. So it is in the copy on which
            # flax tries this method: what that copy does must not reach the real scope
            return
        if isinstance(self.cell, Wrapper):
            # the name of the wrapper inside: its own cell, of the same name, comes here
            scope.reservations.pop("cell", None)
        nn.share_scope(self, self.cell)

    @property
    def num_feature_axes(self) -> int:
        return self.cell.num_feature_axes

    @nn.nowrap
    def initialize_carry(self, rng: jax.Array, input_shape: tuple[int, ...]) -> Any:
        """The carry of the wrapped cell before the first step."""
        return self.cell.initialize_carry(rng, input_shape)

    @nn.nowrap
    def split_noise(
        self, noise: Any, input_shape: tuple[int, ...], num_steps: int
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
            cell: Any = self.cell
            inner = cell.split_noise(noise.inner, input_shape, num_steps)
            fixed, stepped = (
                side._replace(inner=part)
                for side, part in zip((fixed, stepped), inner, strict=True)
            )
        return fixed, stepped

    @nn.nowrap
    def _checked(self, sharding, input_shape):
        name = type(self).__name__
        return _sharding.checked(name, "input_sharding", sharding, input_shape)

    @nn.nowrap
    def _sample_inner(self, key, input_shape, num_steps, of_input):
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


def split(name: str, noise: Any, ranks: Any, num_steps: int) -> tuple[Any, Any]:
    """The masks that all steps share, and those with time in front.

    `ranks` has, for each field, the most dims that a mask has without time.
    """
    for field, masks, rank in zip(noise._fields, noise, ranks, strict=True):
        for mask in jax.tree.leaves(masks):
            if mask.ndim > rank and mask.shape != (num_steps, *mask.shape[-rank:]):
                raise ValueError(
                    f"{name}: noise.{field} must have at most {rank} dims, or "
                    f"{num_steps} steps before them, got shape {mask.shape}."
                )

    def those(timed):
        def chosen(masks, rank):
            return jax.tree.map(
                lambda mask: mask if (mask.ndim > rank) is timed else None, masks
            )

        return type(noise)(*map(chosen, noise, ranks))

    return those(timed=False), those(timed=True)


def expected(cell: Any) -> Any:
    """The noise of evaluation; None for a cell of somebody else, which has none."""
    return cell.expected_noise() if _is_ours(cell) else None


def call(cell, carry, inputs, noise):
    noise = expected(cell) if noise is None else noise
    return cell(carry, inputs) if noise is None else cell(carry, inputs, noise)


def deterministic_of(cell: Any) -> bool | None:
    """`deterministic` as the constructor of a cell has it."""
    return cell.deterministic if _is_ours(cell) else None


def _is_ours(cell):
    return hasattr(type(cell), "expected_noise")


def check_cell(name: str, cell: Any, mend: str = ""):
    """Refuse what is no cell of linen."""
    if not isinstance(cell, nn.RNNCellBase):
        is_class = isinstance(cell, type)
        kind = f"{cell} itself" if is_class else f"a value of {type(cell)}"
        raise TypeError(
            f"{name}: cell must be a flax.linen.RNNCellBase, such as "
            f"jaxnoise.linen.LSTMCell(4), got {kind}.{mend}"
        )


def _check_inside(name, cell):
    order = f"RNN({name}(cell))"
    check_cell(
        name,
        cell,
        f" The wrapper goes around the cell, and the RNN around the wrapper: {order}.",
    )
    if deterministic_of(cell) is not None:
        raise ValueError(
            f"{name}: deterministic of the cell inside must be None, got "
            f"{deterministic_of(cell)}. Pass it to the {name}."
        )


def carry_shapes(cell, input_shape):
    key = jax.eval_shape(lambda: jax.random.key(0))
    return jax.eval_shape(lambda k: cell.initialize_carry(k, input_shape), key)
