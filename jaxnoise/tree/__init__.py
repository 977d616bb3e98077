"""Noise on parameter pytrees: DropConnect and weight noise, for any framework.

A leaf is known by its path, the names on the way to it joined by "/":
`params/cell/hi/kernel` in flax linen, `cell/dense_h/kernel` in a state of flax nnx (as
in `nnx.to_pure_dict`: without the `value` of its Variable), `layers/0/weight` in
equinox, `mlp/~/linear_0/w` in haiku. The key of a leaf is made from its path
(`leaf_key`). Its noise depends on the key, its path and its shape, and not on which
other leaves there are or in which order. Seen from another root (`variables` in place
of `variables["params"]`) a leaf has another path, and other noise.

`where` chooses leaves by their path:

- None: every floating leaf. Biases, the scales of normalisation and, unless they were
  split off, running statistics are floating leaves too.
- a regular expression, a string or compiled, that is found anywhere in the path
  (`re.search`): `r"cell/h[ifgo]/kernel"` is the weight drop of AWD-LSTM on the cells of
  flax. Anchor it with ^ and $ to match whole paths.
- a function of the path: `where=lambda path: path.endswith("kernel")`.

Only arrays of a floating or complex dtype get noise. Everything else is left alone,
chosen or not: integers, PRNG keys, Python numbers, activation functions. It is an error
that nothing at all is chosen, but for a tree without leaves and where=None.
"""

from jaxnoise.tree._leaves import leaf_key
from jaxnoise.tree._noise import apply_mask, dropconnect, gaussian_noise, mask

__all__ = [
    "apply_mask",
    "dropconnect",
    "gaussian_noise",
    "leaf_key",
    "mask",
]


def __dir__() -> list[str]:
    return __all__
