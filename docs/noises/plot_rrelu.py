"""
Randomised leaky ReLU
=====================

Where x is negative it is multiplied by a random slope between `lower` and `upper`.
Where it is positive it stays.

.. laws:: jaxnoise

   rrelu
"""

import jax
import jax.numpy as jnp
from matplotlib import pyplot as plt
from noise_pictures import BLUE

import jaxnoise as jn

key = jax.random.key(0)
x = jnp.linspace(-1, 1, 800)

figure, ax = plt.subplots(figsize=(4.5, 2.6), layout="constrained")
ax.plot(x, jn.rrelu(key, x, 0.1, 0.4), ".", color=BLUE, alpha=0.5, mew=0)
ax.plot(x, jnp.where(x < 0, 0.25 * x, x), color="black", lw=1, label="mean")
ax.set(xlabel="x", ylabel="y")
ax.legend(frameon=False)
