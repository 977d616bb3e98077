"""
Concrete dropout
================

Dropout whose rate is learned. Its mask is relaxed, from 0 to 1, so that gradients reach
the rate; the lower the temperature, the closer it is to a coin.

.. laws:: jaxnoise.learned

   concrete_dropout
"""

import jax
import jax.numpy as jnp
from noise_pictures import show_rows

from jaxnoise import learned

key = jax.random.key(0)
x = jnp.ones((12, 24))
logit = jnp.log(0.3 / 0.7)  # of a rate of 0.3

parts = [
    (f"temperature {temperature}", learned.concrete_dropout(key, x, logit, temperature))
    for temperature in (1.0, 0.3, 0.1)
]
show_rows(parts, "units")
