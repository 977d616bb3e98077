"""
DropConnect on parameters
=========================

Single weights are dropped, in any pytree of parameters: the weight drop of AWD-LSTM.

.. laws:: jaxnoise.tree

   dropconnect
"""

import jax
import jax.numpy as jnp
from noise_pictures import show_rows

from jaxnoise import tree

params = {"hi": {"kernel": jnp.ones((12, 16)), "bias": jnp.ones(16)}}

dropped = tree.dropconnect(jax.random.key(0), params, 0.5, where="kernel")
parts = [("kernel", dropped["hi"]["kernel"]), ("bias", dropped["hi"]["bias"][None])]
show_rows(parts, "outputs")
