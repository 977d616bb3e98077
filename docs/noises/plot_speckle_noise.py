"""
Speckle noise
=============

Units are multiplied by 1 plus a normal number, as in radar and ultrasound images.

.. laws:: jaxnoise

   speckle_noise
"""

import jax
import jax.numpy as jnp
from noise_pictures import photo, show

import jaxnoise as jn

key = jax.random.key(0)
x = photo()  # gray values from 0 to 1

y = jn.speckle_noise(key, x, 0.3)
show(x, y, jn.speckle_noise(key, jnp.full(20_000, 0.5), 0.3))
