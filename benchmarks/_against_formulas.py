"""Noise that no other library has, each beside its formula.

The signature is that of `_peers.py`, (key, x) -> y; dense layers with noise have a
second array, (key, kernel, x) -> y.
"""

import math
from collections.abc import Callable

import jaxnoise as jn
from benchmarks import _formulas, _peers
from benchmarks._formulas import (
    ALPHA,
    LOG_VARIANCE,
    LOGIT,
    MASK_ID,
    PHOTON,
    RATE,
    SLOPES,
    STDDEV,
    TEMPERATURE,
)
from jaxnoise import learned, tree, weights
from jaxnoise.testing import CASES


def _mask_then_apply(key, x):
    return jn.apply_mask(x, jn.dropout_mask(key, x.shape, RATE), RATE)


def _tree_mask_then_apply(key, params):
    return tree.apply_mask(params, tree.mask(key, params, RATE), RATE)


def _beside(own: _peers.Noise, written_out: _peers.Noise) -> _peers.Noises:
    return {"jaxnoise": lambda: own, "jax.random": lambda: written_out}


def _on_tree(own: _peers.Noise, noise: _peers.Noise) -> _peers.Noises:
    """Our noise on a pytree of one leaf, beside the formula for that leaf."""

    def of_leaf(noisy):
        return lambda key, x: noisy(key, {"kernel": x})["kernel"]

    return _beside(of_leaf(own), of_leaf(_formulas.for_leaves(noise)))


def _others() -> dict[str, _peers.Noises]:
    """The noises that have a formula in their case and no table of their own."""
    return {
        case.name: _peers.beside_formula(
            case.name, STDDEV if case.top is None else RATE
        )
        for case in CASES
        if case.name in _peers.FORMULAS and case.name not in _peers.FLAT
    }


FLAT: dict[str, _peers.Noises] = {
    "dropout_mask and apply_mask": _beside(_mask_then_apply, _formulas.dropout),
    **_others(),
    "salt_and_pepper": _peers.beside_formula("salt_and_pepper", RATE),
    "rrelu": _peers.beside_formula("rrelu", *SLOPES),
    "learned.concrete_dropout": _beside(
        _peers.ours(learned.concrete_dropout, LOGIT, TEMPERATURE)(),
        _formulas.concrete_dropout,
    ),
    "tree.dropconnect": _on_tree(
        _peers.ours(tree.dropconnect, RATE)(), _formulas.dropout
    ),
    "tree.mask and tree.apply_mask": _on_tree(_tree_mask_then_apply, _formulas.dropout),
    "tree.gaussian_noise": _on_tree(
        _peers.ours(tree.gaussian_noise, STDDEV)(),
        _peers.formula("gaussian_noise", STDDEV)(),
    ),
}
POISSON = _peers.beside_formula("poisson_noise", PHOTON)
NEFTUNE = _peers.beside_formula("neftune_noise", ALPHA)
TOKENS = _peers.beside_formula("token_dropout", RATE, MASK_ID)


def _dense(
    function: Callable, amount: Callable | float, written_out: _peers.Noise
) -> _peers.Noises:
    """A dense layer, the same without noise, and the formula."""

    def own(key, kernel, x):
        drawn = amount(kernel) if callable(amount) else amount
        return function(key, x, kernel, drawn)

    return {"none": lambda: lambda key, kernel, x: x @ kernel} | _beside(
        own, written_out
    )


DENSE: dict[str, _peers.Noises] = {
    "weights.dropconnect_dense": _dense(
        weights.dropconnect_dense, RATE, _formulas.dropconnect_dense
    ),
    "weights.noisy_dense": _dense(weights.noisy_dense, STDDEV, _formulas.noisy_dense),
    "learned.variational_dense": _dense(
        learned.variational_dense, 2 * math.log(STDDEV), _formulas.variational_dense
    ),
    "learned.sparse_variational_dense": _dense(
        learned.sparse_variational_dense,
        lambda kernel: LOG_VARIANCE + kernel,
        _formulas.sparse_variational_dense,
    ),
    "learned.flipout_dense": _dense(
        learned.flipout_dense, STDDEV, _formulas.flipout_dense
    ),
}
