"""
Drop path
=========

Whole samples are dropped, on the branch of a residual block: stochastic depth. Each row
of the matrices is one sample of a batch.

.. laws:: jaxnoise

   drop_path
"""

import jax
import jax.numpy as jnp
from noise_pictures import show_rows

import jaxnoise as jn

key = jax.random.key(0)
x = jnp.sin(jnp.linspace(0, 12, 40))[None] * jnp.linspace(0.5, 1, 12)[:, None]
branch = jnp.cos(jnp.linspace(0, 6, 40))[None] * jnp.ones((12, 1))

dropped = jn.drop_path(key, branch, 0.3)
show_rows(
    [("x", x), ("the branch, dropped", dropped), ("x + branch", x + dropped)],
    "features",
)
