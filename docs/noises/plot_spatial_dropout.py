"""
Spatial dropout
===============

Whole channels of an activation map are dropped, a coin for each example and channel.
Neighbours in a map are so alike that single dropped units would be filled in by them.

.. laws:: jaxnoise

   spatial_dropout
"""

import jax
from noise_pictures import features, show_maps

import jaxnoise as jn

key = jax.random.key(3)
x = features()  # (1, 64, 64, 4): edges in four directions

y = jn.spatial_dropout(key, x, 0.3)
show_maps(x, y)
