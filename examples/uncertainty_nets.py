"""The nets of `uncertainty.py`: trained with a noise, and asked many times.

Noise is on the hidden units. All runs (data sets, seeds, members of an
ensemble) train at once under `jax.vmap`, inside one `jax.lax.scan` over the steps, and
`jaxnoise.mc.predict` evaluates each of them for n keys. Every key derives from
(seed, data set, member), so the nets of one seed start from the same parameters and
see the same batches, whatever their noise.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxnoise.linen as jnn
from jaxnoise import mc

# what a run folds into its key, for each use of it
INIT, ORDER, NOISE, PASSES = range(4)
VALIDATION = 0.2  # of the examples that are trained on: what chooses the epochs


class Net(nn.Module):
    """A stem, and dense layers with noise in front of each.

    Attributes:
      stem: what makes the first units, before ReLU.
      hidden: widths of the dense layers but the last.
      outputs: width of the last one.
      noise: name of a layer of `jaxnoise.linen`; "" for none.
      rate: its rate; of ConcreteDropout, the initial one.
    """

    stem: nn.Module
    hidden: tuple[int, ...]
    outputs: int
    noise: str = ""
    rate: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = nn.relu(self.stem(x))  # pyright: ignore[reportCallIssue]
        for features in self.hidden:
            x = nn.relu(self.after_noise(nn.Dense(features), x, train))
        return self.after_noise(nn.Dense(self.outputs), x, train)

    @nn.nowrap
    def after_noise(self, dense: nn.Dense, x: jax.Array, train: bool) -> jax.Array:
        if not self.noise:
            return dense(x)
        layer = getattr(jnn, self.noise)(self.rate, deterministic=not train)
        if self.noise == "ConcreteDropout":
            return layer(x, followed_by=dense)  # on whose kernel its cost depends
        return dense(layer(x))


class Task(NamedTuple):
    """What to learn, and what to ask of the nets that have learned it.

    Attributes:
      train_x, train_y: float32 (data sets, examples, features), and targets for them.
      test_x: float32 (data sets, questions, features).
      loss: from outputs (examples, outputs) and targets to the mean negative
        log-likelihood, in nats.
      net: the net without noise.
      noises: the nets with noise, by the name of the noise.
      epochs: how long Adam may train, with a cosine decay of its learning rate. Of
        several, one is chosen for each data set and net inside `train_x` (`choose`).
    """

    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    loss: Callable[[jax.Array, jax.Array], jax.Array]
    net: Net
    noises: dict[str, Net]
    epochs: tuple[int, ...]
    batch: int
    learning_rate: float


class Answers(NamedTuple):
    """What the nets say.

    Attributes:
      samples: by method, outputs (data sets, seeds, n, questions, outputs), with n = 1
        where there is nothing to sample.
      learned_rates: what ConcreteDropout came to, (data sets, seeds, layers).
      epochs: by noise, how long its nets were trained, (data sets,).
    """

    samples: dict[str, np.ndarray]
    learned_rates: np.ndarray
    epochs: dict[str, np.ndarray]


def answer(
    task: Task,
    seeds: Sequence[int],
    n: int,
    members: int,
    start: Callable[[str], None] = lambda net: None,
    done: Callable[[], None] = lambda: None,
) -> Answers:
    """Train every net of the task, and collect what each method predicts.

    Args:
      task: data and nets.
      seeds: one run each.
      n: number of Monte-Carlo samples.
      members: size of the ensemble; its first net is the one without noise.
      start, done: called before each training, with the name of the noise, and when
        its nets have been asked.
    """
    samples: dict[str, np.ndarray] = {}
    rates = np.empty((len(task.train_x), len(seeds), 0))
    epochs = {}
    for name, net in {"": task.net, **task.noises}.items():
        start(name or "no noise")
        keys = run_keys(len(task.train_x), seeds, 1 if name else members)
        data = jnp.asarray(task.train_x), jnp.asarray(task.train_y)
        chosen = epochs[name or "no noise"] = choose(task, net, seeds)
        params = None
        for count in sorted(set(chosen)):
            new = learn(task, net, *data, keys, int(count))
            here = chosen == count  # the data sets that take these nets
            params = new if params is None else _where(here, new, params)
        quiet = np.asarray(predict(net, params, task.test_x, keys, n=0))
        if name:
            samples[f"{name}, off"] = quiet
            noisy = predict(net, params, task.test_x, keys, n=n)
            samples[f"MC {name}"] = np.asarray(noisy)[:, :, 0]
        else:
            # the members of an ensemble are its samples
            samples = {"one net": quiet[:, :, :1], f"ensemble of {members}": quiet}
        if net.noise == "ConcreteDropout":
            rates = np.asarray(concrete_rates(params))[:, :, 0]
        done()
    return Answers(samples, rates, epochs)


def _where(here: np.ndarray, new: Any, old: Any) -> Any:
    """The nets of some data sets from `new`, of the others from `old`."""
    index = np.flatnonzero(here)
    return jax.tree.map(lambda n, o: o.at[index].set(n[index]), new, old)


def choose(task: Task, net: Net, seeds: Sequence[int]) -> np.ndarray:
    """How many epochs, for each data set: those that are best on a part of `train_x`.

    The nets that tell are trained on the rest of it, and scored by the likelihood
    without noise, over all seeds. No question is looked at.
    """
    data_sets, size = task.train_x.shape[:2]
    if len(task.epochs) == 1:
        return np.full(data_sets, task.epochs[0])
    order = np.random.default_rng(0).permutation(size)
    held, seen = np.split(order, [round(VALIDATION * size)])
    x, y = jnp.asarray(task.train_x), jnp.asarray(task.train_y)
    keys = run_keys(data_sets, seeds, 1)
    scores = []
    for count in task.epochs:
        params = learn(task, net, x[:, seen], y[:, seen], keys, count)
        outputs = predict(net, params, x[:, held], keys, n=0)[:, :, 0]
        loss = jax.vmap(jax.vmap(task.loss, (0, None)))
        scores.append(np.asarray(loss(outputs, y[:, held])).mean(1))
    return np.array(task.epochs)[np.argmin(scores, 0)]


def learn(task: Task, net: Net, x: jax.Array, y: jax.Array, keys: jax.Array, epochs):
    """Parameters of the nets of a task, trained on x and y."""
    # a noise without parameters starts as the net without noise: compiled once
    plain = net if net.noise == "ConcreteDropout" else task.net
    params = initialise(plain, x, keys)
    settings = {"epochs": epochs, "batch": task.batch, "peak": task.learning_rate}
    return train(net, task.loss, params, x, y, keys, **settings)


def run_keys(data_sets: int, seeds: Sequence[int], members: int) -> jax.Array:
    """A key for each run, (data sets, seeds, members)."""

    def key(data_set, seed, member):
        return jax.random.fold_in(
            jax.random.fold_in(jax.random.key(seed), data_set), member
        )

    axes = jnp.arange(data_sets), jnp.asarray(seeds), jnp.arange(members)
    numbers = jnp.meshgrid(*axes, indexing="ij")
    keys = jax.vmap(key)(*(number.ravel() for number in numbers))
    return keys.reshape(numbers[0].shape)


def over_runs(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of (data, key or parameters) for all data sets, seeds and members."""
    for outside in (None, None, 0):
        function = jax.vmap(function, (outside, 0))
    return function


@functools.partial(jax.jit, static_argnames="net")
def initialise(net: Net, x: jax.Array, keys: jax.Array) -> Any:
    """Parameters of each run before training, with leading dims of keys."""

    def run(x, key):
        key = jax.random.fold_in(key, INIT)
        return {"params": net.init(key, x[:1], train=False)["params"]}

    return over_runs(run)(x, keys)


@functools.partial(jax.jit, static_argnames=("net", "loss", "epochs", "batch", "peak"))
def train(
    net: Net,
    loss: Callable[[jax.Array, jax.Array], jax.Array],
    params: Any,
    x: jax.Array,
    y: jax.Array,
    keys: jax.Array,
    *,
    epochs: int,
    batch: int,
    peak: float,
) -> Any:
    """Parameters of each run after Adam, from those of `initialise`.

    The cost of a noise that is learned counts once for the data set.
    """
    size = x.shape[1]
    steps = size // batch
    decay = optax.cosine_decay_schedule(peak, epochs * steps)
    optimizer = optax.adam(decay)

    def objective(params, x, y, key):
        outputs, state = net.apply(
            params, x, train=True, rngs={"dropout": key}, mutable=["losses"]
        )
        cost = sum(jax.tree.leaves(state.get("losses", {})))
        return loss(outputs, y) + cost / size

    def run(data, run):
        (x, y), (params, key) = data, run
        order_key, noise_key = (jax.random.fold_in(key, use) for use in (ORDER, NOISE))
        # a new order each epoch, in one sort
        order = jax.random.bits(order_key, (epochs, size)).argsort()[:, : steps * batch]

        def step(state, now):
            params, memory = state
            index, number = now
            key = jax.random.fold_in(noise_key, number)
            grads = jax.grad(objective)(params, x[index], y[index], key)
            updates, memory = optimizer.update(grads, memory)
            return (optax.apply_updates(params, updates), memory), None

        plan = order.reshape(-1, batch), jnp.arange(epochs * steps)
        (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), plan)
        return params

    return over_runs(run)((x, y), (params, keys))


@functools.partial(jax.jit, static_argnames=("net", "n"))
def predict(net: Net, params: Any, x: jax.Array, keys: jax.Array, *, n: int) -> Any:
    """Outputs of each run, (data sets, seeds, members, n, questions, outputs).

    n = 0 is one pass without noise, and has no axis of samples.
    """

    def run(x, run):
        params, key = run
        if n == 0:
            return net.apply(params, x, train=False)

        def noisy_pass(key):
            return net.apply(params, x, train=True, rngs={"dropout": key})

        return mc.predict(noisy_pass, jax.random.fold_in(key, PASSES), n, chunk=10)

    return over_runs(run)(x, (params, keys))


def concrete_rates(params: Any) -> jax.Array:
    """Rates that ConcreteDropout has learned, a last axis for its layers."""
    layers = params["params"]
    names = sorted(name for name in layers if name.startswith("ConcreteDropout"))
    return jax.nn.sigmoid(jnp.stack([layers[n]["logit_rate"] for n in names], -1))
