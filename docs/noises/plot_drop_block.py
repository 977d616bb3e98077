"""
DropBlock
=========

Square blocks of an activation map are dropped, here 7 x 7 positions, in each channel by
itself. What is kept is scaled by how much that is.

.. laws:: jaxnoise

   drop_block
"""

import jax
from pictures import features, show_maps

import jaxnoise as jn

key = jax.random.key(3)
x = features()  # (1, 32, 32, 8): edges in eight directions

y = jn.drop_block(key, x, 0.2, 7)
show_maps(x, y)
