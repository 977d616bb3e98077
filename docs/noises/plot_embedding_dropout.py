"""
Embedding dropout
=================

Whole rows of an embedding table are dropped, so a word is missing everywhere in the
batch. Each row of the matrices is a word.

.. laws:: jaxnoise

   embedding_dropout
"""

import jax
from noise_pictures import show_rows

import jaxnoise as jn

key = jax.random.key(0)
table = jax.random.normal(jax.random.key(1), (20, 16))

dropped = jn.embedding_dropout(key, table, 0.2)
show_rows([("table", table), ("with dropped words", dropped)], "features")
