"""
Feature alpha dropout
=====================

Alpha dropout of whole channels, for convolutions with `jax.nn.selu`.

.. laws:: jaxnoise

   feature_alpha_dropout
"""

import jax
from noise_pictures import features, show_maps

import jaxnoise as jn

key = jax.random.key(3)
x = features()  # (1, 64, 64, 4): edges in four directions

y = jn.feature_alpha_dropout(key, x, 0.3)
show_maps(x, y)
