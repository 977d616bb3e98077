"""
Recurrent masks
===============

The noise of a sequence is drawn before its first step. Here are the masks of an LSTM of
16 units for one sentence of 24 steps: dark is dropped.

The masks of `recurrent_rate` are the same at all steps unless `per_step` is set, and
zoneout is always drawn anew: see :doc:`/guides/recurrent`.
"""

import jax
import jax.numpy as jnp
from noise_pictures import show_rows

from jaxnoise import recurrent

key = jax.random.key(0)
rates = {"recurrent_rate": 0.3, "zoneout_cell": 0.3}
options = {"gates": 4, "num_steps": 24}

tied = recurrent.sample_noise(key, (1, 8), 16, **options, **rates)
anew = recurrent.sample_noise(key, (1, 8), 16, **options, **rates, per_step=True)
parts = [
    ("recurrent_rate", jnp.broadcast_to(tied.recurrent, (24, 16))),
    ("recurrent_rate, per_step", anew.recurrent[:, 0]),
    ("zoneout_cell", tied.zoneout_cell[:, 0]),
]
show_rows(parts, "units; time runs down")
