"""Batches without examples: the last of a data set, or what a filter leaves.

Everything that draws takes them, and its gradients are zeros of the right shapes.
"""

import catalogue
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnoise import learned, weights

WIDTH, FEATURES = 3, 4
KERNEL = np.ones((WIDTH, FEATURES), np.float32)
DENSE = {
    "dropconnect_dense": lambda key, x, w: weights.dropconnect_dense(key, x, w, 0.5),
    "noisy_dense": lambda key, x, w: weights.noisy_dense(key, x, w, w),
    "variational_dense": lambda key, x, w: learned.variational_dense(key, x, w, w),
    "sparse_variational_dense": (
        lambda key, x, w: learned.sparse_variational_dense(key, x, w, w)
    ),
    "flipout_dense": lambda key, x, w: learned.flipout_dense(key, x, w, w),
}
SEQUENCES = ("LSTMCell, all untied, per step", "DropoutWrapper", "ZoneoutWrapper")
SEQUENCES += ("nnx.GRUCell, all per sequence", "nnx.SimpleCell, all per step")
SEQUENCES += ("nnx.DropoutWrapper", "nnx.ZoneoutWrapper")
FAMILIES = {
    "functions": (catalogue.functions, (0, 6, 5, 8)),
    "linen": (lambda: catalogue.layers("linen"), (0, 6, 5, 8)),
    "nnx": (lambda: catalogue.layers("nnx"), (0, 6, 5, 8)),
    "linen, with parameters": (lambda: catalogue.dense(8, "linen"), (0, 8)),
    "nnx, with parameters": (lambda: catalogue.dense(8, "nnx"), (0, 8)),
    "sequences": (lambda: catalogue.sequences(8, SEQUENCES), (0, 3, 8)),
}


@pytest.mark.parametrize("name", DENSE)
def test_a_dense_function_without_rows(name):
    x = jnp.zeros((0, WIDTH))

    def loss(x, kernel, key):
        y = DENSE[name](key, x, kernel)
        return y.sum(), y

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))
    gradients, y = gradient(x, KERNEL, jax.random.key(0))
    assert y.shape == (0, FEATURES)
    assert gradients[0].shape == x.shape
    assert (gradients[1] == np.zeros_like(KERNEL)).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_without_examples(family):
    make, shape = FAMILIES[family]
    for name, row in make().items():
        own = row.parameters if isinstance(row, catalogue.Parametric) else ()

        def loss(parameters, x, key, row=row):
            if isinstance(row, catalogue.Parametric):
                y = row.apply(parameters, key, x)
            else:
                y = row(key, x)
            return jnp.sum(y.astype(np.float32)), y

        gradient = jax.grad(loss, argnums=(0, 1), has_aux=True)
        x = jax.ShapeDtypeStruct(shape, np.float32)
        found, y = jax.eval_shape(gradient, own, x, jax.random.key(0))
        assert y.shape[0] == 0, name
        wanted = (jax.tree.map(jnp.shape, own), shape)
        assert jax.tree.map(jnp.shape, found) == wanted, name
