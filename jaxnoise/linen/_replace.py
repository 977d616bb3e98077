"""Another noise in the place of the dropouts of a linen model, which stays as it is."""

import contextlib
import functools
import inspect
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxnoise._flax import _replace
from jaxnoise.linen._attention import dot_product_attention
from jaxnoise.linen._dropout import Dropout
from jaxnoise.linen._noise_layer import NoiseLayer, is_deterministic

# which replacement holds in this thread: a part of the key of every jit cache
_active = jax.make_user_context(None)
_FLAX_CALL = inspect.unwrap(nn.Dropout.__call__)
_OUR_CALL = inspect.unwrap(Dropout.__call__)
_ATTENTIONS = (nn.dot_product_attention, dot_product_attention)


@contextlib.contextmanager
def replace_dropout(
    fn_or_layer: Callable[..., Any] | nn.Module | type[nn.Module],
    rate: _replace.Rate = None,
    *,
    attention: bool | Callable[..., Any] = True,
) -> Iterator[list[str]]:
    """Within the context, another noise in the place of each Dropout of a linen model.

    Law: where the model calls `flax.linen.Dropout`, or `jaxnoise.linen.Dropout`, on x
    with noise on, it gets f(key, x, rate), with the key that the Dropout would have
    drawn or been given; where it is deterministic, x. With `jaxnoise.dropout` as f the
    float32 outputs of a Dropout are to the bit those without the context.

    Around `apply` and `init`, under `jax.jit`, `flax.linen.scan`, `remat` and the other
    lifted transformations. The replacement is a part of the key of the jit caches: a
    function that was compiled outside is traced again inside, once for each variant,
    and is the old one after the context. Keep a lambda in a variable, for one written
    in a loop is a new variant every time.

    The innermost context holds, alone, and for the thread that entered it.

    Args:
      fn_or_layer: a function f(key, x, rate), such as `jaxnoise.gaussian_dropout` or a
        `functools.partial` of one with keywords; or a layer of `jaxnoise.linen`. Its
        class stands for its function. An instance brings its amounts and options; its
        `deterministic` and `rng_collection` are not used, but those of the Dropouts.
      rate: None for the rate of each Dropout (of the layer, if that is an instance), a
        number for all, or a function of the path of the module, such as
        "encoder/Dropout_0", that returns a number or None. It is the third argument
        of f, whatever that means there: a stddev for `jaxnoise.gaussian_noise`. 0 is
        off.
      attention: whether to replace the dropout on the weights of
        `flax.linen.MultiHeadDotProductAttention` and its subclasses, too. A function
        takes the place of their `attention_fn`: with
        `functools.partial(jaxnoise.linen.dot_product_attention, bits=8,
        block_size=512)` attention in a model that exists takes the memory of its
        length, not of its square.

    Yields:
      The list of the paths that were replaced, filled as the model is run or traced. A
      call that was compiled before, in an equal context, adds nothing to it.

    Raises:
      TypeError: fn_or_layer is something else or needs more arguments, rate is neither
        number nor function, or attention neither bool nor function.
      ValueError: a bad rate, f takes a stddev or a scale and there is no rate, or, when
        the model runs, a Dropout has `broadcast_dims` and f does not take them. What
        flax raises for a missing rng or `deterministic` stays.

    Warns:
      UserWarning: modules were run, and no dropout was among them.

    Sharp bits: a Dropout of rate 0 is a place, where another rate turns noise on; an
    attention of rate 0 is none; a call of `jaxnoise.linen.Dropout` with a `mask` stays
    as it is. Attention shares its noise over batch and heads
    (`broadcast_dropout`, on by default) if f takes `broadcast_dims`, otherwise each
    weight has its own; f gets the weights, after the softmax, as (..., heads, queries,
    keys). With `jaxnoise.dropout` as f it is our `dot_product_attention` that attends,
    with the options of f: it scales the values by 1 / (1 - rate), where flax scales the
    weights, so the last bit may differ. Where the model has ours already its options
    stay, too; for another f they give way, but `block_size` and `drop="keys"` are an
    error then, as there are no weights. An
    `attention_fn` other than that of flax or ours keeps its own dropout, as that
    function alone knows where it is. Layers other than Dropout are left alone, those of
    recurrent noise among them.

    Example:
      >>> import flax.linen as nn, jax, jax.numpy as jnp
      >>> import jaxnoise as jn, jaxnoise.linen as jnn
      >>> model = nn.Sequential([nn.Dense(8), nn.Dropout(0.5, deterministic=False)])
      >>> x, rngs = jnp.ones((2, 3)), {"dropout": jax.random.key(1)}
      >>> variables = model.init(jax.random.key(0), x)
      >>> with jnn.replace_dropout(jn.gaussian_dropout, rate=0.2) as replaced:
      ...     y = model.apply(variables, x, rngs=rngs)
      >>> replaced, bool((y != 0).all())
      (['layers_1'], True)
    """
    variant = _replace.variant(fn_or_layer, rate, NoiseLayer)
    wanted = _replace.attention(attention)
    token, replaced = _token(variant, wanted), []
    ran, masked = False, False

    def note(module: nn.Module) -> str:
        path = "/".join(module.path)
        if path not in replaced:
            replaced.append(path)
        return path

    def intercept(call, args, kwargs, context):
        nonlocal ran, masked
        # an inner context is called after this one, but holds in its place
        if context.method_name == "setup" or _active.value is not token:
            return call(*args, **kwargs)
        ran, module = True, context.module
        if _is_dropout(context):
            arguments = dict(kwargs)
            if arguments.pop("mask", None) is None:
                return _dropout(variant, note(module), module, *args, **arguments)
            masked = True  # what the caller drew is no matter of this place
        if wanted and _is_attention(context):
            with _attention_of(module, variant, wanted, note(module)):
                return call(*args, **kwargs)
        return call(*args, **kwargs)

    with _active(token), nn.intercept_methods(intercept):
        yield replaced
    if ran and not replaced and not masked:
        warnings.warn(
            f"{_replace.NAME}: there was nothing to replace: no flax.linen.Dropout and "
            f"no attention with dropout was called by the modules that ran. Dropout "
            f"that a module computes by itself is out of reach.",
            stacklevel=3,
        )


def _token(variant, attention):
    """A replacement as a key of the jit cache: equal if it is the same one again."""
    token = (*variant, attention)
    try:
        hash(token)
    except TypeError:  # a traced rate, an array: not the same as any other
        return object()
    return token


def _is_dropout(context):
    # by the function, so that the super().__call__ of a subclass is a Dropout, too
    function, module = getattr(context.orig_method, "func", None), context.module
    if function is _OUR_CALL:
        return isinstance(module, Dropout)
    return function is _FLAX_CALL


def _dropout(variant, path, module, inputs, deterministic=None, rng=None):
    """The call of a Dropout, with the variant in its place."""
    if isinstance(module, Dropout):
        off = is_deterministic(module, deterministic)
    else:
        off = nn.merge_param("deterministic", module.deterministic, deterministic)
    if off:
        return inputs

    def draw():
        return module.make_rng(module.rng_collection) if rng is None else rng

    own = _replace.dropout_options(module.broadcast_dims, getattr(module, "bits", 32))
    options = variant.options_at(path, **own)
    return variant.noise(draw, inputs, variant.amount(path, module.rate), options)


def _is_attention(context):
    module = context.module
    return (
        context.method_name == "__call__"
        and isinstance(module, nn.MultiHeadDotProductAttention)
        and _replace.is_attention(module.attention_fn, *_ATTENTIONS)
        and module.dropout_rate > 0
    )


@contextlib.contextmanager
def _attention_of(module, variant, wanted, path):
    """For one call of a bound module: another attention, or the variant on its weights.

    The field is the only door: flax draws the dropout in the function that is there.
    The module is a copy that lives as long as one `apply`.
    """
    function = module.attention_fn
    other = _replace.attention_at(variant, wanted, function, _ATTENTIONS[1], path)
    attend = functools.partial(_attend, variant, path)
    if other is not None:
        attend = functools.partial(_attend_by, other, variant, path)
    # flax passes the arguments that are in the signature: that of what it calls
    attend = functools.wraps(function if other is None else other.function)(attend)
    object.__setattr__(module, "attention_fn", attend)
    try:
        yield
    finally:
        object.__setattr__(module, "attention_fn", function)


def _attend_by(other, variant, path, *operands, **arguments):
    """Another attention, at the rate of the place."""
    if "dropout_rate" in arguments:
        amount = variant.attention_amount(path, arguments["dropout_rate"])
        arguments["dropout_rate"] = amount
    return other(*operands, **arguments)


def _attend(
    variant,
    path,
    query,
    key,
    value,
    *,
    dropout_rng=None,
    dropout_rate=0.0,
    broadcast_dropout=True,
    deterministic=False,
    precision=None,
    qk_attn_weights_einsum=None,
    attn_weights_value_einsum=None,
    **others,
):
    """`flax.linen.dot_product_attention`, with the variant on the weights."""
    plain = functools.partial(jnp.einsum, precision=precision)
    contract = attn_weights_value_einsum or plain

    def with_noise(formula, weights, value):
        if not deterministic:
            amount = variant.amount(path, dropout_rate)
            weights = variant.on_weights(
                lambda: dropout_rng, weights, amount, broadcast_dropout
            )
        return contract(formula, weights, value)

    return nn.dot_product_attention(
        query,
        key,
        value,
        deterministic=True,
        qk_attn_weights_einsum=qk_attn_weights_einsum or plain,
        attn_weights_value_einsum=with_noise,
        **others,
    )
