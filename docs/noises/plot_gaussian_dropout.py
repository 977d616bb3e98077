"""
Gaussian dropout
================

Units are multiplied by a normal number, with the mean and the variance of dropout. No
unit becomes exactly 0, and dark pixels stay dark.

.. laws:: jaxnoise

   gaussian_dropout
"""

import jax
import jax.numpy as jnp
from noise_pictures import photo, show

import jaxnoise as jn

key = jax.random.key(0)
x = photo()  # gray values from 0 to 1

y = jn.gaussian_dropout(key, x, 0.3)
show(x, y, jn.gaussian_dropout(key, jnp.full(20_000, 0.5), 0.3))
