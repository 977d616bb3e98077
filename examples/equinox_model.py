"""Noise in an equinox model, which sees one example and is `jax.vmap`ped over a batch.

Inside `jax.vmap` there is no batch dim, so `drop_path` and its relatives are told so:
`batch_dims=0`. With their default of 1 the tokens would pass for the batch, and single
tokens be dropped where whole examples are meant. Each example gets a key of its own.

Trains a small net of residual blocks on scikit-learn's digits, with dropout and drop
path, and prints what it makes of the test half, with the noise off and by Monte-Carlo
dropout.

    python examples/equinox_model.py
    python examples/equinox_model.py --steps 1000 --samples 50
"""

import functools
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from per_example import (
    BATCH,
    CLASSES,
    LEARNING_RATE,
    PATH_RATE,
    PIXELS,
    RATE,
    TOKENS,
    WIDTH,
    Report,
    load_tokens,
    parse,
    report,
)

import jaxnoise as jn


class Noise(eqx.Module):
    """A noise f(key, x, amount) as a layer; `eqx.nn.inference_mode` switches it off."""

    function: Callable[..., jax.Array] = eqx.field(static=True)
    amount: float
    inference: bool = False

    def __call__(self, x: jax.Array, *, key: jax.Array | None) -> jax.Array:
        return x if self.inference else self.function(key, x, self.amount)


# the example as a whole: x has no batch dim here
drop_example = functools.partial(jn.drop_path, batch_dims=0)


class Block(eqx.Module):
    """A residual block over the tokens of one example, (tokens, width)."""

    mix: eqx.nn.Linear
    dense: eqx.nn.Linear
    dropout: Noise
    drop_path: Noise

    def __init__(self, key: jax.Array):
        mix_key, dense_key = jax.random.split(key)
        self.mix = eqx.nn.Linear(TOKENS, TOKENS, key=mix_key)
        self.dense = eqx.nn.Linear(WIDTH, WIDTH, key=dense_key)
        self.dropout = Noise(jn.dropout, RATE)
        self.drop_path = Noise(drop_example, PATH_RATE)

    def __call__(self, x: jax.Array, key: jax.Array | None) -> jax.Array:
        unit_key, path_key = (None, None) if key is None else jax.random.split(key)
        mixed = jax.vmap(self.mix, 1, 1)(x)
        branch = jax.nn.gelu(jax.vmap(self.dense)(mixed))
        branch = self.dropout(branch, key=unit_key)
        return x + self.drop_path(branch, key=path_key)


class Net(eqx.Module):
    """Logits of one example."""

    embed: eqx.nn.Linear
    blocks: list[Block]
    head: eqx.nn.Linear

    def __init__(self, key: jax.Array):
        embed_key, head_key, *keys = jax.random.split(key, 4)
        self.embed = eqx.nn.Linear(PIXELS, WIDTH, key=embed_key)
        self.blocks = [Block(key) for key in keys]
        self.head = eqx.nn.Linear(WIDTH, CLASSES, key=head_key)

    def __call__(self, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        x = jax.vmap(self.embed)(x)
        for number, block in enumerate(self.blocks):
            x = block(x, None if key is None else jax.random.fold_in(key, number))
        return self.head(x.mean(0))


@eqx.filter_jit
def logits_of(net: Net, x: jax.Array, key: jax.Array | None) -> jax.Array:
    """Logits of a batch; with a key, under the noise of one key for each example."""
    if key is None:
        return jax.vmap(eqx.nn.inference_mode(net))(x)
    return jax.vmap(net)(x, jax.random.split(key, len(x)))


def train(steps: int, seed: int) -> Net:
    """A net after so many steps of Adam, all its keys from the seed and the step."""
    data, root = load_tokens(), jax.random.key(seed)
    net = Net(jn.keys.named_key(root, "parameters"))
    order, noise = (jn.keys.named_key(root, name) for name in ("batches", "noise"))
    optimizer = optax.adam(LEARNING_RATE)
    state = optimizer.init(eqx.filter(net, eqx.is_inexact_array))

    @eqx.filter_jit
    def update(net, state, step):
        index_key = jn.keys.step_key(order, step)
        index = jax.random.randint(index_key, (BATCH,), 0, len(data.train_x))

        def loss(net):
            logits = logits_of(net, data.train_x[index], jn.keys.step_key(noise, step))
            entropy = optax.softmax_cross_entropy_with_integer_labels
            return entropy(logits, data.train_y[index]).mean()

        value, gradient = eqx.filter_value_and_grad(loss)(net)
        updates, state = optimizer.update(gradient, state)
        return eqx.apply_updates(net, updates), state, value

    for step in range(steps):
        net, state, value = update(net, state, jnp.int32(step))
        if step == 0 or step == steps - 1:
            print(f"step {step + 1}: loss {value:.3f}, with noise")
    return net


def main(argv: Sequence[str] | None = None) -> Report:
    arguments = parse(__doc__, argv)
    net = train(arguments.steps, arguments.seed)
    key = jn.keys.named_key(jax.random.key(arguments.seed), "prediction")
    return report(lambda x, key: logits_of(net, x, key), key, arguments.samples)


if __name__ == "__main__":
    main()
