"""Noise in a haiku model: the functions of jaxnoise, with keys of `hk.next_rng_key`.

The model is written for one example and `jax.vmap`ped over a batch, so inside there is
no batch dim, and `drop_path` and its relatives are told so: `batch_dims=0`. With their
default of 1 the tokens would pass for the batch, and single tokens be dropped where
whole examples are meant. In a model that is written for batches the default is right.

Trains a small net of residual blocks on scikit-learn's digits, with dropout and drop
path, and prints what it makes of the test half, with the noise off and by Monte-Carlo
dropout.

    python examples/haiku_model.py
    python examples/haiku_model.py --steps 1000 --samples 50
"""

import functools
from collections.abc import Sequence

import haiku as hk
import jax
import jax.numpy as jnp
import optax
from per_example import (
    BATCH,
    CLASSES,
    LEARNING_RATE,
    PATH_RATE,
    RATE,
    TOKENS,
    WIDTH,
    Report,
    load_tokens,
    parse,
    report,
)

import jaxnoise as jn


def block(x: jax.Array, train: bool) -> jax.Array:
    """A residual block over the tokens of one example, (tokens, width)."""
    mixed = hk.Linear(TOKENS, name="mix")(x.T).T
    branch = jax.nn.gelu(hk.Linear(WIDTH, name="dense")(mixed))
    if train:
        branch = jn.dropout(hk.next_rng_key(), branch, RATE)
        # the example as a whole: x has no batch dim here
        branch = jn.drop_path(hk.next_rng_key(), branch, PATH_RATE, batch_dims=0)
    return x + branch


@hk.transform
def net(x: jax.Array, train: bool) -> jax.Array:
    """Logits of one example."""
    x = hk.Linear(WIDTH, name="embed")(x)
    for _ in range(2):
        x = block(x, train)
    return hk.Linear(CLASSES, name="head")(x.mean(0))


@jax.jit
def logits_of(params: hk.Params, x: jax.Array, key: jax.Array | None) -> jax.Array:
    """Logits of a batch; with a key, under the noise of one key for each example."""
    if key is None:
        return jax.vmap(lambda x: net.apply(params, None, x, train=False))(x)
    keys = jax.random.split(key, len(x))
    return jax.vmap(lambda key, x: net.apply(params, key, x, train=True))(keys, x)


def train(steps: int, seed: int) -> hk.Params:
    """Parameters after so many steps of Adam, all keys from the seed and the step."""
    data, root = load_tokens(), jax.random.key(seed)
    params = net.init(jn.keys.named_key(root, "parameters"), data.train_x[0], False)
    order, noise = (jn.keys.named_key(root, name) for name in ("batches", "noise"))
    optimizer = optax.adam(LEARNING_RATE)
    state = optimizer.init(params)

    @jax.jit
    def update(params, state, step):
        index_key = jn.keys.step_key(order, step)
        index = jax.random.randint(index_key, (BATCH,), 0, len(data.train_x))

        def loss(params):
            key = jn.keys.step_key(noise, step)
            logits = logits_of(params, data.train_x[index], key)
            entropy = optax.softmax_cross_entropy_with_integer_labels
            return entropy(logits, data.train_y[index]).mean()

        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state, value

    for step in range(steps):
        params, state, value = update(params, state, jnp.int32(step))
        if step == 0 or step == steps - 1:
            print(f"step {step + 1}: loss {value:.3f}, with noise")
    return params


def main(argv: Sequence[str] | None = None) -> Report:
    arguments = parse(__doc__, argv)
    params = train(arguments.steps, arguments.seed)
    key = jn.keys.named_key(jax.random.key(arguments.seed), "prediction")
    return report(functools.partial(logits_of, params), key, arguments.samples)


if __name__ == "__main__":
    main()
