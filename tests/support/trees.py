"""Parameter trees for the tests of `jaxnoise.tree`."""

import jax
import jax.numpy as jnp
import numpy as np

SHAPE = (3, 4)


def _between(low, high):
    # by NumPy: what is made on import is compiled in every worker
    return jnp.asarray(np.linspace(low, high, 12, dtype=np.float32).reshape(SHAPE))


PARAMS = {
    "embed": {"table": _between(-1.0, 2.0)},
    "layers": [
        {
            "kernel": jnp.asarray(np.full(SHAPE, 2.0, np.float32)),
            "bias": jnp.asarray(np.full(SHAPE, 3.0, np.float32)),
        },
        {
            "kernel": jnp.asarray(np.full(SHAPE, -1.0, np.float32)),
            "bias": jnp.asarray(np.full(SHAPE, 0.5, np.float32)),
        },
    ],
}
# compiled code is for shapes: two leaves where five would show no more
TWO = {"a": _between(1.0, 3.0), "b": jnp.asarray(np.full(SHAPE, -2.0, np.float32))}


def again(key):
    """The same key a second time, on purpose."""
    return jax.random.clone(key)


def same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)
