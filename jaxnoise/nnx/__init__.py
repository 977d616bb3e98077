"""jaxnoise as `flax.nnx` layers."""

from jaxnoise._flax._dropout_wrapper import DropoutNoise
from jaxnoise._flax._zoneout_wrapper import ZoneoutNoise
from jaxnoise.nnx._activation import RReLU
from jaxnoise.nnx._attention import dot_product_attention
from jaxnoise.nnx._cells import GRUCell, LSTMCell, SimpleCell
from jaxnoise.nnx._dense import DropConnectDense, NoisyDense
from jaxnoise.nnx._dropout import AlphaDropout, Dropout, FeatureAlphaDropout
from jaxnoise.nnx._dropout_wrapper import DropoutWrapper
from jaxnoise.nnx._embed import Embed
from jaxnoise.nnx._gaussian import (
    GaussianDropout,
    GaussianNoise,
    LaplaceNoise,
    RealGaussianDropout,
    UniformNoise,
)
from jaxnoise.nnx._image import PoissonNoise, SaltAndPepper, SpeckleNoise
from jaxnoise.nnx._learned import (
    ConcreteDropout,
    FlipoutDense,
    SparseVariationalDense,
    VariationalDense,
)
from jaxnoise.nnx._replace import replace_dropout
from jaxnoise.nnx._rnn import RNN
from jaxnoise.nnx._structured import DropBlock, DropPath, SpatialDropout
from jaxnoise.nnx._text import NeftuneNoise, TokenDropout
from jaxnoise.nnx._zoneout_wrapper import ZoneoutWrapper

__all__ = [
    "RNN",
    "AlphaDropout",
    "ConcreteDropout",
    "DropBlock",
    "DropConnectDense",
    "DropPath",
    "Dropout",
    "DropoutNoise",
    "DropoutWrapper",
    "Embed",
    "FeatureAlphaDropout",
    "FlipoutDense",
    "GRUCell",
    "GaussianDropout",
    "GaussianNoise",
    "LSTMCell",
    "LaplaceNoise",
    "NeftuneNoise",
    "NoisyDense",
    "PoissonNoise",
    "RReLU",
    "RealGaussianDropout",
    "SaltAndPepper",
    "SimpleCell",
    "SparseVariationalDense",
    "SpatialDropout",
    "SpeckleNoise",
    "TokenDropout",
    "UniformNoise",
    "VariationalDense",
    "ZoneoutNoise",
    "ZoneoutWrapper",
    "dot_product_attention",
    "replace_dropout",
]


def __dir__() -> list[str]:
    return __all__
