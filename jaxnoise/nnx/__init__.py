"""jaxnoise as `flax.nnx` layers."""

from jaxnoise.nnx._cells import GRUCell as GRUCell
from jaxnoise.nnx._cells import LSTMCell as LSTMCell
from jaxnoise.nnx._layers import AlphaDropout as AlphaDropout
from jaxnoise.nnx._layers import DropBlock as DropBlock
from jaxnoise.nnx._layers import Dropout as Dropout
from jaxnoise.nnx._layers import DropPath as DropPath
from jaxnoise.nnx._layers import FeatureAlphaDropout as FeatureAlphaDropout
from jaxnoise.nnx._layers import GaussianDropout as GaussianDropout
from jaxnoise.nnx._layers import GaussianNoise as GaussianNoise
from jaxnoise.nnx._layers import LaplaceNoise as LaplaceNoise
from jaxnoise.nnx._layers import RealGaussianDropout as RealGaussianDropout
from jaxnoise.nnx._layers import SpatialDropout as SpatialDropout
from jaxnoise.nnx._layers import UniformNoise as UniformNoise
from jaxnoise.nnx._learned import ConcreteDropout as ConcreteDropout
from jaxnoise.nnx._learned import FlipoutDense as FlipoutDense
from jaxnoise.nnx._learned import SparseVariationalDense as SparseVariationalDense
from jaxnoise.nnx._learned import VariationalDense as VariationalDense
from jaxnoise.nnx._recurrent import RNN as RNN
from jaxnoise.nnx._replace import replace_dropout as replace_dropout
from jaxnoise.nnx._weights import DropConnectDense as DropConnectDense
from jaxnoise.nnx._weights import NoisyDense as NoisyDense
