"""
Poisson noise
=============

Photon counts: `scale` is the brightness of a single photon, so a white pixel has 20
photons here. The noise is strongest in the light.

.. laws:: jaxnoise

   poisson_noise
"""

import jax
import jax.numpy as jnp
from noise_pictures import photo, show

import jaxnoise as jn

key = jax.random.key(0)
x = photo()  # gray values from 0 to 1

y = jn.poisson_noise(key, x, 0.05)
show(x, y, jn.poisson_noise(key, jnp.full(20_000, 0.5), 0.05))
