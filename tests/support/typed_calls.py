"""What a type checker says of calls of jaxnoise: the last ones are errors.

`test_types.py` checks this file with Pyright, and each expectation against it: a
comment that silences an error that is not there is an error itself.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

import jax
import jax.numpy as jnp
import optax
from flax import nnx

import jaxnoise as jn
import jaxnoise.nnx as jnx


def right(rngs: nnx.Rngs) -> list[nnx.Module]:
    """Layers by what `**options` takes, all of flax's and the layers' own."""
    zeros = nnx.initializers.zeros_init()
    lstm = jnx.LSTMCell(3, 4, input_rate=0.1, tied=False, bias_init=zeros, rngs=rngs)
    gru = jnx.GRUCell(3, 4, zoneout_hidden=0.1, gate_fn=jnp.tanh, rngs=rngs)
    simple = jnx.SimpleCell(3, 4, residual=True, dtype=None, rngs=rngs)
    zoneout = jnx.ZoneoutWrapper(nnx.OptimizedLSTMCell(3, 4, rngs=rngs), 0.1)
    wrapped = jnx.DropoutWrapper(simple, 0.1, variational=True, bits=8)
    return [
        jnx.RNN(wrapped, rngs=rngs),
        jnx.RNN(jnx.DropoutWrapper(zoneout, output_rate=0.1), rngs=rngs),
        jnx.RNN(lstm, time_major=True, unroll=2, deterministic=None, rngs=rngs),
        jnx.RNN(gru, return_carry=True, reverse=True, keep_order=True),
        jnx.Embed(5, 4, rate=0.1, embedding_init=zeros, rngs=rngs),
        jnx.DropConnectDense(3, 4, 0.1, use_bias=False, rngs=rngs),
        jnx.NoisyDense(3, 4, param_dtype=jnp.bfloat16, rngs=rngs),
        jnx.VariationalDense(3, 4, kernel_init=zeros, rngs=rngs),
        jnx.SparseVariationalDense(3, 4, precision="highest", rngs=rngs),
        jnx.FlipoutDense(3, 4, dtype=jnp.bfloat16, rngs=rngs),
        jnx.Dropout(0.1, deterministic=True, rng_collection="noise", rngs=None),
        jnx.ConcreteDropout(0.1, rngs=rngs),
    ]


def modules(key: jax.Array, x: jax.Array) -> list[jax.Array]:
    """Each module is an attribute, and its functions keep their types."""
    assert jn.linen.RNN and jn.nnx.RNN and jn.testing.check_noise and jn.losses.ar
    step: jax.Array = jn.keys.step_key(key, 1)
    cost: jax.Array = jn.learned.variational_kl(x)
    mask: jn.recurrent.Noise = jn.recurrent.sample_noise(key, (1,), 2, gates=4)
    sure: jax.Array = jn.weights.dropconnect_dense(step, x, x, 0.1)
    schedule: optax.Schedule = optax.cosine_decay_schedule(0.1, 9)
    schedule = jn.schedules.late_dropout(schedule, 3)
    schedule = optax.join_schedules([schedule, jn.schedules.early_dropout(0.1, 3)], [3])
    rate = jn.schedules.curriculum_dropout(schedule, 3)(4)
    assert mask.input is None and jn.tree.mask and jn.mc.predict
    return [cost, sure, jn.dropout(key, x, rate)]


def wrong(rngs: nnx.Rngs) -> None:
    jnx.LSTMCell(3, 4)  # pyright: ignore[reportCallIssue]
    jnx.GRUCell(3, 4)  # pyright: ignore[reportCallIssue]
    jnx.Embed(5, 4)  # pyright: ignore[reportCallIssue]
    jnx.DropConnectDense(3, 4, 0.1)  # pyright: ignore[reportCallIssue]
    jnx.NoisyDense(3, 4)  # pyright: ignore[reportCallIssue]
    jnx.VariationalDense(3, 4)  # pyright: ignore[reportCallIssue]
    jnx.SparseVariationalDense(3, 4)  # pyright: ignore[reportCallIssue]
    jnx.FlipoutDense(3, 4)  # pyright: ignore[reportCallIssue]
    lstm = jnx.LSTMCell(3, 4, tide=True, rngs=rngs)  # pyright: ignore[reportCallIssue]
    jnx.LSTMCell(3, 4, tied="no", rngs=rngs)  # pyright: ignore[reportArgumentType]
    jnx.SimpleCell(3, 4, gate_fn=jnp.tanh, rngs=rngs)  # pyright: ignore[reportCallIssue]
    jnx.DropoutWrapper(lstm, stat_rate=0.1)  # pyright: ignore[reportCallIssue]
    jnx.RNN(lstm, return_cary=True)  # pyright: ignore[reportCallIssue]
    jnx.RNN(lstm, unroll="all")  # pyright: ignore[reportArgumentType]
    jnx.Dropout(0.1, determinstic=True)  # pyright: ignore[reportCallIssue]
    _ = jn.droput  # pyright: ignore[reportAttributeAccessIssue]
    _ = jnx.NoiseLayer  # pyright: ignore[reportAttributeAccessIssue]
