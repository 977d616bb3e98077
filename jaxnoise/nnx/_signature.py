"""The signature of a layer, for `inspect.signature`, `help` and notebooks.

Of any class of `flax.nnx` they would show (*args, **kwargs), the call of its metaclass,
and of a constructor that hands `**options` on, no more than that. Type checkers need
none of this: they read the TypedDict with which the options are annotated.
"""

import inspect
import typing
from typing import Any


class ConstructorSignature:
    """`__signature__` of a class: its constructor's, with the options by name."""

    def __get__(self, layer: Any, kind: type) -> inspect.Signature:
        if layer is not None:  # which is called otherwise than its class
            raise AttributeError("__signature__")
        return _of_constructor(kind)


def _of_constructor(kind: type) -> inspect.Signature:
    constructors = [vars(k)["__init__"] for k in kind.__mro__ if "__init__" in vars(k)]
    own, *inherited = map(inspect.signature, constructors)
    _, *parameters = own.parameters.values()
    passed_on = parameters and parameters[-1].kind is inspect.Parameter.VAR_KEYWORD
    if not passed_on or not typing.get_args(parameters[-1].annotation):
        return inspect.Signature(parameters)
    options = typing.get_args(parameters.pop().annotation)[0]
    for name in options.__annotations__:
        makers = (s.parameters for s in inherited if name in s.parameters)
        parameters.append(next(makers)[name])
    return inspect.Signature(parameters)
