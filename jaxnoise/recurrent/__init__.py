"""Recurrent noise: what a sequence needs, drawn once, and scans with it folded in.

`sample_noise` draws the masks of a sequence as a value; `lstm`, `gru` and `simple` run
over the sequence with them, `lstm_step`, `gru_step` and `simple_step` over one step.
Layers over these are in `jaxnoise.linen` and `jaxnoise.nnx`.
"""

from jaxnoise.recurrent._gru import gru as gru
from jaxnoise.recurrent._gru import gru_step as gru_step
from jaxnoise.recurrent._lstm import lstm as lstm
from jaxnoise.recurrent._lstm import lstm_step as lstm_step
from jaxnoise.recurrent._noise import Noise as Noise
from jaxnoise.recurrent._noise import expected_noise as expected_noise
from jaxnoise.recurrent._noise import sample_noise as sample_noise
from jaxnoise.recurrent._simple import simple as simple
from jaxnoise.recurrent._simple import simple_step as simple_step
from jaxnoise.recurrent._weights import Weights as Weights
