"""
Gaussian noise
==============

A normal number is added to each unit. It is as strong in the dark as in the light.

.. laws:: jaxnoise

   gaussian_noise
"""

import jax
import jax.numpy as jnp
from noise_pictures import photo, show

import jaxnoise as jn

key = jax.random.key(0)
x = photo()  # gray values from 0 to 1

y = jn.gaussian_noise(key, x, 0.2)
show(x, y, jn.gaussian_noise(key, jnp.full(20_000, 0.5), 0.2))
