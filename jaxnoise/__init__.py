"""jaxnoise: stochastic regularisation for JAX.

Every variant is one pure function of an explicit PRNG key. Layers over them are in
`jaxnoise.linen` and `jaxnoise.nnx`, the laws they obey in `jaxnoise.testing`.

Amounts are checked where their value is known. One that is traced has none: a rate is
clipped to its range, a stddev or a scale is taken as it is. In a function that goes
through `jax.experimental.checkify.checkify` a bad one is an error with the same words;
without it the check costs nothing.
"""

from jaxnoise._activation import rrelu as rrelu
from jaxnoise._dropout import alpha_dropout as alpha_dropout
from jaxnoise._dropout import apply_mask as apply_mask
from jaxnoise._dropout import dropout as dropout
from jaxnoise._dropout import dropout_mask as dropout_mask
from jaxnoise._dropout import feature_alpha_dropout as feature_alpha_dropout
from jaxnoise._gaussian import gaussian_dropout as gaussian_dropout
from jaxnoise._gaussian import gaussian_noise as gaussian_noise
from jaxnoise._gaussian import laplace_noise as laplace_noise
from jaxnoise._gaussian import real_gaussian_dropout as real_gaussian_dropout
from jaxnoise._gaussian import uniform_noise as uniform_noise
from jaxnoise._image import poisson_noise as poisson_noise
from jaxnoise._image import salt_and_pepper as salt_and_pepper
from jaxnoise._image import speckle_noise as speckle_noise
from jaxnoise._structured import drop_block as drop_block
from jaxnoise._structured import drop_path as drop_path
from jaxnoise._structured import spatial_dropout as spatial_dropout
from jaxnoise._text import embedding_dropout as embedding_dropout
from jaxnoise._text import neftune_noise as neftune_noise
from jaxnoise._text import token_dropout as token_dropout

__version__ = "0.1.0"
