"""jaxnoise as `flax.linen` layers."""

from jaxnoise._flax._dropout_wrapper import DropoutNoise
from jaxnoise._flax._zoneout_wrapper import ZoneoutNoise
from jaxnoise.linen._activation import RReLU
from jaxnoise.linen._attention import dot_product_attention
from jaxnoise.linen._cells import GRUCell, LSTMCell, SimpleCell
from jaxnoise.linen._dense import DropConnectDense, NoisyDense
from jaxnoise.linen._dropout import AlphaDropout, Dropout, FeatureAlphaDropout
from jaxnoise.linen._dropout_wrapper import DropoutWrapper
from jaxnoise.linen._embed import Embed
from jaxnoise.linen._gaussian import (
    GaussianDropout,
    GaussianNoise,
    LaplaceNoise,
    RealGaussianDropout,
    UniformNoise,
)
from jaxnoise.linen._image import PoissonNoise, SaltAndPepper, SpeckleNoise
from jaxnoise.linen._learned import (
    ConcreteDropout,
    FlipoutDense,
    SparseVariationalDense,
    VariationalDense,
)
from jaxnoise.linen._replace import replace_dropout
from jaxnoise.linen._rnn import RNN
from jaxnoise.linen._structured import DropBlock, DropPath, SpatialDropout
from jaxnoise.linen._text import NeftuneNoise, TokenDropout
from jaxnoise.linen._zoneout_wrapper import ZoneoutWrapper

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
