"""Zoneout around any cell of `flax.nnx`."""

from flax import nnx
from jax.typing import ArrayLike

from jaxnoise._flax._zoneout_wrapper import ZoneoutWrapperLayer
from jaxnoise.nnx._wrapper import Wrapper


class ZoneoutWrapper(ZoneoutWrapperLayer, Wrapper):
    """Zoneout around any cell: units of the state stay as they were at random.

    Law: c = u_c c~ + (1 - u_c) c_before, h = u_h h~ + (1 - u_h) h_before, with
    u ~ Bernoulli(1 - zoneout) per step, row and unit, and c~, h~ the new state of the
    cell. E[h] = zoneout h_before + (1 - zoneout) h~, which takes its place without
    noise; Var[h] = zoneout (1 - zoneout) (h~ - h_before)^2. The output is the h of
    zoneout where the cell emits its h.

    Args:
      cell: any `flax.nnx.RNNCellBase` whose carry is (c, h) or h; its parameters are in
        the attribute `cell`.
      zoneout_hidden: probability that a unit of h stays as it was, in [0, 1].
      zoneout_cell: the same for c.
      deterministic: True for no noise, of the wrapped cell either, where none is
        passed; `model.eval()` and `nnx.view` set it.

    Raises:
      TypeError: cell is not a cell, or a probability not a number.
      ValueError: a known probability outside [0, 1], or a cell that is deterministic
        itself.

    Example:
      >>> import jax.numpy as jnp, jaxnoise.nnx as jnx
      >>> from flax import nnx
      >>> rngs = nnx.Rngs(0, dropout=1)
      >>> cell = jnx.ZoneoutWrapper(nnx.GRUCell(3, 4, rngs=rngs), zoneout_hidden=0.1)
      >>> jnx.RNN(cell, rngs=rngs)(jnp.ones((2, 7, 3))).shape
      (2, 7, 4)

    Reference: Krueger et al., Zoneout: regularizing RNNs by randomly preserving hidden
    activations, ICLR 2017, https://arxiv.org/abs/1606.01305.
    """

    def __init__(
        self,
        cell: nnx.RNNCellBase,
        zoneout_hidden: ArrayLike = 0.0,
        zoneout_cell: ArrayLike = 0.0,
        *,
        deterministic: bool | None = False,
    ):
        self.zoneout_hidden = zoneout_hidden
        self.zoneout_cell = zoneout_cell
        super().__init__(cell, deterministic)
