"""
Token dropout
=============

Ids of a text are replaced by the id of a mask. Here the mask is 0, the darkest, and the
last token of a sentence, 9, is protected.

.. laws:: jaxnoise

   token_dropout
"""

import jax
from noise_pictures import show_rows

import jaxnoise as jn

key = jax.random.key(0)
ids = jax.random.randint(jax.random.key(1), (8, 16), 1, 9).at[:, -1].set(9)

masked = jn.token_dropout(key, ids, 0.2, 0, protected=(9,))
show_rows([("ids", ids), ("with masked tokens", masked)], "place in the sentence")
