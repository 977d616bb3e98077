"""
DropBlock
=========

Square blocks of an activation map are dropped, here 12 x 12 positions, in each channel
by itself. What is kept is scaled by how much that is.

.. laws:: jaxnoise

   drop_block
"""

import jax
from noise_pictures import features, show_maps

import jaxnoise as jn

key = jax.random.key(3)
x = features()  # (1, 64, 64, 4): edges in four directions

y = jn.drop_block(key, x, 0.2, 12)
show_maps(x, y)
