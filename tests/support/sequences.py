"""A sequence for an LSTM, and noise at all of its places."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxnoise.recurrent as jr

STEPS, BATCH, WIDTH, FEATURES = 6, (2, 3), 4, 5
EVERY = {
    "input_rate": 0.5,
    "recurrent_rate": 0.3,
    "candidate_rate": 0.2,
    "cell_rate": 0.1,
    "zoneout_hidden": 0.3,
    "zoneout_cell": 0.2,
    "weight_rate": 0.3,
    "output_rate": 0.4,
}


def sample(seed=0, steps=STEPS, batch=BATCH, **rates):
    key = jax.random.key(seed) if isinstance(seed, int) else seed
    shape = (*batch, WIDTH)
    return jr.sample_noise(key, shape, FEATURES, gates=4, num_steps=steps, **rates)


def problem(dtype=np.float32, batch=BATCH, steps=STEPS):
    rng = np.random.default_rng(0)

    def normal(*shape):
        return jnp.asarray((rng.normal(size=shape) * 0.6).astype(dtype))

    weights = jr.Weights(
        normal(WIDTH, 4 * FEATURES),
        normal(FEATURES, 4 * FEATURES),
        normal(4 * FEATURES),
    )
    carry = (normal(*batch, FEATURES), normal(*batch, FEATURES))
    return weights, carry, normal(steps, *batch, WIDTH)


def run(weights, carry, xs, noise, **options):
    (_, h), ys = jr.lstm(weights, carry, xs, noise, **options)
    return h, ys
