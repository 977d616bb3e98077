"""
Real Gaussian dropout
=====================

Normal noise on a random part of the units, here 30 %. All others come back exactly as
they are.

.. laws:: jaxnoise

   real_gaussian_dropout
"""

import jax
import jax.numpy as jnp
from noise_pictures import photo, show

import jaxnoise as jn

key = jax.random.key(0)
x = photo()  # gray values from 0 to 1

y = jn.real_gaussian_dropout(key, x, 0.3, 0.5)
show(x, y, jn.real_gaussian_dropout(key, jnp.full(20_000, 0.5), 0.3, 0.5))
