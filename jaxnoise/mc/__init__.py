"""Monte-Carlo prediction: many noisy passes, and what their spread says.

`predict` evaluates a noisy function for n keys; the measures take what it returns,
samples on a leading axis: (n, ..., classes) where classes are predicted. A measure is
computed in float32 (float64 for float64 samples) and comes back so, also for bfloat16
samples: it is for averaging and ranking. Entropies are in nats.

`from_logits` says whether samples are logits or probabilities, the default. Outside
jit, where values are known, probabilities are checked, which waits for them; under jit
what is negative gives nan. The mean over logits is not the mean prediction: take
`jax.nn.softmax` first.
"""

from jaxnoise.mc._calibration import expected_calibration_error
from jaxnoise.mc._moments import mean, std
from jaxnoise.mc._predict import predict
from jaxnoise.mc._uncertainty import (
    mutual_information,
    predictive_entropy,
    variation_ratio,
)

__all__ = [
    "expected_calibration_error",
    "mean",
    "mutual_information",
    "predict",
    "predictive_entropy",
    "std",
    "variation_ratio",
]


def __dir__() -> list[str]:
    return __all__
