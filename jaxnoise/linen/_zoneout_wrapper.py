"""Zoneout around any cell of `flax.linen`."""

from jax.typing import ArrayLike

from jaxnoise._flax._zoneout_wrapper import ZoneoutWrapperLayer
from jaxnoise.linen._wrapper import Wrapper


class ZoneoutWrapper(ZoneoutWrapperLayer, Wrapper):
    """Zoneout around any cell: units of the state stay as they were at random.

    Law: c = u_c c~ + (1 - u_c) c_before, h = u_h h~ + (1 - u_h) h_before, with
    u ~ Bernoulli(1 - zoneout) per step, row and unit, and c~, h~ the new state of the
    cell. E[h] = zoneout h_before + (1 - zoneout) h~, which takes its place without
    noise; Var[h] = zoneout (1 - zoneout) (h~ - h_before)^2. The output is the h of
    zoneout where the cell emits its h.

    Attributes:
      cell: any `flax.linen.RNNCellBase` whose carry is (c, h) or h.
      zoneout_hidden: probability that a unit of h stays as it was, in [0, 1].
      zoneout_cell: the same for c.
      deterministic: True for no noise, where none is passed. Here, at the call, or in
        `jaxnoise.linen.RNN`, in one of the three.

    Example:
      >>> import jax, jax.numpy as jnp, flax.linen as nn, jaxnoise.linen as jnn
      >>> rnn = jnn.RNN(jnn.ZoneoutWrapper(nn.MGUCell(4), zoneout_hidden=0.1))
      >>> x = jnp.ones((2, 7, 3))
      >>> params = rnn.init(jax.random.key(0), x, deterministic=True)
      >>> rnn.apply(params, x, deterministic=False, rng=jax.random.key(1)).shape
      (2, 7, 4)

    Reference: Krueger et al., Zoneout: regularizing RNNs by randomly preserving hidden
    activations, ICLR 2017, https://arxiv.org/abs/1606.01305.
    """

    zoneout_hidden: ArrayLike = 0.0
    zoneout_cell: ArrayLike = 0.0
    deterministic: bool | None = None
