"""
Uniform noise
=============

A uniform number between -scale and scale is added to each unit: noise that has a bound,
such as the rounding of a sensor.

.. laws:: jaxnoise

   uniform_noise
"""

import jax
import jax.numpy as jnp
from noise_pictures import photo, show

import jaxnoise as jn

key = jax.random.key(0)
x = photo()  # gray values from 0 to 1

y = jn.uniform_noise(key, x, 0.3)
show(x, y, jn.uniform_noise(key, jnp.full(20_000, 0.5), 0.3))
