"""Recurrent noise: what a sequence needs, drawn once, and scans with it folded in.

`sample_noise` draws the masks of a sequence as a value; `lstm`, `gru` and `simple` run
over the sequence with them, `lstm_step`, `gru_step` and `simple_step` over one step.
Layers over these are in `jaxnoise.linen` and `jaxnoise.nnx`.
"""

from jaxnoise.recurrent._gru import gru, gru_step
from jaxnoise.recurrent._lstm import lstm, lstm_step
from jaxnoise.recurrent._noise import Noise, expected_noise, sample_noise
from jaxnoise.recurrent._simple import simple, simple_step
from jaxnoise.recurrent._weights import Weights

__all__ = [
    "Noise",
    "Weights",
    "expected_noise",
    "gru",
    "gru_step",
    "lstm",
    "lstm_step",
    "sample_noise",
    "simple",
    "simple_step",
]


def __dir__() -> list[str]:
    return __all__
