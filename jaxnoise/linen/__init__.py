"""jaxnoise as `flax.linen` layers."""

from jaxnoise.linen._cells import GRUCell as GRUCell
from jaxnoise.linen._cells import LSTMCell as LSTMCell
from jaxnoise.linen._cells import SimpleCell as SimpleCell
from jaxnoise.linen._dropout_wrapper import DropoutNoise as DropoutNoise
from jaxnoise.linen._dropout_wrapper import DropoutWrapper as DropoutWrapper
from jaxnoise.linen._embed import Embed as Embed
from jaxnoise.linen._layers import AlphaDropout as AlphaDropout
from jaxnoise.linen._layers import DropBlock as DropBlock
from jaxnoise.linen._layers import Dropout as Dropout
from jaxnoise.linen._layers import DropPath as DropPath
from jaxnoise.linen._layers import FeatureAlphaDropout as FeatureAlphaDropout
from jaxnoise.linen._layers import GaussianDropout as GaussianDropout
from jaxnoise.linen._layers import GaussianNoise as GaussianNoise
from jaxnoise.linen._layers import LaplaceNoise as LaplaceNoise
from jaxnoise.linen._layers import RealGaussianDropout as RealGaussianDropout
from jaxnoise.linen._layers import SpatialDropout as SpatialDropout
from jaxnoise.linen._layers import UniformNoise as UniformNoise
from jaxnoise.linen._learned import ConcreteDropout as ConcreteDropout
from jaxnoise.linen._learned import FlipoutDense as FlipoutDense
from jaxnoise.linen._learned import SparseVariationalDense as SparseVariationalDense
from jaxnoise.linen._learned import VariationalDense as VariationalDense
from jaxnoise.linen._recurrent import RNN as RNN
from jaxnoise.linen._weights import DropConnectDense as DropConnectDense
from jaxnoise.linen._weights import NoisyDense as NoisyDense
from jaxnoise.linen._zoneout_wrapper import ZoneoutNoise as ZoneoutNoise
from jaxnoise.linen._zoneout_wrapper import ZoneoutWrapper as ZoneoutWrapper
