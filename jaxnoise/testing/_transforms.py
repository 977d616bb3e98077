"""Laws about what JAX makes of noise: vmap, tracing, gradients, sharding, export."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxnoise.testing import _hlo
from jaxnoise.testing._case import Case

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")

_compilations = 0


def _count_compilation(event: str, duration_secs: float, **_: str | int):
    global _compilations
    _compilations += event == "/jax/core/compile/backend_compile_duration"


jax.monitoring.register_event_duration_secs_listener(_count_compilation)


def batching(case: Case) -> str:
    """vmap over keys is a loop over keys."""
    x, keys = case.input(), jax.random.split(case.key(), 3)

    def call(key):
        return case.noise(key, x, case.amounts[-1])

    loop = np.stack([call(key) for key in keys])
    case.equal("batching", "vmap over 3 keys", jax.vmap(call)(keys), loop)
    return "3 keys"


def traced(case: Case) -> str:
    """One compilation serves all amounts, and a traced amount is as good as a known."""
    if not case.traced:
        return ""
    x = case.input()
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def once(key, x, amount):
        return case.noise(key, x, amount)

    for amount in map(np.float32, case.amounts):
        known = case.noise(case.key(), x, amount)
        case.equal("traced", f"traced {amount}", once(case.key(), x, amount), known)
    case.noise(case.key(), x, 0.25)
    before = _compilations
    for amount in (0.3, 0.35, 0.4):
        case.noise(case.key(), x, amount)
    if _compilations > before:
        case.fail(
            "traced",
            f"{_compilations - before} compilations for 3 new amounts, called eagerly.",
        )
    return f"{len(case.amounts)} amounts, 1 trace"


def x64(case: Case) -> str:
    """The output depends on neither x64 mode nor the type of the amount."""
    x, amount = case.input(), case.amounts[0]
    plain = case.noise(case.key(), x, amount)
    single = case.noise(case.key(), x, np.float32(amount))
    case.equal(
        "x64", "a NumPy float64", case.noise(case.key(), x, np.float64(amount)), plain
    )
    case.equal(
        "x64", "a JAX float32", case.noise(case.key(), x, jnp.float32(amount)), single
    )
    with jax.enable_x64(True):
        case.equal("x64", "x64 mode", case.noise(case.key(), x, amount), plain)
    return "x64, 4 types of amount"


def gradients(case: Case) -> str:
    """Right and finite, also at the ends of the range, in all modes that there are."""
    x = case.input()
    v = jnp.asarray(np.cos(np.asarray(x)))
    amounts = (0.0, *case.amounts, *(() if case.top is None else (case.top,)))
    compute, kind = _derivatives(case, v), "traced" if case.traced else "known"
    for amount in amounts:
        results = compute(x, np.float32(amount) if case.traced else amount)
        found = {name: np.asarray(value) for name, value in results.items()}
        for name, value in found.items():
            if not np.isfinite(value).all():
                case.fail(
                    "gradients", f"the {name} at a {kind} {amount} is not finite."
                )
        # steps of 2^-6 leave the quotient 17 of the 23 bits of y
        size = max(1.0, np.abs(found["value"]).max())
        error = np.abs(found["jvp"] - found["difference quotient"]).max()
        if error > 2**-9 * size:
            case.fail(
                "gradients",
                f"at {amount}, the jvp is {error:.3g} away from a difference quotient.",
            )
        forward, reverse = (found["jvp"] * found["u"]).sum(), (found["vjp"] * v).sum()
        by, near = "forward mode", 1e-4
        if not case.forward_mode:
            by, near = "a difference quotient", 2**-9
        if not np.isclose(forward, reverse, rtol=near, atol=near * size):
            case.fail(
                "gradients",
                f"at {amount}, {by} gives {forward} where reverse mode gives "
                f"{reverse}.",
            )
    return f"{len(amounts)} amounts"


def _derivatives(case, v):
    """The values that `gradients` compares, as one function of x and the amount."""

    @functools.partial(jax.jit, static_argnums=() if case.traced else 1)
    def compute(x, amount):
        def f(x, amount):
            return case.noise(case.key(), x, amount)

        step = np.float32(2**-6)
        quotient = (f(x + step * v, amount) - f(x - step * v, amount)) / (2 * step)
        if case.forward_mode:
            y, forward = jax.jvp(lambda x: f(x, amount), (x,), (v,))
        else:
            y, forward = f(x, amount), quotient
        u = jnp.sin(y)
        found = {"value": y, "jvp": forward, "difference quotient": quotient, "u": u}
        if not case.traced:
            return found | {"vjp": jax.vjp(lambda x: f(x, amount), x)[1](u)[0]}
        reverse, by_amount = jax.vjp(f, x, amount)[1](u)
        return found | {"vjp": reverse, "gradient of the amount": by_amount}

    return compute


def residuals(case: Case) -> str:
    """The backward pass keeps few bytes an element: one for a mask, or the key."""
    x, amount = case.input(64, 64), case.amounts[-1]

    def kept(key, x, amount):
        return jax.vjp(lambda x: case.noise(key, x, amount), x)[1]

    pulls = [jax.jit(functools.partial(kept, amount=amount))(case.key(), x)]
    if case.traced:
        pulls.append(jax.jit(kept)(case.key(), x, np.float32(amount)))
    for pull in pulls:
        kept_bytes = sum(_bytes(leaf) for leaf in jax.tree.leaves(pull))
        # beside the mask there may be a few numbers: keys, scales, sums of rows
        if kept_bytes > case.kept * x.size + x.size // 16:
            case.fail(
                "residuals",
                f"{kept_bytes} bytes are kept for an input of {x.size} elements.",
            )
    return f"at most {'a byte' if case.kept == 1 else f'{case.kept} bytes'} an element"


def _bytes(leaf):
    """The size of an array; of keys, which do not tell theirs, that of their words."""
    typed = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return (jax.random.key_data(leaf) if typed else leaf).nbytes


def sharding(case: Case) -> str:
    """Sharded as x, equal to the unsharded result; nothing is sent or drawn twice."""
    devices = jax.device_count()
    # 3 rows and 8 columns on a device: sizes that tell its own part from the whole
    x, amount = case.input(3 * devices, 8 * devices), case.amounts[-1]

    def call(x):
        return case.noise(case.key(), x, amount)

    whole = jax.jit(call)(x)
    dims = [dim for dim in range(x.ndim) if x.shape[dim] % devices == 0]
    chosen = sorted({dims[0], dims[-1]}) if case.splits_rows else dims[:1]
    specs = [PartitionSpec(*[None] * dim, "d") for dim in chosen]
    for kind in (AxisType.Explicit, AxisType.Auto):
        mesh = jax.make_mesh((devices,), ("d",), axis_types=(kind,))
        for spec in specs:
            what = f"{kind.name.lower()} mesh of {devices}, {spec}"
            with jax.set_mesh(mesh):
                placed = jax.device_put(x, NamedSharding(mesh, spec))
                try:
                    compiled = jax.jit(call).lower(placed).compile()
                except Exception as error:
                    case.fail("sharding", f"{what}: {type(error).__name__}: {error}")
                y = compiled(placed)
            case.equal("sharding", what, y, whole)
            if not y.sharding.is_equivalent_to(placed.sharding, x.ndim):
                case.fail("sharding", f"{what}: the output has {y.sharding}.")
            text = compiled.as_text() or ""
            sent = _hlo.collectives(text)
            if sent:
                case.fail("sharding", f"{what}: the program has {dict(sent)}.")
            shard = placed.sharding.shard_shape(x.shape)
            drawn = _hlo.drawn_beyond_the_shard(text, x.shape, shard, case.draws)
            if drawn:
                case.fail(
                    "sharding",
                    f"{what}: each device draws {drawn}, beyond its shard {shard}.",
                )
    return f"{devices} devices, {len(specs)} layouts"


def lowering(case: Case) -> str:
    """jax.export for cpu, cuda, rocm and tpu, forward and gradient."""
    x, amount = case.input(), case.amounts[-1]

    def call(key, x):
        return case.noise(key, x, amount)

    def gradient(key, x):
        return jax.grad(lambda x: call(key, x).sum())(x)

    for function in (call, gradient):
        try:
            jax.export.export(jax.jit(function), platforms=PLATFORMS)(case.key(), x)
        except Exception as error:
            case.fail("lowering", f"{function.__name__}: {error}")
    return ", ".join(PLATFORMS)
