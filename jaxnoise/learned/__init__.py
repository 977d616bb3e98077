"""Noise with a law that is learned, and the regulariser that keeps it from vanishing.

Without a price the best noise is none. The functions that end in `_kl` or
`_regularizer` say what noise costs, in nats: divide their sum by the number of
examples of the data set and add it to the mean negative log-likelihood. They are pure
functions of the parameters, no draw is needed.

- `concrete_dropout`: the rate of a dropout on units, through a relaxed mask.
- `variational_dense`: Gaussian noise in proportion to each weight.
- `sparse_variational_dense`: Gaussian noise for each weight; `prune` and `sparsity` say
  which weights it has overtaken.
- `flipout_dense`: Gaussian weights with a Gaussian prior, for Bayesian networks.

The layers are `ConcreteDropout`, `VariationalDense`, `SparseVariationalDense` and
`FlipoutDense` in `jaxnoise.linen` and `jaxnoise.nnx`.
"""

from jaxnoise.learned._concrete import concrete_dropout, concrete_dropout_regularizer
from jaxnoise.learned._flipout import flipout_dense, gaussian_kl
from jaxnoise.learned._sparse import (
    prune,
    sparse_log_alpha,
    sparse_variational_dense,
    sparsity,
)
from jaxnoise.learned._variational import variational_dense, variational_kl

__all__ = [
    "concrete_dropout",
    "concrete_dropout_regularizer",
    "flipout_dense",
    "gaussian_kl",
    "prune",
    "sparse_log_alpha",
    "sparse_variational_dense",
    "sparsity",
    "variational_dense",
    "variational_kl",
]


def __dir__() -> list[str]:
    return __all__
