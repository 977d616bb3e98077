"""
NEFTune
=======

Uniform noise on the embeddings of a language model while it is fine-tuned. It is the
weaker the longer the sequence and the wider the embedding.

.. laws:: jaxnoise

   neftune_noise
"""

import jax
from noise_pictures import show_rows

import jaxnoise as jn

key = jax.random.key(0)
embeddings = jax.random.normal(jax.random.key(1), (1, 24, 16))

noisy = jn.neftune_noise(key, embeddings, 5.0)
parts = [("embeddings", embeddings[0]), ("noisy", noisy[0])]
show_rows([*parts, ("the noise", (noisy - embeddings)[0])], "features")
