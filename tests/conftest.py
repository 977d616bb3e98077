"""Strictness for every test: what JAX can refuse, it refuses."""

import gc
import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax

# eight devices on any machine, before JAX makes its backend
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_legacy_prng_key", "error")
jax.config.update("jax_debug_key_reuse", True)
jax.config.update("jax_numpy_rank_promotion", "raise")

# full collections find next to nothing among modules and traces: a tenth of the time
gc.set_threshold(20_000, 20, 50)
