"""Record PyTorch's attention with dropout in float64, as torch_attention.npz.

`python tests/golden/record_attention.py` needs torch, of version 2.5 or later. The
operator is the one behind `torch.nn.functional.scaled_dot_product_attention` for any
device, which takes a mask of the weights that dropout keeps: here that of jaxnoise.
"""

import importlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jaxnoise as jn

RECORD = Path(__file__).with_name("torch_attention.npz")
KEY, RATE = 11, 0.3
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "causal": {"is_causal": True},
    "bias": {"bias": True},
    "mask, scale": {"mask": True, "scale": 0.4},
}


def inputs() -> dict[str, np.ndarray]:
    """Two groups of two heads; weights are (batch, heads, queries, keys)."""
    shapes = {"q": (2, 5, 4, 3), "k": (2, 7, 2, 3), "v": (2, 7, 2, 3)}
    shapes |= {"cotangent": (2, 5, 4, 3), "bias": (2, 4, 5, 7)}
    random = np.random.default_rng(0)
    found = {name: random.normal(size=shape) for name, shape in shapes.items()}
    found["mask"] = random.random(shapes["bias"]) < 0.7
    found["mask"][..., 0] = True  # of a query that sees nothing torch makes nan
    kept = jn.dropout_mask(jax.random.key(KEY), shapes["bias"], RATE)
    return found | {"kept": np.asarray(kept)}


def attended(data: dict[str, np.ndarray], options: dict[str, Any]) -> list[np.ndarray]:
    """The output, and the gradients of queries, keys and values."""
    torch: Any = importlib.import_module("torch")
    tensors = {name: torch.from_numpy(array.copy()) for name, array in data.items()}
    q, k, v = (tensors[name].requires_grad_() for name in "qkv")
    added = tensors["bias"] if "bias" in options else None
    if "mask" in options:  # as the function of torch turns it into what is added
        added = torch.zeros_like(tensors["bias"])
        added.masked_fill_(~tensors["mask"], -torch.inf)
    y, _ = torch.ops.aten._scaled_dot_product_attention_math(
        *(x.transpose(1, 2) for x in (q, k, v)),
        added,
        RATE,
        options.get("is_causal", False),
        tensors["kept"],
        scale=options.get("scale"),
        enable_gqa=True,
    )
    y = y.transpose(1, 2)
    y.backward(tensors["cotangent"])
    return [x.detach().numpy() for x in (y, q.grad, k.grad, v.grad)]


def main():
    data = inputs()
    found = dict(data)
    for name, options in CASES.items():
        arrays = attended(data, options)
        for part, array in zip(("y", "dq", "dk", "dv"), arrays, strict=True):
            found[f"{name}/{part}"] = array
    np.savez_compressed(RECORD, **found)


if __name__ == "__main__":
    main()
