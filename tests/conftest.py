"""Strictness for every test: what JAX can refuse, it refuses."""

import gc
import os
import tempfile

os.environ.setdefault("KERAS_BACKEND", "jax")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    # what two tests compile, or a test and an example that it runs, is compiled once;
    # the first process makes the folder, hands it on and removes it
    compiled = tempfile.TemporaryDirectory(prefix="jaxnoise-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = compiled.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"

import jax

# eight devices on any machine, before JAX makes its backend
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_legacy_prng_key", "error")
jax.config.update("jax_debug_key_reuse", True)
jax.config.update("jax_numpy_rank_promotion", "raise")

# full collections find next to nothing among modules and traces: a tenth of the time
gc.set_threshold(20_000, 20, 50)

# what looks for leaks goes through all that lives, and that grows: these come first
FIRST = ("test_strict.py", "test_laws.py", "test_broken.py", "test_transforms.py")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in FIRST)
