"""Every argument of every function is given something huge.

A call is refused in fewer than 500 characters, in which there is no array and no tree,
or it is none that is refused.
"""

import inspect

import jax
import numpy as np
import pytest
from oversized import Call, assert_short, call_of, huge, refused

import jaxnoise as jn
from jaxnoise import keys, learned, losses, mc, recurrent, schedules, tree, weights

pytestmark = pytest.mark.attack

MODULES = {
    "": jn,
    "keys": keys,
    "learned": learned,
    "losses": losses,
    "mc": mc,
    "recurrent": recurrent,
    "schedules": schedules,
    "tree": tree,
    "weights": weights,
}


INTERNAL = {"symmetric_uniform", "fold_words", "words_of"}


def functions() -> dict[str, Call]:
    found = {}
    for home, module in MODULES.items():
        for name, function in vars(module).items():
            public = getattr(function, "__module__", "").startswith("jaxnoise")
            plain = inspect.isfunction(function) and name not in INTERNAL
            if public and plain and not name.startswith("_"):
                found[f"{home}.{name}".lstrip(".")] = call_of(function)
    lstm = recurrent.Weights(np.ones((4, 16)), np.ones((4, 16)), np.ones(16))
    gru = recurrent.Weights(np.ones((4, 12)), np.ones((4, 12)), np.ones(12), np.ones(4))
    carry = np.ones((3, 4))
    for name in ("recurrent.lstm", "recurrent.lstm_step"):
        found[name].arguments.update(weights=lstm, carry=(carry, carry))
    for name in ("recurrent.gru", "recurrent.gru_step"):
        found[name].arguments.update(weights=gru)
    for name in ("lstm", "gru", "simple"):
        found[f"recurrent.{name}_step"].arguments.update(x=np.ones((3, 4)))
    return found


FUNCTIONS = functions()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    call, key, seen = FUNCTIONS[name], jax.random.key(0), 0
    for position in call.positions:
        for kind, value in huge().items():
            message = refused(call, position, value, key)
            assert_short(f"{position} is {kind}", message)
            seen += bool(message)
    assert seen
