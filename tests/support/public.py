"""What is public of jaxnoise."""

import inspect

import jaxnoise as jn
from jaxnoise import learned, tree, weights


def public_noises():
    """The names of what takes a key; `leaf_key` only makes another one.

    Attention is in the tables of a transformer, not beside functions of one array.
    """
    modules = {"": jn, "weights.": weights, "tree.": tree, "learned.": learned}
    noises = {
        prefix + name
        for prefix, module in modules.items()
        for name, value in vars(module).items()
        if inspect.isfunction(value)
        and not name.startswith("_")
        and next(iter(inspect.signature(value).parameters)) == "key"
    }
    assert {"dropout", "token_dropout", "tree.mask", "learned.flipout_dense"} <= noises
    return noises - {"tree.leaf_key", "dot_product_attention"}
