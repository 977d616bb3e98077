"""Compilers for devices that are not there: programs go in, their text comes out."""

import importlib.util
import os
import time
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

INSTALL = "python -m pip install -e '.[compiled]'"
AXES = ("data", "tensor")

# What the compiler asks of an H100. It has this form from XLA's GpuTargetConfigProto.
H100 = """
gpu_device_info {
  cuda_compute_capability { major: 9 }
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  threads_per_core_limit: 2048
  core_count: 132
  fpus_per_core: 128
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  memory_bandwidth: 3352320000000
  l2_cache_size: 52428800
  clock_rate_ghz: 1.98
  device_memory_size: 84978434048
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""


class Compiled(NamedTuple):
    """The text of a program, its temporary memory in bytes, and the time it took."""

    text: str
    temporary: int
    seconds: float


class Target(NamedTuple):
    """A device and the wheels that have its compiler."""

    name: str
    device: str
    modules: tuple[str, ...]
    wheels: tuple[str, ...]
    platform: str
    options: dict[str, str]

    def missing(self) -> str | None:
        """The modules that are missing and the line that installs them, or None."""
        lacking = [name for name in self.modules if not _is_installed(name)]
        if not lacking:
            return None
        return (
            f"The compiler for {self.name} is not installed (no module "
            f"{' or '.join(lacking)}). This line installs it, on Linux: {INSTALL}"
        )

    def chips(self) -> "Chips":
        """Load the compiler, for 2 x 2 chips. JAX may not have used a device before."""
        # unless JAX asks for the CPU alone, the plugin of CUDA has no compiler either
        # where it finds no device
        jax.config.update("jax_platforms", "cpu")
        os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
        os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # no server to ask for a TPU
        topology = topologies.get_topology_desc(platform=self.platform, **self.options)
        return Chips(topology.devices)


class Chips:
    """A compiler for one chip, or for a mesh of four."""

    def __init__(self, devices):
        self.devices = devices

    @cached_property
    def one(self) -> Mesh:
        return Mesh(np.array(self.devices[:1]).reshape(1, 1), AXES)

    @cached_property
    def four(self) -> Mesh:
        return Mesh(np.array(self.devices[:4]).reshape(2, 2), AXES)

    def lower(
        self,
        function: Callable[..., Any],
        arguments: Any,
        specs: Any = None,
    ) -> jax.stages.Lowered:
        """The program for one chip, or for four where `specs` split the arguments.

        `arguments` are arrays or what `jax.eval_shape` makes of them, `specs` a tree of
        `PartitionSpec` with a leaf for each.
        """
        mesh = self.one if specs is None else self.four
        if specs is None:
            specs = jax.tree.map(lambda _: PartitionSpec(), arguments)
        placed = jax.tree.map(
            lambda x, spec: jax.ShapeDtypeStruct(
                x.shape, x.dtype, sharding=NamedSharding(mesh, spec)
            ),
            arguments,
            specs,
        )
        return jax.jit(function).lower(*placed)

    def compile(
        self,
        function: Callable[..., Any],
        arguments: Any,
        specs: Any = None,
    ) -> Compiled:
        """Lower and compile as if it were the first program of this process."""
        jax.clear_caches()
        start = time.perf_counter()
        program = self.lower(function, arguments, specs).compile()
        seconds = time.perf_counter() - start
        text, memory = program.as_text(), program.memory_analysis()
        if text is None or memory is None:
            raise RuntimeError("the compiler does not tell what it has made")
        return Compiled(text, memory.temp_size_in_bytes, seconds)


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of the package around it
        return False


def _tpu(name: str, device: str) -> Target:
    options = {"topology_name": f"{name}:2x2"}
    wheels = ("libtpu",)
    return Target(f"tpu-{name}", device, ("libtpu",), wheels, "tpu", options)


TARGETS = {
    target.name: target
    for target in (
        _tpu("v5e", "TPU v5e"),
        _tpu("v6e", "TPU v6e"),
        Target(
            name="h100",
            device="NVIDIA H100",
            modules=("jax_plugins.xla_cuda12", "jax_cuda12_plugin", "nvidia.cuda_nvcc"),
            wheels=("jax-cuda12-plugin", "jax-cuda12-pjrt", "nvidia-cuda-nvcc-cu12"),
            platform="cuda",
            options={
                "topology_name": "h100",
                "topology": "1x1x4",
                "target_config": H100,
            },
        ),
    )
}
