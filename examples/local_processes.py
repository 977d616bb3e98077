"""Several processes of a JAX program on this machine, one CPU device each."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "JAX_NUM_CPU_DEVICES": "1",
    # what adds up between processes; JAX has none but MPI beside it for CPUs
    "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo",
}


def launch(command: Sequence[str], processes: int, timeout: float) -> bool:
    """Start a command once per process, and say whether all have ended well.

    Each is given `--coordinator=127.0.0.1:PORT`, `--processes=N` and `--process=I` for
    `jax.distributed.initialize`. None is left when this returns or raises: one that
    fails, or the timeout (in seconds), ends the others, which would wait for it.
    """
    with socket.socket() as reserved:
        # A port that is bound is given to nobody else. gRPC binds it once more, which
        # it may do, as both ask for it; what is bound and does not listen takes no
        # connections away.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{reserved.getsockname()[1]}"
        common = [*command, f"--coordinator={address}", f"--processes={processes}"]
        children = []
        try:
            for index in range(processes):
                each = [*common, f"--process={index}"]
                children.append(subprocess.Popen(each, env=os.environ | ENVIRONMENT))
            return _wait(children, timeout)
        finally:
            for child in children:
                child.kill()
                child.wait()


def _wait(children: Sequence[subprocess.Popen], timeout: float) -> bool:
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        codes = [child.poll() for child in children]
        for index, code in enumerate(codes):
            if code:
                print(f"process {index} ended with status {code}", file=sys.stderr)
                return False
        if None not in codes:
            return True
        time.sleep(0.05)
    print(f"processes have not ended after {timeout:g} seconds", file=sys.stderr)
    return False
