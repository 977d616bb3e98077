"""Where the examples are, and whether what they draw is a picture."""

from pathlib import Path

import numpy as np
from matplotlib.image import imread

EXAMPLES = Path(__file__).parents[2] / "examples"


def assert_drawn(path):
    """A picture with something on every third of it, both ways."""
    pixels = imread(path)[..., :3]
    for rows in np.array_split(pixels, 3):
        for part in np.array_split(rows, 3, axis=1):
            assert part.std() > 0.01
