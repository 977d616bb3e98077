"""Tables of programs that do the same with other noise, or none."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from benchmarks import _cases, _peers

SIZE = 2**24  # elements of x
DTYPES = ("bfloat16", "float32")
SHOWN = ("none", "flax.linen", "jax.random")  # of the others: their programs are alike
RBG = ", rbg key"


class Program(NamedTuple):
    """A function, its arguments as shapes, and how these lie on 2 x 2 chips.

    trips: the length of its loops. smaller: what is compiled for 2 x 2 chips instead.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    specs: tuple[Any, ...] | None
    trips: int | None = None
    smaller: "Program | None" = None


class Table(NamedTuple):
    """Programs by name, the first being what the others are compared with.

    `peer` is the row that ours has to beat.
    """

    name: str
    programs: dict[str, Callable[[], Program]]
    peer: str
    elements: int

    @property
    def base(self) -> str:
        return next(iter(self.programs))


def key_of(implementation: str | None = None) -> Any:
    return jax.eval_shape(lambda: jax.random.key(0, impl=implementation))


def noises() -> Iterator[Table]:
    """Each noise of `_cases.py`, alone and in the gradient of sum(noise(sin x)^2)."""
    for case in _cases.CASES:
        if case.mode in (_cases.FORWARD, _cases.DENSE):
            dtypes = DTYPES if case.inputs is not _cases.words else case.dtypes
            for dtype in dtypes:
                yield _noise(case, dtype, case.name)
                if dtype in DTYPES:
                    mode = case.mode._replace(step=_cases.sine)
                    name = f"gradient {case.name.split(maxsplit=1)[1]}"
                    yield _noise(case._replace(mode=mode), dtype, name)


def _noise(case: _cases.Case, dtype: str, name: str) -> Table:
    shape = case.shape(SIZE)
    if len(shape) == 2:
        shape = _cases.kernels(SIZE)
    block = _cases.Block(case, shape, dtype)
    key, arrays = jax.eval_shape(lambda: _cases.inputs(block))
    specs = _specs(case, arrays)

    def program(make, key=key):
        function = case.mode.step(make())
        return Program(function, (key, *arrays), (PartitionSpec(), *specs))

    peer = "flax.linen" if "flax.linen" in case.noises else "jax.random"
    programs: dict[str, Callable[[], Program]] = {}
    if case.mode.limit == "copy":
        one = jax.ShapeDtypeStruct((), arrays[0].dtype)
        programs["copy"] = lambda: Program(jnp.multiply, (arrays[0], one), None)
    for row in ("none", peer, *case.noises):
        if row in case.noises and (row in SHOWN or row.split(",")[0] == "jaxnoise"):
            programs[row] = partial(program, case.noises[row])
    if case.noises is _peers.DROPOUT:
        for row in ("flax.linen", "jaxnoise"):
            programs[row + RBG] = partial(program, case.noises[row], key_of("rbg"))
    return Table(f"{name} {dtype}", programs, peer, arrays[0].size)


def _specs(case: _cases.Case, arrays: list[Any]) -> list[PartitionSpec]:
    """Rows over one axis of the mesh, features over the other."""
    if case.mode.matrix is not None:  # a kernel, and rows for it
        return [PartitionSpec(None, "tensor"), PartitionSpec("data")]
    between = [None] * (arrays[0].ndim - 2)
    return [PartitionSpec("data", *between, "tensor")]
