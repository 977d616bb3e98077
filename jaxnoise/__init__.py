"""jaxnoise: stochastic regularisation for JAX.

Every variant is one pure function of an explicit PRNG key. Layers over them are in
`jaxnoise.linen` and `jaxnoise.nnx`, the laws they obey in `jaxnoise.testing`.

Amounts are checked where their value is known. One that is traced has none: a rate is
clipped to its range, a stddev or a scale is taken as it is. In a function that goes
through `jax.experimental.checkify.checkify` a bad one is an error with the same words;
without it the check costs nothing.

The modules are imported when they are first asked for: `jn.tree`, `jn.mc`,
`jn.schedules` and so on work after `import jaxnoise as jn`, which imports JAX alone.
"""

import importlib
from typing import TYPE_CHECKING

from jaxnoise._activation import rrelu
from jaxnoise._attention import dot_product_attention
from jaxnoise._dropout import (
    alpha_dropout,
    apply_mask,
    dropout,
    dropout_mask,
    feature_alpha_dropout,
)
from jaxnoise._gaussian import (
    gaussian_dropout,
    gaussian_noise,
    laplace_noise,
    real_gaussian_dropout,
    uniform_noise,
)
from jaxnoise._image import poisson_noise, salt_and_pepper, speckle_noise
from jaxnoise._structured import drop_block, drop_path, spatial_dropout
from jaxnoise._text import embedding_dropout, neftune_noise, token_dropout

if TYPE_CHECKING:  # with `__getattr__` a type checker would accept any name
    from jaxnoise import keys as keys
    from jaxnoise import learned as learned
    from jaxnoise import linen as linen
    from jaxnoise import losses as losses
    from jaxnoise import mc as mc
    from jaxnoise import nnx as nnx
    from jaxnoise import recurrent as recurrent
    from jaxnoise import schedules as schedules
    from jaxnoise import testing as testing
    from jaxnoise import tree as tree
    from jaxnoise import weights as weights
else:

    def __getattr__(name):
        if name in _MODULES:
            return importlib.import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__version__ = "0.2.0"

__all__ = [
    "alpha_dropout",
    "apply_mask",
    "dot_product_attention",
    "drop_block",
    "drop_path",
    "dropout",
    "dropout_mask",
    "embedding_dropout",
    "feature_alpha_dropout",
    "gaussian_dropout",
    "gaussian_noise",
    "laplace_noise",
    "neftune_noise",
    "poisson_noise",
    "real_gaussian_dropout",
    "rrelu",
    "salt_and_pepper",
    "spatial_dropout",
    "speckle_noise",
    "token_dropout",
    "uniform_noise",
]

_MODULES = (
    "keys",
    "learned",
    "linen",
    "losses",
    "mc",
    "nnx",
    "recurrent",
    "schedules",
    "testing",
    "tree",
    "weights",
)


def __dir__() -> list[str]:
    return [*__all__, *_MODULES, "__version__"]
