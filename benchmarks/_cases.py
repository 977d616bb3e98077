"""The table of what is measured: a row is a noise, a shape and a mode of running it.

Modes: `FORWARD`, the noise alone; `CHAIN`, the gradient for x and w of
sum(noise(tanh(x w))^2), w being 32 x 32 so that the matmuls do not hide the noise;
`ELEMENTWISE`, the gradient for x of sum(noise(tanh(noise(x)))^2); `DENSE`, 32 rows
through a dense layer with noise on its kernel; `EAGER`, the noise outside of `jit`;
`COMPILE...`, the time to trace and compile; `SCANNED` and `UNROLLED`, the gradient of
32 layers noise(tanh(x w)), for their memory. These share one w, since copies of weights
and of their gradients would hide what the layers keep. `ATTENTION`, the gradient of
sum(y^2) for queries, keys and values, which x is made of. `SINE`, the gradient for all
arrays of sum(noise(sin x)^2), is for compilers alone (`benchmarks/compiled`).
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks import _against_formulas, _harness, _peers, _torch

WIDTH = 32  # of the matmul in a chain
DEPTH = 32  # of a stack
Shape = tuple[int, ...]


class Mode(NamedTuple):
    """How a noise becomes a candidate."""

    step: Callable[[_peers.Noise], Callable[..., Any]]
    make: Callable[..., _harness.Candidate] = _harness.compiled
    matrix: Callable[[Shape], Shape] | None = None  # the shape of w
    limit: str | None = "copy"


class Case(NamedTuple):
    name: str
    noises: _peers.Noises
    shape: Callable[[int], Shape]
    mode: Mode
    sizes: tuple[int, ...]
    dtypes: tuple[str, ...] = ("float32",)
    torch: str | None = None  # the noise of _torch.py that takes part
    inputs: Callable[..., jax.Array] = jax.random.normal  # (key, shape, dtype) -> x


class Block(NamedTuple):
    """The candidates that are timed in turn: one case at one shape and dtype."""

    case: Case
    shape: Shape
    dtype: str


def forward(noise):
    return noise


def elementwise(noise):
    def loss(x, key):
        first, second = jax.random.split(key)
        return _square_sum(noise(second, jnp.tanh(noise(first, x))))

    return lambda key, x: jax.grad(loss)(x, key)


def chain(noise):
    def loss(x, w, key):
        return _square_sum(noise(key, jnp.tanh(x @ w)))

    return lambda key, x, w: jax.grad(loss, (0, 1))(x, w, key)


def sine(noise):
    def loss(arrays, key):
        x, *others = arrays
        return _square_sum(noise(key, jnp.sin(x), *others))

    return lambda key, *arrays: jax.grad(loss)(arrays, key)


def scanned(noise):
    def loss(x, w, key):
        def layer(x, key):
            return noise(key, jnp.tanh(x @ w)), None

        return _square_sum(lax.scan(layer, x, jax.random.split(key, DEPTH))[0])

    return lambda key, x, w: jax.grad(loss, (0, 1))(x, w, key)


def unrolled(noise):
    def loss(x, w, key):
        keys = jax.random.split(key, DEPTH)
        for i in range(DEPTH):
            x = noise(keys[i], jnp.tanh(x @ w))
        return _square_sum(x)

    return lambda key, x, w: jax.grad(loss, (0, 1))(x, w, key)


def attention(attend):
    def loss(x, key):
        return _square_sum(attend(key, *x))

    return lambda key, x: jax.grad(loss)(x, key)


def _square_sum(y):
    return jnp.square(y.astype(jnp.float32)).sum()


def _square(shape: Shape) -> Shape:
    return (shape[-1], shape[-1])


def _rows(kernel_shape: Shape) -> Shape:
    return (WIDTH, kernel_shape[0])


FORWARD = Mode(forward)
CHAIN = Mode(chain, matrix=_square)
ELEMENTWISE = Mode(elementwise)
SINE = Mode(sine)
EAGER = Mode(forward, _harness.called)
COMPILE = Mode(forward, _harness.compiling, limit=None)
COMPILE_CHAIN = Mode(chain, _harness.compiling, matrix=_square, limit=None)
SCANNED = Mode(scanned, matrix=_square, limit="none")
UNROLLED = Mode(unrolled, matrix=_square, limit="none")
ATTENTION = Mode(attention, limit="none")
DENSE = Mode(forward, matrix=_rows, limit="none")


def rows_of(width: int) -> Callable[[int], Shape]:
    return lambda size: (max(size // width, 1), width)


def sequences(size: int) -> Shape:
    return (max(size // (64 * 512), 1), 64, 512)


def images(size: int) -> Shape:
    return (max(size // (16 * 16 * 64), 1), 16, 16, 64)


def kernels(size: int) -> Shape:
    return (math.isqrt(size),) * 2


def heads(size: int) -> Shape:
    """Queries, keys and values of 8 sequences, 16 heads x 64."""
    return (3, 8, max(size // (3 * 8 * 16 * 64), 4), 16, 64)


def words(key: jax.Array, shape: Shape, dtype: str) -> jax.Array:
    return jax.random.randint(key, shape, 0, 32_000, dtype)


def _cases() -> Iterator[Case]:
    k64, m1, m16 = 2**16, 2**20, 2**24
    small, all_sizes, both = (k64, m1), (k64, m1, m16), ("float32", "bfloat16")
    wide, narrow, layers = rows_of(1024), rows_of(WIDTH), rows_of(512)
    noises, gradients, tied = _peers.DROPOUT, _peers.GRADIENT, _peers.TIED
    torch = "dropout"
    yield Case("forward dropout", noises, wide, FORWARD, all_sizes, both, torch)
    yield Case("forward broadcast_dims", tied, sequences, FORWARD, small, both)
    steps = _peers.NONE | gradients
    yield Case("gradient chain", steps, narrow, CHAIN, all_sizes, both, torch)
    yield Case("gradient elementwise", steps, wide, ELEMENTWISE, small, both, torch)
    for name, variant in _peers.FLAT.items():
        torch = name if name in _torch.NOISES else None
        yield Case(f"forward {name}", variant, wide, FORWARD, small, torch=torch)
    for name, variant in _peers.IMAGES.items():
        yield Case(f"forward {name}", variant, images, FORWARD, small)
    yield from _once((m1,))
    attentions = _peers.ATTENTION
    yield Case("attention gradient", attentions, heads, ATTENTION, (3 * 8 * m1,))
    yield Case("stack scanned", _peers.STACK, layers, SCANNED, (256 * 512,))
    yield Case("stack unrolled", _peers.STACK, layers, UNROLLED, (256 * 512,))
    for name, eager in _peers.EAGER.items():
        yield Case(f"eager {name}", eager, wide, EAGER, small)
    yield Case("compile dropout", gradients, wide, COMPILE, (m1,))
    yield Case("compile gradient", gradients, narrow, COMPILE_CHAIN, (m1,))
    for name, variant in (_peers.FLAT | _peers.IMAGES).items():
        shape = wide if name in _peers.FLAT else images
        yield Case(f"compile {name}", variant, shape, COMPILE, (m1,))


def _once(sizes: tuple[int, ...]) -> Iterator[Case]:
    """Noise of less common use: one table each, and no other for compilation."""
    for name, variant in _against_formulas.FLAT.items():
        yield Case(f"forward {name}", variant, rows_of(1024), FORWARD, sizes)
    yield Case(
        *("forward poisson_noise", _against_formulas.POISSON, images, FORWARD, sizes),
        inputs=jax.random.uniform,
    )
    yield Case(
        "forward neftune_noise", _against_formulas.NEFTUNE, sequences, FORWARD, sizes
    )
    yield Case(
        *(
            "forward token_dropout",
            _against_formulas.TOKENS,
            rows_of(1024),
            FORWARD,
            sizes,
        ),
        dtypes=("int32",),
        inputs=words,
    )
    for name, variant in _against_formulas.DENSE.items():
        yield Case(f"dense {name}", variant, kernels, DENSE, sizes)


CASES = tuple(_cases())


def blocks(case: Case, sizes: tuple[int, ...] | None = None) -> Iterator[Block]:
    """The shapes and dtypes of a case, at these sizes if it has several of its own."""
    for size in sizes if sizes and len(case.sizes) > 1 else case.sizes:
        for dtype in case.dtypes:
            yield Block(case, case.shape(size), dtype)


def inputs(block: Block) -> tuple[jax.Array, list[jax.Array]]:
    """A key and the random arrays of the block."""
    case, shape, dtype = block
    key, key_x, key_w = jax.random.split(jax.random.key(0), 3)
    arrays = [case.inputs(key_x, shape, dtype)]
    if case.mode.matrix is not None:
        w_shape = case.mode.matrix(shape)
        arrays.append(jax.random.normal(key_w, w_shape, dtype) / w_shape[-1] ** 0.5)
    return key, arrays


def candidates(block: Block) -> dict[str, _harness.Candidate]:
    """Every candidate of the block, ready to run, on the same random arrays."""
    case, _, dtype = block
    mode = case.mode
    key, arrays = inputs(block)

    def candidate(make_noise):
        return mode.make(mode.step(make_noise()), key, *arrays)

    factories = {name: partial(candidate, make) for name, make in case.noises.items()}
    if mode.limit == "copy":
        # a product with a number that the compiler does not know to be 1
        one = jnp.ones((), dtype)
        factories["copy"] = partial(mode.make, jnp.multiply, arrays[0], one)
    if case.torch is not None:
        step = mode.step.__name__
        factories["torch"] = partial(_torch.candidate, case.torch, step, *arrays)
    return _harness.prepared(factories, own="jaxnoise")


def measured(block: Block, seconds: float) -> list[_harness.Row]:
    """The rows of the block: what was measured, and what of."""
    case, shape, dtype = block
    size, mode = math.prod(shape), case.mode
    ready = candidates(block)
    ours = next(name for name in ready if name.startswith("jaxnoise"))
    rows = _harness.measured(ready, seconds, ours, mode.limit)
    about = {"case": case.name, "size": size, "shape": shape, "dtype": dtype}
    if mode.limit == "copy":
        # what no implementation can avoid: x is read, y or the gradient of x written
        about["bytes"] = 2 * size * jnp.dtype(dtype).itemsize
    for row in rows:
        row |= about
    return rows
