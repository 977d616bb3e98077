"""The same steps in torch on the CPU; its generator is its own."""

import importlib
import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks._formulas import RATE, STDDEV
from benchmarks._harness import Candidate

NOISES: dict[str, Callable[[Any, Any], Any]] = {
    "dropout": lambda torch, x: torch.nn.functional.dropout(x, RATE),
    "alpha_dropout": lambda torch, x: torch.nn.functional.alpha_dropout(
        x, RATE, training=True
    ),
    "gaussian_noise": lambda torch, x: x + STDDEV * torch.randn_like(x),
}


def candidate(noise_name: str, step: str, *arrays: jax.Array) -> Candidate:
    """The noise in one of the steps below, on copies of these arrays."""
    if jax.default_backend() != "cpu":
        raise ImportError("it is measured on CPU only")
    torch: Any = importlib.import_module("torch")
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    dtype = getattr(torch, arrays[0].dtype.name)
    gradient = step != "forward"
    tensors = [
        torch.from_numpy(np.array(array, np.float32)).to(dtype).requires_grad_(gradient)
        for array in arrays
    ]

    def noise(x):
        return NOISES[noise_name](torch, x)

    return Candidate(lambda: STEPS[step](torch, noise, *tensors))


def _forward(torch, noise, x):
    return noise(x)


def _elementwise(torch, noise, x):
    x.grad = None
    _backward(noise(torch.tanh(noise(x))))


def _chain(torch, noise, x, w):
    x.grad = w.grad = None
    _backward(noise(torch.tanh(x @ w)))


def _backward(y):
    y.float().square().sum().backward()


STEPS = {"forward": _forward, "elementwise": _elementwise, "chain": _chain}
