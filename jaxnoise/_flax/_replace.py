"""Another noise in the place of the dropouts of a model, in `linen` and in `nnx`.

A `Variant` is a function `f(key, x, amount, **options)` and how the amount of a place
is found. It knows nothing of modules: each framework tells it what the dropout at a
path has.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxnoise._core import _check, _shown
from jaxnoise._dropout import dropout

NAME = "replace_dropout"
NOT_A_RATE = ("stddev", "scale", "alpha", "lower")
Rate = ArrayLike | Callable[[str], ArrayLike | None] | None


class Variant(NamedTuple):
    """A noise for many places.

    Attributes:
      function: `f(key, x, amount, **options)`.
      options: pairs of names and values, the same at each place.
      own: the amount of the layer that was given; None where each place has its own.
      rate: what the caller wants instead: nothing, a number, or a function of the path.
      amount_name: the parameter that takes the amount.
      takes: the options of a dropout that the function takes, too.
    """

    function: Callable[..., Any]
    options: tuple[tuple[str, Any], ...]
    own: Any
    rate: Any
    amount_name: str
    takes: tuple[str, ...]

    def amount(self, path: str, rate: Any) -> _check.Amount:
        """The amount at a path, where the dropout has `rate`."""
        wanted = self.rate(path) if callable(self.rate) else self.rate
        if wanted is None:
            wanted = self.own
        if wanted is None:
            if self.amount_name in NOT_A_RATE:
                raise ValueError(
                    f"{NAME}: rate must be given for {_name(self.function)}, got None. "
                    f"The rate of a dropout is no {self.amount_name}; pass the "
                    f"{self.amount_name} as rate."
                )
            wanted = rate
        return _check.magnitude(NAME, "rate", wanted)

    def attention_amount(self, path: str, rate: Any) -> Any:
        """The rate of an attention function at a path; its own if ours is no rate."""
        return rate if self.amount_name in NOT_A_RATE else self.amount(path, rate)

    def options_at(self, path: str, **dropout_options: Any) -> dict[str, Any]:
        """All options at a path, where the dropout has some that are not the defaults.

        Raises:
          ValueError: the dropout shares draws over dims, and the function cannot.
        """
        options = dict(self.options)
        for name, value in dropout_options.items():
            if name in options:
                continue
            if name in self.takes:
                options[name] = value
            elif name == "broadcast_dims":
                shared, name = _shown.shown(value), _name(self.function)
                raise ValueError(
                    f"{NAME}: the variant must take broadcast_dims, as the dropout at "
                    f"{_shown.shown(path)} has broadcast_dims={shared}, got {name}. To "
                    f"draw for each element all the same: lambda key, x, rate, "
                    f"broadcast_dims=(): {name}(key, x, rate)."
                )
        return options

    def noise(
        self,
        draw: Callable[[], jax.Array],
        x: Any,
        amount: _check.Amount,
        options: dict[str, Any],
    ) -> Any:
        """Noise on x with a key from `draw`, which is not called where none is needed.

        That is as in flax, whose Dropout needs no rng for the rates 0 and 1.
        """
        if _check.known(amount, 0):
            return x
        if self.function is dropout and _check.known(amount, 1):
            return jnp.zeros_like(x)
        return self.function(draw(), x, amount, **options)

    def on_weights(
        self,
        draw: Callable[[], jax.Array],
        weights: Any,
        amount: _check.Amount,
        shared: bool,
    ) -> Any:
        """Noise on attention weights (..., heads, queries, keys).

        Args:
          shared: whether batch and heads have one draw. It is the default of flax, and
            so no error for a function that cannot.
        """
        dims = tuple(range(weights.ndim - 2)) if shared else ()
        own = {}
        if dims and "broadcast_dims" in self.takes:
            own = {"broadcast_dims": dims}
        return self.noise(draw, weights, amount, {**own, **dict(self.options)})


class Attention(NamedTuple):
    """A function in the place of flax's attention, and its keywords as pairs."""

    function: Callable[..., Any]
    options: tuple[tuple[str, Any], ...] = ()

    def __call__(self, *operands: Any, **arguments: Any) -> Any:
        return self.function(*operands, **dict(self.options), **arguments)


def attention(value: Any) -> bool | Attention:
    """The `attention` argument: whether attention is replaced, or by which function.

    A partial becomes a function and its keywords, which are equal if these are.

    Raises:
      TypeError: it is something else.
    """
    if isinstance(value, bool):
        return value
    function, options = unbound(value)
    if not callable(function) or isinstance(function, type):
        raise TypeError(
            f"{NAME}: attention must be True, False or an attention function, got "
            f"{_shown.shown(value)}. For attention by blocks pass "
            f"functools.partial(dot_product_attention, block_size=512)."
        )
    return Attention(function, _pairs(options))


def attention_at(
    found: Variant, wanted: bool | Attention, there: Any, ours: Any, path: str
) -> Attention | None:
    """The function in the place of `there`; None for the variant on flax's weights.

    Args:
      found: the variant for dropouts.
      wanted: what the caller said of attention; not False.
      there: the `attention_fn`, flax's or `ours` or a partial of ours.
      ours: the `dot_product_attention` of the framework.
      path: of the module.

    Raises:
      ValueError: another variant than `jaxnoise.dropout`, where there are no weights.
    """
    if isinstance(wanted, Attention):
        return wanted
    function, own = unbound(there)
    options = own if function is ours else {}
    if found.function is dropout:
        return Attention(ours, _pairs(options | dict(found.options)))
    drop, size = options.get("drop", "weights"), options.get("block_size")
    if drop != "weights" or size is not None:
        name = _name(found.function)
        raise ValueError(
            f"{NAME}: the variant must be jaxnoise.dropout where attention has "
            f"block_size or drop='keys', as at {_shown.shown(path)} with "
            f"block_size={_shown.shown(size)} and drop={_shown.shown(drop)}, got "
            f"{name}: there are no weights for it. Pass attention=False to leave "
            f"attention as it is."
        )
    return None


def is_attention(there: Any, flax_own: Any, ours: Any) -> bool:
    """Whether it is known how an `attention_fn` drops."""
    return there is flax_own or unbound(there)[0] is ours


def unbound(function: Any) -> tuple[Any, dict[str, Any]]:
    """A partial of keywords alone as its function and these."""
    if isinstance(function, functools.partial) and not function.args:
        return function.func, dict(function.keywords)
    return function, {}


def _pairs(options):
    """Tuples, as jit caches want what can be hashed."""
    return tuple(
        (name, tuple(value) if isinstance(value, list) else value)
        for name, value in sorted(options.items())
    )


def variant(fn_or_layer: Any, rate: Any, base: type) -> Variant:
    """The variant that a function, a partial of one, a layer or its class stands for.

    Args:
      fn_or_layer: what the caller gave.
      rate: None, a number or a function of the path.
      base: the class of the layers of the framework.

    Raises:
      TypeError: fn_or_layer or rate is something else, or the function takes more.
      ValueError: the function needs an amount that no dropout has.
    """
    function, options = unbound(fn_or_layer)
    own = None
    kind: Any = function if isinstance(function, type) else type(function)
    if issubclass(kind, base) and hasattr(kind, "function"):
        if function is not kind:
            options, own = _of_layer(function)
        function = kind.function
    elif (
        not callable(function)
        or isinstance(function, type)
        or hasattr(function, "rng_collection")
    ):
        raise TypeError(
            f"{NAME}: fn_or_layer must be a function f(key, x, rate) or a layer of "
            f"{base.__module__.rpartition('.')[0]}, got {_shown.shown(fn_or_layer)}."
        )
    names, takes = _parameters(function, options)
    amount_name = names[2] if len(names) > 2 else "rate"
    if not callable(rate) and rate is not None:
        rate = _check.magnitude(NAME, "rate", rate)
    found = Variant(function, _pairs(options), own, rate, amount_name, takes)
    if rate is None:
        found.amount("", 0)  # whether there can be one
    return found


def _of_layer(layer):
    """Options and amount of a layer."""
    options = {name: getattr(layer, name) for name in layer.parameters}
    own = options.pop(next(iter(options)))
    # a default is nothing that was asked for
    for name, default in (("broadcast_dims", ()), ("bits", 32)):
        if name in options and options[name] == default:
            del options[name]
    return options, own


def _parameters(function, options):
    """Names of the parameters, and which of a dropout's options are among them."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # some that are written in C
        return (), ()
    try:
        signature.bind(None, None, None, **options)
    except TypeError as error:
        raise TypeError(
            f"{NAME}: fn_or_layer must be callable as f(key, x, rate), got "
            f"{_name(function)}{_shown.short(str(signature))}: "
            f"{_shown.short(str(error))}. Bind what else it needs: "
            f"functools.partial({_name(function)}, name=value)."
        ) from None
    kinds = signature.parameters.values()
    anything = any(p.kind is p.VAR_KEYWORD for p in kinds)
    wanted = ("broadcast_dims", "bits")
    takes = tuple(n for n in wanted if anything or n in signature.parameters)
    return tuple(signature.parameters), takes


def dropout_options(broadcast_dims: Any, bits: int = 32) -> dict[str, Any]:
    """The options of a dropout that are not the defaults."""
    options: dict[str, Any] = {}
    if len(broadcast_dims) > 0:
        options["broadcast_dims"] = tuple(broadcast_dims)
    if bits != 32:
        options["bits"] = bits
    return options


def _name(function):
    return getattr(function, "__name__", _shown.shown(function))
