"""The laws for PyTorch, which has neither keys nor the transformations of JAX.

`noise` is its dropout behind the signature of the others, the key being the seed: the
laws that only call a function run on it as they are. `LAWS` are those that JAX would
trace, asked in the words of torch. What is left cannot be asked: see `NOT_ASKED`.
"""

import importlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnoise.testing import Case

_TRANSFORMATION = "a transformation of JAX"
NOT_ASKED = {
    "sharding": "a sharding of JAX",
    "x64": "a mode of JAX",
    "batching": f"vmap over keys is {_TRANSFORMATION}",
    "traced": f"tracing is {_TRANSFORMATION}",
    "lowering": "an export of JAX",
}
DTYPES = ("float32", "bfloat16", "float16")


def torch() -> Any:
    return importlib.import_module("torch")


def noise(key: jax.Array, x: jax.Array, rate: Any) -> jax.Array:
    """`torch.nn.functional.dropout` of a copy, in the dtype of x, with this seed."""
    dtype = getattr(torch(), x.dtype.name)
    wide = torch().from_numpy(np.array(x, np.float32))
    y = _seeded(int(jax.random.bits(key)), wide.to(dtype), rate)
    return jnp.asarray(y.float().numpy()).astype(x.dtype)


def _seeded(seed: int, x: Any, rate: float) -> Any:
    with torch().random.fork_rng():
        torch().manual_seed(seed)
        return torch().nn.functional.dropout(x, float(rate))


def _input(rows: int = 4, columns: int = 6) -> Any:
    return torch().linspace(0.5, 2.0, rows * columns).reshape(rows, columns)


def shape(case: Case) -> str:
    for name in DTYPES:
        for size in case.shapes:
            x = torch().ones(size, dtype=getattr(torch(), name))
            y = _seeded(0, x, case.amounts[-1])
            if (y.shape, y.dtype) != (x.shape, x.dtype):
                case.fail("shape", f"{y.dtype}{y.shape} for {x.dtype}{x.shape}.")
    return f"{len(DTYPES) * len(case.shapes)} shapes and dtypes"


def repeats(case: Case) -> str:
    x, amount = _input(), case.amounts[-1]
    if not _seeded(0, x, amount).equal(_seeded(0, x, amount)):
        case.fail("repeats", "two calls after the same seed differ.")
    return "two calls"


def off(case: Case) -> str:
    if not _seeded(0, _input(), 0.0).equal(_input()):
        case.fail("off", "rate 0 changes x.")
    return "known 0"


def errors(case: Case) -> str:
    """Any error will do, of whatever type."""
    attempts = [(f"amount {bad}", _input(), bad) for bad in case.bad]
    integers = _input().to(torch().int32)
    attempts += [("integer input", integers, case.amounts[-1])]
    attempts += [("integer input at amount 0", integers, 0.0)]
    for what, x, amount in attempts:
        try:
            _seeded(0, x, amount)
        except (ValueError, TypeError, RuntimeError):
            continue
        case.fail("errors", f"{what} is accepted silently.")
    return f"{len(attempts)} bad calls"


def gradients(case: Case) -> str:
    """At known rates, the gradient is the factor by which each element is scaled."""
    for amount in (0.0, *case.amounts, 1.0):
        x = _input().requires_grad_()
        y = _seeded(0, x, amount)
        y.sum().backward()
        if not torch().allclose(x.grad * x, y, rtol=1e-6, atol=0):
            case.fail("gradients", f"at {amount} the gradient is not y / x.")
    return "4 amounts"


def residuals(case: Case) -> str:
    """At most a byte an element is saved for the backward pass."""
    x, saved = _input(64, 64).requires_grad_(), []

    def save(tensor):
        saved.append(tensor.numel() * tensor.element_size())
        return tensor

    with torch().autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        _seeded(0, x, case.amounts[-1])
    if sum(saved) > x.numel() + x.numel() // 16:
        case.fail(
            "residuals",
            f"{sum(saved)} bytes are kept for an input of {x.numel()} elements.",
        )
    return "at most a byte an element"


def selection(case: Case) -> str:
    """Dropped nan and inf become 0, and so do their cotangents."""
    amount = case.amounts[-1]
    lost = _seeded(0, _input(16, 16), amount) == 0
    for poison in (np.nan, np.inf, -np.inf):
        x = torch().where(lost, poison, _input(16, 16)).requires_grad_()
        y = _seeded(0, x, amount)
        y.backward(torch().where(lost, poison, 1.0))
        for what, found in (("values", y), ("cotangents", x.grad)):
            wrong = int((found[lost] != 0).sum())
            if wrong:
                case.fail(
                    "selection",
                    f"{wrong} of {int(lost.sum())} dropped {what} {poison} are not 0.",
                )
    return f"{int(lost.sum())} of {lost.numel()} dropped"


LAWS: dict[str, Callable[[Case], str]] = {
    law.__name__: law
    for law in (shape, repeats, off, errors, gradients, residuals, selection)
}
