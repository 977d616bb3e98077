"""The cost of noise: time, memory and compile time, beside a copy and beside peers.

`python -m benchmarks` runs all; `python -m benchmarks --help` says how to run a part.
"""

import os

# Keras asks for its backend when it is imported
os.environ.setdefault("KERAS_BACKEND", "jax")
# else the threads of torch go on spinning while the next candidate is timed
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
