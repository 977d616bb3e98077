"""Small operands of attention with all that rules keys out, and a call of it."""

import jax
import jax.numpy as jnp
import numpy as np
from data import normal

import jaxnoise as jn

BATCH, QUERIES, KEYS, HEADS, GROUPS, DEPTH = 2, 5, 7, 4, 2, 3
WEIGHTS = (BATCH, HEADS, QUERIES, KEYS)
KEY = 11


Q = normal(0, BATCH, QUERIES, HEADS, DEPTH)
K, V = (normal(seed, BATCH, KEYS, GROUPS, DEPTH) for seed in (1, 2))
BIAS = normal(3, *WEIGHTS).at[0, 1, 2, 3].set(-jnp.inf)
# the first query of the first head sees nothing
MASK = jnp.asarray(np.random.default_rng(4).random(WEIGHTS) < 0.6)
MASK = MASK.at[0, 0, 0].set(False)
LENGTHS = {
    "query_seq_lengths": jnp.array([3, 5]),
    "key_value_seq_lengths": jnp.array([0, 5]),
}


def attend(rate=0.5, q=Q, k=K, v=V, **options):
    return jn.dot_product_attention(jax.random.key(KEY), q, k, v, rate, **options)
