"""
Laplace noise
=============

Laplace numbers are added: most are smaller than normal ones of the same variance, and a
few are much larger.

.. laws:: jaxnoise

   laplace_noise
"""

import jax
import jax.numpy as jnp
from noise_pictures import photo, show

import jaxnoise as jn

key = jax.random.key(0)
x = photo()  # gray values from 0 to 1

y = jn.laplace_noise(key, x, 0.15)
show(x, y, jn.laplace_noise(key, jnp.full(20_000, 0.5), 0.15))
