"""
Attention dropout
=================

Weights of attention are dropped after the softmax, or keys before it. Values that are
the identity make the weights themselves the output, a row for each query.

.. laws:: jaxnoise

   dot_product_attention
"""

import jax
import jax.numpy as jnp
from noise_pictures import show_rows

import jaxnoise as jn

key = jax.random.key(0)
q, k = jax.random.normal(jax.random.key(1), (2, 1, 24, 1, 8))
v = jnp.eye(24)[None, :, None]

plain = jn.dot_product_attention(key, q, k, v, 0.0, is_causal=True)
weights = jn.dot_product_attention(key, q, k, v, 0.3, is_causal=True)
keys = jn.dot_product_attention(key, q, k, v, 0.3, is_causal=True, drop="keys")
parts = [("weights", plain), ("dropped weights", weights), ("dropped keys", keys)]
show_rows([(title, y[0, :, 0]) for title, y in parts], "keys")
