"""What noise costs on a TPU or an H100, told by their own compilers on any machine.

`python -m benchmarks.compiled --target tpu-v5e` compiles for a device that need not be
there: `--help` says how to run a part.
"""

import os

# Of this machine JAX takes the CPU alone. Else the plugins of devices that are not
# there complain, and that of CUDA does not compile either.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# two processes may compile at a time; there is no metadata server to ask for a TPU
os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
