"""
Salt and pepper
===============

Units are replaced by the lowest or the highest value: dead and hot pixels.

.. laws:: jaxnoise

   salt_and_pepper
"""

import jax
import jax.numpy as jnp
from noise_pictures import photo, show

import jaxnoise as jn

key = jax.random.key(0)
x = photo()  # gray values from 0 to 1

y = jn.salt_and_pepper(key, x, 0.1)
show(x, y, jn.salt_and_pepper(key, jnp.full(20_000, 0.5), 0.1))
