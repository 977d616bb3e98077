"""
Dropout
=======

Units become 0 with probability `rate`, and the others grow so that the mean stays. The
default noise for dense layers and for the branches of a transformer.

.. laws:: jaxnoise

   dropout
"""

import jax
import jax.numpy as jnp
from noise_pictures import photo, show

import jaxnoise as jn

key = jax.random.key(0)
x = photo()  # gray values from 0 to 1

y = jn.dropout(key, x, 0.3)
mask = jn.dropout_mask(key, x.shape, 0.3)  # the same coins, to be looked at
show(x, y, jn.dropout(key, jnp.full(20_000, 0.5), 0.3), mask=mask)
