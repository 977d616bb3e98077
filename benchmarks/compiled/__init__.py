"""The cost of noise on a TPU or an H100, told by their own compilers on any machine.

`python -m benchmarks.compiled --target tpu-v5e` compiles for a device that need not be
there: `--help` says how to run a part.

The compilers are in wheels that JAX takes for devices (`pip install -e '.[compiled]'`).
Where they are installed and the devices are not, JAX runs on the CPU as it does without
them. But it says so on stderr: `import jax`, in lines of the log, that there is no CUDA
driver; its first use, in a traceback that it goes on after, that CUDA cannot be loaded,
and in five lines that this is no machine with a TPU. JAX_PLATFORMS=cpu keeps all quiet
but the first. The command takes the CPU by itself.
"""
