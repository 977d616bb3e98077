"""Strictness for every test: what JAX can refuse, it refuses."""

import ctypes
import gc
import importlib.util
import os
import shutil
from pathlib import Path

import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")
if "CI" not in os.environ and importlib.util.find_spec("libtpu") is None:
    # XLA's own level is 3, which takes up to three times as long to compile for a CPU.
    # All functions, layers and cells have the same bits at both, sums of flax's cells
    # differ in the last ones. In CI it is 3, and so it is where the compilers of
    # `jaxnoise[compiled]` are, which read it, too
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"--xla_backend_optimization_level=2 {flags}"
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    # what two tests compile, or a test and an example that it runs, is compiled once,
    # and not again in the next run; a folder of more than 1 GiB is begun anew
    compiled = Path(__file__).parents[1] / ".pytest_cache" / "jax"
    if sum(file.stat().st_size for file in compiled.glob("*")) > 2**30:
        shutil.rmtree(compiled)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(compiled)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"

import jax

# eight devices on any machine, before JAX makes its backend
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_legacy_prng_key", "error")
jax.config.update("jax_debug_key_reuse", True)
jax.config.update("jax_numpy_rank_promotion", "raise")

# full collections find next to nothing among modules and traces: a tenth of the time
gc.set_threshold(20_000, 20, 50)


@pytest.fixture(scope="module")
def quick_compiler():
    """XLA with few optimisations, for values that are compared with a formula.

    In CI it optimises, and what is tested there are the programs that users run.
    """
    if os.environ.get("CI"):
        yield
        return
    # of what is compiled before and after nothing is used here, and the other way round
    jax.clear_caches()
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()


GROWTH = 2**29  # bytes that compiled programs may take before they are let go


def resident() -> int:
    """Bytes of memory that this process has; 0 where the system is not Linux."""
    try:
        pages = Path("/proc/self/statm").read_text("utf-8").split()[1]
    except FileNotFoundError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def give_back():
    """Give memory that was freed back to the system, if its C library can do that."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


before = resident()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown():
    """Keep a worker small: few programs of a test are of use to a later one."""
    global before
    yield
    if resident() > before + GROWTH:
        jax.clear_caches()
        gc.collect()
        give_back()
        before = resident()
