"""Drop, add, and sample once: what noise does to the chosen leaves of a tree."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxnoise import _dropout, _gaussian
from jaxnoise._core import _check, _mask, _precision, _random, _shown
from jaxnoise.tree import _leaves
from jaxnoise.tree._leaves import Where

Params = TypeVar("Params")


def dropconnect(
    key: jax.Array,
    params: Params,
    rate: ArrayLike,
    *,
    where: Where = None,
    bits: int = 32,
) -> Params:
    """Drop single weights with probability `rate`, scale the others by 1 / (1 - rate).

    Law: y = w m / q, m ~ Bernoulli(q) i.i.d. over all elements of the chosen leaves,
    q = 1 - rate. E[y] = w, Var[y] = w^2 rate / (1 - rate).

    A leaf becomes `jaxnoise.dropout(leaf_key(key, path), leaf, rate)`. A layer that is
    linear in its weights keeps its mean, and is evaluated with the weights as they are.

    Args:
      key: PRNG key, consumed.
      params: any pytree of parameters.
      rate: probability of dropping, in [0, 1]: 0 returns params, 1 makes the chosen
        leaves zero. A traced rate is clipped to [0, 1], nan to 1; no gradient reaches
        it.
      where: which leaves, by their path: None for every floating one, a regular
        expression that is searched, or a function of the path.
      bits: as in `jaxnoise.dropout`.

    Returns:
      A pytree like params; each leaf keeps its shape, dtype and sharding. Leaves that
      are not chosen are those of params.

    Raises:
      ValueError: a known rate outside [0, 1], nothing chosen (the message lists the
        paths), two chosen leaves of the same path, or a batch of keys.
      TypeError: where is none of the above, or key is not a key.

    Sharp bits: where=None drops biases and normalisation scales too. One call is one
    mask for all examples of a batch; `vmap` over keys for one each. A weight that is
    shared by two places of the tree is two leaves, with a draw for each. Each leaf is
    drawn by code of its own: some 0.1 s of compilation on CPU, half a minute for 300.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxnoise import tree
      >>> params = {"hi": {"kernel": jnp.ones((4, 4)), "bias": jnp.ones(4)}}
      >>> noisy = tree.dropconnect(jax.random.key(0), params, 0.5, where="kernel")
      >>> sorted(set(noisy["hi"]["kernel"].ravel().tolist()))
      [0.0, 2.0]
      >>> noisy["hi"]["bias"] is params["hi"]["bias"]
      True

    Reference: Wan, Zeiler, Zhang, LeCun, Fergus, Regularization of neural networks
    using DropConnect, ICML 2013. On recurrent kernels: Merity, Keskar, Socher,
    Regularizing and optimizing LSTM language models, ICLR 2018,
    https://arxiv.org/abs/1708.02182.
    """
    name = "tree.dropconnect"
    key = _check.key(name, key)
    rate = _check.rate(name, rate)
    leaves, structure, chosen = _leaves.choose(name, params, where)
    if _check.known(rate, 0):
        return params
    bits = _check.bits(name, bits, rate)
    drop = functools.partial(_dropout.dropout, rate=rate, bits=bits)
    noisy = _each(key, leaves, chosen, drop)
    return structure.unflatten(noisy.get(i, leaf) for i, leaf in enumerate(leaves))


def gaussian_noise(
    key: jax.Array,
    params: Params,
    stddev: ArrayLike,
    *,
    where: Where = None,
    relative: bool = False,
) -> Params:
    """Add Gaussian noise to weights, as strong everywhere or relative to the weight.

    Law: y = w + stddev n, n ~ N(0, 1) i.i.d. over all elements of the chosen leaves.
    E[y] = w, Var[y] = stddev^2. With relative=True, y = w (1 + stddev n): the standard
    deviation is stddev |w|, Var[y] = stddev^2 w^2, and a weight of 0 stays 0.

    A leaf becomes `jaxnoise.gaussian_noise(leaf_key(key, path), leaf, stddev)`; with
    relative=True, leaf times `jaxnoise.gaussian_noise(leaf_key(key, path), ones,
    stddev)`, a real factor for complex weights too. Gradients are pathwise, to the
    weights and to stddev: relative noise is not detached from its weight, so that the
    mean of the gradients is the gradient of the mean loss.

    Args:
      key: PRNG key, consumed.
      params: any pytree of parameters.
      stddev: standard deviation, finite and at least 0, in the unit of the weights, or
        as a fraction of each weight where relative; 0 returns params. A traced one is
        not checked.
      where: which leaves, by their path: None for every floating one, a regular
        expression that is searched, or a function of the path.
      relative: whether stddev is a fraction of each weight.

    Returns:
      A pytree like params; each leaf keeps its shape, dtype and sharding. Leaves that
      are not chosen are those of params.

    Raises:
      ValueError: a known stddev that is negative or not finite, nothing chosen (the
        message lists the paths), two chosen leaves of the same path, or a batch of
        keys.
      TypeError: where is none of the above, or key is not a key.

    Sharp bits: where=None adds noise to all that is floating: a running variance may
    become negative. Split the parameters off (`nnx.split(model, nnx.Param, ...)`). A
    weight that is shared by two places of the tree is two leaves, with a draw for each.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxnoise import tree
      >>> params = {"kernel": jnp.array([0.0, 1.0, 100.0]), "step": jnp.array(7)}
      >>> noisy = tree.gaussian_noise(jax.random.key(0), params, 0.01, relative=True)
      >>> bool(noisy["kernel"][0] == 0), bool(abs(noisy["kernel"][2] - 100) < 10)
      (True, True)
      >>> noisy["step"] is params["step"]
      True

    Reference: Graves, Practical variational inference for neural networks, NeurIPS
    2011. Relative: Kingma, Salimans, Welling, Variational dropout and the local
    reparameterization trick, NeurIPS 2015, https://arxiv.org/abs/1506.02557.
    """
    name = "tree.gaussian_noise"
    key = _check.key(name, key)
    stddev = _check.magnitude(name, "stddev", stddev)
    leaves, structure, chosen = _leaves.choose(name, params, where)
    if _check.known(stddev, 0):
        return params
    noise = _times_gaussian if relative else _gaussian.gaussian_noise
    noisy = _each(key, leaves, chosen, lambda k, leaf: noise(k, leaf, stddev))
    return structure.unflatten(noisy.get(i, leaf) for i, leaf in enumerate(leaves))


def mask(
    key: jax.Array,
    params: Any,
    rate: ArrayLike,
    *,
    where: Where = None,
    bits: int = 32,
) -> Any:
    """Draw the masks of `dropconnect`, to be applied as often as wanted.

    Law: m ~ Bernoulli(1 - rate) i.i.d. over all elements of the chosen leaves.
    E[m] = 1 - rate, Var[m] = rate (1 - rate).

    Args:
      key: PRNG key, consumed.
      params: any pytree of parameters.
      rate: probability of dropping, in [0, 1]: 0 keeps everything, 1 nothing. A traced
        rate is clipped to [0, 1], nan to 1.
      where: which leaves, by their path: None for every floating one, a regular
        expression that is searched, or a function of the path.
      bits: as in `jaxnoise.dropout`; give `apply_mask` the same.

    Returns:
      A pytree like params with bool arrays, True = kept, in place of the chosen leaves
      and None in place of all others: what `apply_mask` takes.

    Raises:
      ValueError: a known rate outside [0, 1], nothing chosen (the message lists the
        paths), two chosen leaves of the same path, or a batch of keys.
      TypeError: where is none of the above, or key is not a key.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxnoise import tree
      >>> params = {"kernel": jnp.ones((4, 4)), "bias": jnp.ones(4)}
      >>> masks = tree.mask(jax.random.key(0), params, 0.5, where="kernel")
      >>> masks["kernel"].dtype, masks["bias"]
      (dtype('bool'), None)
      >>> noisy = tree.apply_mask(params, masks, 0.5)  # and again on the next batch
      >>> same = tree.dropconnect(jax.random.key(0), params, 0.5, where="kernel")
      >>> bool((noisy["kernel"] == same["kernel"]).all())
      True
    """
    name = "tree.mask"
    key = _check.key(name, key)
    rate = _check.rate(name, rate)
    leaves, structure, chosen = _leaves.choose(name, params, where)
    bits = _check.bits(name, bits, rate)
    threshold, _ = _mask.keep_threshold(rate, np.dtype(np.float32), bits)
    draw = functools.partial(_mask_like, threshold=threshold, bits=bits)
    masks = _each(key, leaves, chosen, draw)
    return structure.unflatten(masks.get(i) for i in range(len(leaves)))


def apply_mask(
    params: Params, masks: Any, rate: ArrayLike, *, bits: int = 32
) -> Params:
    """Scale the weights that `masks` keep by 1 / (1 - rate), drop the others.

    Law: y = w / (1 - rate) where the mask is True, else 0. Over the masks of `mask`
    with the same rate, E[y] = w, Var[y] = w^2 rate / (1 - rate).

    Args:
      params: any pytree of parameters.
      masks: a pytree of the structure of params: a bool array that broadcasts to the
        leaf (True = kept), or None where a leaf is left alone.
      rate: the probability of dropping that the masks were drawn with, in [0, 1]. A
        traced rate is clipped to [0, 1], nan to 1.
      bits: those that the masks were drawn with.

    Returns:
      A pytree like params; each leaf keeps its shape, dtype and sharding. Leaves
      without a mask are those of params.

    Raises:
      ValueError: a known rate outside [0, 1], masks of another structure, or a mask
        that does not broadcast to its leaf.
      TypeError: a mask that is not bool, or a leaf under a mask that is not floating.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxnoise import tree
      >>> params = {"kernel": jnp.array([1.0, 2.0]), "bias": jnp.ones(2)}
      >>> masks = {"kernel": jnp.array([True, False]), "bias": None}
      >>> tree.apply_mask(params, masks, 0.5)["kernel"].tolist()
      [2.0, 0.0]
    """
    name = "tree.apply_mask"
    rate = _check.rate(name, rate)
    bits = _check.bits(name, bits, rate)
    paths, leaves, structure = _leaves.flatten(params)
    try:
        found = structure.flatten_up_to(masks)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"tree.apply_mask: masks must have the structure of params, with None "
            f"where a leaf is left alone, got {_shown.shown(masks)}. "
            f"Draw them with tree.mask."
        ) from error
    for index, (path, given) in enumerate(zip(paths, found, strict=True)):
        if given is not None:
            function = f"tree.apply_mask, at {_shown.shown(path)}"
            leaf = _check.floating(function, leaves[index])
            checked = _check.mask(function, given, leaf.shape)
            leaves[index] = _dropout.apply_mask(leaf, checked, rate, bits=bits)
    return structure.unflatten(leaves)


def _each(
    key: jax.Array,
    leaves: list[Any],
    chosen: dict[int, str],
    draw: Callable[[jax.Array, jax.Array], jax.Array],
) -> dict[int, jax.Array]:
    """The results of `draw(key, leaf)` for the chosen leaves, by their index."""
    if not chosen:
        return {}
    keys = _leaves.leaf_keys(key, chosen.values())
    return {i: draw(keys[n], leaves[i]) for n, i in enumerate(chosen)}


@functools.partial(jax.jit, static_argnames="bits", keep_unused=True)
def _mask_like(key, x, threshold, bits):
    """A mask that is where `x` is: its mesh is known by the argument alone."""
    return _mask.keep_mask(key, threshold, _mask.coins_for(x, bits=bits))


@_random.redrawn
def _times_gaussian(key, x, stddev):
    """x (1 + stddev n): differentiable at 0 too, unlike x + stddev |x| n."""
    ones = jnp.ones_like(x, _precision.wide_dtype(x))
    factor = _gaussian.gaussian_noise(key, ones, stddev)
    return _precision.in_wide(lambda real: real * factor, x)
