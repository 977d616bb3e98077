"""Another noise in the place of the dropouts of an nnx model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, Unpack

import jax
import jax.numpy as jnp
from flax import nnx
from flax.nnx.nn import attention as flax_attention
from flax.nnx.nn import dtypes
from jax.typing import ArrayLike

from jaxnoise._core import _check, _shown
from jaxnoise._flax import _replace
from jaxnoise.nnx._attention import dot_product_attention
from jaxnoise.nnx._dropout import Dropout
from jaxnoise.nnx._noise_layer import NoiseLayer, Options

Model = TypeVar("Model")


def replace_dropout(
    model: Model,
    fn_or_layer: Callable[..., Any] | NoiseLayer | type[NoiseLayer],
    rate: _replace.Rate = None,
    *,
    attention: bool | Callable[..., Any] = True,
) -> Model:
    """A model with another noise in the place of each Dropout of `model`.

    Law: where `flax.nnx.Dropout`, or `jaxnoise.nnx.Dropout`, was called on x with noise
    on, f(key, x, rate) is, with the key that the Dropout would have taken; where it is
    deterministic, x. With `jaxnoise.dropout` as f the float32 outputs of a Dropout are
    to the bit those of `model`.

    As from `nnx.view`, a new model comes back and `model` is as it was, and they share
    their Variables: parameters, and the rng streams that each call advances. For one
    that has its own, pass `nnx.clone(model)`.

    Args:
      model: an nnx Module, or anything that `nnx.recursive_map` goes through.
      fn_or_layer: a function f(key, x, rate), such as `jaxnoise.gaussian_dropout` or a
        `functools.partial` of one with keywords; or a layer of `jaxnoise.nnx`. Its
        class stands for its function. An instance brings its amounts and options; its
        `deterministic`, `rng_collection` and `rngs` are not used, but those of the
        Dropouts.
      rate: None for the rate of each Dropout (of the layer, if that is an instance), a
        number for all, or a function of the path of the module, such as
        "blocks/0/dropout", that returns a number or None. It is the third argument of
        f, whatever that means there: a stddev for `jaxnoise.gaussian_noise`. 0 is off.
      attention: whether to replace the dropout on the weights of
        `flax.nnx.MultiHeadAttention`, too. A function takes the place of its
        `attention_fn`: with `functools.partial(jaxnoise.nnx.dot_product_attention,
        bits=8, block_size=512)` attention in a model that exists takes the memory of
        its length, not of its square.

    Returns:
      A model of the same structure, with the layers of `jaxnoise.nnx` where there is
      one for f, each with the `deterministic`, `rng_collection` and rngs of the Dropout
      that was there. A Dropout that is at several places is one layer still.

    Raises:
      TypeError: fn_or_layer is something else or needs more arguments, rate is neither
        number nor function, or attention neither bool nor function.
      ValueError: nothing was there to replace; a bad rate; f takes a stddev or a scale
        and there is no rate; or a Dropout has `broadcast_dims` and f does not take
        them.

    Sharp bits: a Dropout of rate 0 is a place, where another rate turns noise on; an
    attention of rate 0 is none. Attention shares its noise over batch and heads
    (`broadcast_dropout`, on by default) if f takes `broadcast_dims`, otherwise each
    weight has its own; f gets the weights, after the softmax, as (..., heads, queries,
    keys). With `jaxnoise.dropout` as f it is our `dot_product_attention` that attends,
    with the options of f: it scales the values by 1 / (1 - rate), where flax scales the
    weights, so the last bit may differ. Where the model has ours already its options
    stay, too; for another f they give way, but `block_size` and `drop="keys"` are an
    error then, as there are no weights. An
    `attention_fn` other than that of flax or ours keeps its own dropout, as that
    function alone knows where it is; so does a subclass of Dropout with a `__call__` of
    its own.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnoise as jn, jaxnoise.nnx as jnx
      >>> from flax import nnx
      >>> linear = nnx.Linear(3, 8, rngs=nnx.Rngs(0))
      >>> model = nnx.Sequential(linear, nnx.Dropout(0.5, rngs=nnx.Rngs(1)))
      >>> noisy = jnx.replace_dropout(model, jn.gaussian_dropout, rate=0.2)
      >>> type(noisy.layers[1]).__name__, bool((noisy(jnp.ones((2, 3))) != 0).all())
      ('GaussianDropout', True)
    """
    variant = _replace.variant(fn_or_layer, rate, NoiseLayer)
    wanted = _replace.attention(attention)
    replaced, seen = [], []

    def visit(path, node):
        if not isinstance(node, nnx.Module):
            return node
        name = "/".join(map(str, path))
        seen.append(f"{name!r} ({type(node).__name__})")
        if _is_dropout(node):
            replaced.append(name)
            return _layer(variant, name, node)
        if wanted and isinstance(node, nnx.MultiHeadAttention) and _drops(node):
            replaced.append(name)
            # this is a copy already, which shares Variables alone
            other: Any = _replace.attention_at(
                variant, wanted, node.attention_fn, dot_product_attention, name
            )
            take = variant.amount if other is None else variant.attention_amount
            amount: Any = take(name, node.dropout_rate)
            node.dropout_rate = amount
            if other is None:
                other = _Attention(variant._replace(rate=None, own=None))
            node.attention_fn = other
        return node

    result = nnx.recursive_map(visit, model)
    if not replaced:
        raise ValueError(
            f"{_replace.NAME}: model must have an nnx.Dropout or an attention with "
            f"dropout, got {type(model).__name__} with: {_shown.listed(seen)}. What "
            f"was replaced before is no Dropout any more; start from the first model."
        )
    return result


class OtherNoise(NoiseLayer):
    """A function f(key, x, rate) that has no layer of its own.

    Args:
      function: the function.
      amount: its third argument; 0 is off.
      options: pairs of names and values, its keywords.
    """

    def __init__(
        self,
        function: Callable[..., jax.Array],
        amount: _check.Amount,
        options: tuple[tuple[str, Any], ...] = (),
        **common: Unpack[Options],
    ):
        self.noise, self.amount, self.options = function, amount, options
        super().__init__(**common)

    def with_noise(self, key: jax.Array, x: ArrayLike, **at_call: Any) -> jax.Array:
        return self.noise(key, x, self.amount, **dict(self.options), **at_call)

    def without_key(self, x: Any) -> Any:
        return x if _check.known(self.amount, 0) else None


def _is_dropout(node):
    if isinstance(node, Dropout):
        return type(node).__call__ is Dropout.__call__
    return type(node).__call__ is nnx.Dropout.__call__


def _layer(variant, path, node):
    """The layer in the place of a Dropout."""
    amount = variant.amount(path, node.rate)
    own = _replace.dropout_options(node.broadcast_dims, getattr(node, "bits", 32))
    options = variant.options_at(path, **own)
    common = {
        "deterministic": node.deterministic,
        "rng_collection": node.rng_collection,
    }
    if (own_layer := NoiseLayer.of_function.get(variant.function)) is not None:
        layer = own_layer(**{variant.amount_name: amount}, **options, **common)
    else:
        layer = OtherNoise(variant.function, amount, tuple(options.items()), **common)
    # not by the constructor, which forks
    layer.rngs = nnx.data(node.rngs)
    return layer


def _drops(node):
    """Whether an attention has dropout, where it is known how."""
    own = (nnx.dot_product_attention, dot_product_attention)
    return _replace.is_attention(node.attention_fn, *own) and node.dropout_rate > 0


@dataclass(frozen=True)
class _Attention:
    """`flax.nnx.dot_product_attention`, with a variant on the weights."""

    variant: _replace.Variant

    def __call__(
        self,
        query,
        key,
        value,
        *,
        broadcast_dropout=True,
        dropout_rng: Any = None,
        dropout_rate=0.0,
        deterministic=False,
        dtype=None,
        precision=None,
        **others,
    ):
        query, key, value = dtypes.promote_dtype((query, key, value), dtype=dtype)
        weights = flax_attention.dot_product_attention_weights(
            query, key, deterministic=True, precision=precision, **others
        )
        if not deterministic:
            weights = self.variant.on_weights(
                lambda: dropout_rng, weights, dropout_rate, broadcast_dropout
            )
        # as many values as queries, where groups of queries share them
        value = jnp.repeat(value, weights.shape[-3] // value.shape[-2], axis=-2)
        formula = "...hqk,...khd->...qhd"
        return jnp.einsum(formula, weights, value, precision=precision)
