"""The images of `digits.py`: scikit-learn's digits in two halves."""

from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


class Data(NamedTuple):
    train_x: np.ndarray
    test_x: np.ndarray
    train_y: np.ndarray
    test_y: np.ndarray


def load_data() -> Data:
    pixels, labels = map(np.asarray, load_digits(return_X_y=True))
    images = (pixels / 16).reshape(-1, 8, 8, 1).astype(np.float32)
    split = train_test_split(
        images, labels, test_size=0.5, random_state=0, stratify=labels
    )
    return Data(*map(np.asarray, split))
