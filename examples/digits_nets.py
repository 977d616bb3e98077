"""The nets of `digits.py`, written once with `flax.linen` and once with `flax.nnx`.

An MLP and a small residual CNN, with ReLU or (for alpha dropout, which is made for it)
SELU. A `Case` says which noise is in which net, and where. In linen a noise layer is
made where it is used and takes its key from the stream "dropout"; in nnx it is made in
the constructor, and the stream comes with the call, as `rngs`.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx

import jaxnoise.linen as jnn
import jaxnoise.nnx as jnnx

WIDTH, HIDDEN_LAYERS = 128, 2  # of the MLPs
CHANNELS, BRANCHES = 16, 2  # of the CNNs


class Case(NamedTuple):
    """One row of the table: a net, the noise in it, and where the noise is."""

    net: str
    layer: str = "none"
    amounts: tuple[float, ...] = ()
    place: str = ""

    @property
    def label(self) -> str:
        amounts = ", ".join(f"{amount:g}" for amount in self.amounts)
        return f"{self.layer}({amounts})" if amounts else self.layer

    @property
    def activation(self) -> Callable[[jax.Array], jax.Array]:
        return jax.nn.selu if "SELU" in self.net else jax.nn.relu

    def noise(self, layers: Any) -> Any:
        """The layer from `jaxnoise.linen` or `jaxnoise.nnx`; None in a baseline."""
        return getattr(layers, self.layer)(*self.amounts) if self.amounts else None


# The two multiplicative noises on the MLP have the same variance, x^2 3/7, and so have
# the four additive ones, 0.04 on pixels that go from 0 to 1.
CASES = (
    Case("MLP"),
    Case("MLP", "Dropout", (0.3,), "hidden units"),
    Case("MLP", "GaussianDropout", (0.3,), "hidden units"),
    Case("MLP", "GaussianNoise", (0.2,), "pixels"),
    Case("MLP", "RealGaussianDropout", (0.5, 0.283), "pixels"),
    Case("MLP", "UniformNoise", (0.346,), "pixels"),
    Case("MLP", "LaplaceNoise", (0.141,), "pixels"),
    Case("SELU MLP"),
    Case("SELU MLP", "AlphaDropout", (0.1,), "hidden units"),
    Case("CNN"),
    Case("CNN", "SpatialDropout", (0.1,), "feature maps"),
    Case("CNN", "DropBlock", (0.1, 2), "feature maps"),
    Case("CNN", "DropPath", (0.2,), "branches"),
    Case("SELU CNN"),
    Case("SELU CNN", "FeatureAlphaDropout", (0.1,), "feature maps"),
)


class LinenMLP(nn.Module):
    case: Case

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = x.reshape(len(x), -1)
        if self.case.place == "pixels":
            x = self.case.noise(jnn)(x, deterministic=not train)
        for _ in range(HIDDEN_LAYERS):
            x = self.case.activation(nn.Dense(WIDTH)(x))
            if self.case.place == "hidden units":
                x = self.case.noise(jnn)(x, deterministic=not train)
        return nn.Dense(10)(x)


class LinenCNN(nn.Module):
    case: Case

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = self.stage(x, CHANNELS, train)
        for _ in range(BRANCHES):
            branch = self.case.activation(nn.Conv(CHANNELS, (3, 3))(x))
            if self.case.place == "branches":
                branch = self.case.noise(jnn)(branch, deterministic=not train)
            x = x + branch
        x = self.stage(x, 2 * CHANNELS, train)
        return nn.Dense(10)(x.reshape(len(x), -1))

    def stage(self, x: jax.Array, channels: int, train: bool) -> jax.Array:
        x = self.case.activation(nn.Conv(channels, (3, 3))(x))
        if self.case.place == "feature maps":
            x = self.case.noise(jnn)(x, deterministic=not train)
        return nn.max_pool(x, (2, 2), (2, 2))


class NnxMLP(nnx.Module):
    def __init__(self, case: Case, rngs: nnx.Rngs):
        self.case, self.noise = case, case.noise(jnnx)
        sizes = (64, *(WIDTH,) * HIDDEN_LAYERS, 10)
        pairs = itertools.pairwise(sizes)
        self.dense = nnx.List(nnx.Linear(n, m, rngs=rngs) for n, m in pairs)

    def __call__(self, x: jax.Array, train: bool, rngs: nnx.Rngs | None) -> jax.Array:
        x = x.reshape(len(x), -1)
        if self.case.place == "pixels":
            x = self.noise(x, deterministic=not train, rngs=rngs)
        *hidden, head = self.dense
        for dense in hidden:
            x = self.case.activation(dense(x))
            if self.case.place == "hidden units":
                x = self.noise(x, deterministic=not train, rngs=rngs)
        return head(x)


class NnxCNN(nnx.Module):
    def __init__(self, case: Case, rngs: nnx.Rngs):
        self.case, self.noise = case, case.noise(jnnx)
        conv = functools.partial(nnx.Conv, kernel_size=(3, 3), rngs=rngs)
        self.first, self.last = conv(1, CHANNELS), conv(CHANNELS, 2 * CHANNELS)
        self.branches = nnx.List(conv(CHANNELS, CHANNELS) for _ in range(BRANCHES))
        self.head = nnx.Linear(2 * 2 * 2 * CHANNELS, 10, rngs=rngs)

    def __call__(self, x: jax.Array, train: bool, rngs: nnx.Rngs | None) -> jax.Array:
        x = self.stage(self.first, x, train, rngs)
        for conv in self.branches:
            branch = self.case.activation(conv(x))
            if self.case.place == "branches":
                branch = self.noise(branch, deterministic=not train, rngs=rngs)
            x = x + branch
        x = self.stage(self.last, x, train, rngs)
        return self.head(x.reshape(len(x), -1))

    def stage(self, conv, x: jax.Array, train: bool, rngs) -> jax.Array:
        x = self.case.activation(conv(x))
        if self.case.place == "feature maps":
            x = self.noise(x, deterministic=not train, rngs=rngs)
        return nnx.max_pool(x, (2, 2), (2, 2))


def linen_net(case: Case):
    """(init, apply): parameters from a key; logits, without noise if without a key."""
    net = LinenCNN(case) if "CNN" in case.net else LinenMLP(case)

    def init(key):
        return net.init(key, jnp.zeros((1, 8, 8, 1)), train=False)

    def apply(params, x, key=None):
        rngs = {} if key is None else {"dropout": key}
        return net.apply(params, x, train=key is not None, rngs=rngs)

    return init, apply


def nnx_net(case: Case):
    """The same pair with `flax.nnx`: the stream of keys is made anew for each step."""
    net = NnxCNN if "CNN" in case.net else NnxMLP
    graph = nnx.graphdef(nnx.eval_shape(lambda: net(case, nnx.Rngs(0))))

    def init(key):
        return nnx.state(net(case, nnx.Rngs(key)), nnx.Param)

    def apply(params, x, key=None):
        rngs = None if key is None else nnx.Rngs(dropout=key)
        return nnx.merge(graph, params)(x, train=key is not None, rngs=rngs)

    return init, apply
