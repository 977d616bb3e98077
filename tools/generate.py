#!/usr/bin/env python3
"""Make anew what is made from the functions and their cases.

    python tools/generate.py

The docstrings of layers (`layer_docs.py`), and the fingerprints of new cases. That a
fingerprint of an old case changes is a change of its bits, and is printed.
"""

import sys

import layer_docs

from jaxnoise.testing import CASES
from jaxnoise.testing import __main__ as testing
from jaxnoise.testing._fingerprint import measured, recorded


def main() -> int:
    layer_docs.main([])
    old, new = recorded(), measured(CASES)
    for name, fingerprint in new.items():
        if name in old and old[name] != fingerprint:
            print(f"{name}: its bits have changed")
    return testing.record()


if __name__ == "__main__":
    sys.exit(main())
