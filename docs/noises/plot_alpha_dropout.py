"""
Alpha dropout
=============

For networks with `jax.nn.selu`. Dropped units go to the value that SELU has for very
negative inputs, and a scale and a shift bring mean 0 and variance 1 back.

The picture is not what it is made for; on standard normal data mean and variance stay,
as the last line shows.

.. laws:: jaxnoise

   alpha_dropout
"""

import jax
import jax.numpy as jnp
from noise_pictures import photo, show

import jaxnoise as jn

key = jax.random.key(0)
x = photo()  # gray values from 0 to 1

y = jn.alpha_dropout(key, x, 0.2)
show(x, y, jn.alpha_dropout(key, jnp.full(20_000, 0.5), 0.2))

# %%
# On data with mean 0 and variance 1:

data = jax.random.normal(jax.random.key(1), (100_000,))
dropped = jn.alpha_dropout(key, data, 0.2)
print(f"mean {dropped.mean():.2f}, variance {dropped.var():.2f}")
