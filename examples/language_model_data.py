"""The text of `language_model.py` as numbers, in rows that are read side by side."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from pydoc_data import topics
from typing import NamedTuple

import numpy as np

UNKNOWN, END = "<unk>", "<eos>"  # of a word outside the vocabulary, and of a line
HELD_OUT = 0.1  # of a text that comes without one to validate on
IGNORED = -1  # the target of what only fills up the last row


class Corpus(NamedTuple):
    """A vocabulary, and texts as indices into it."""

    level: str
    vocabulary: tuple[str, ...]
    train: np.ndarray
    valid: np.ndarray

    def encode(self, text: str) -> np.ndarray:
        """Indices of the characters or words; what is not known becomes UNKNOWN."""
        index = {symbol: place for place, symbol in enumerate(self.vocabulary)}
        unknown = index[UNKNOWN]
        symbols = split_text(text, self.level)
        return np.array([index.get(symbol, unknown) for symbol in symbols], np.int32)

    def decode(self, indices: Iterable[int]) -> str:
        symbols = [self.vocabulary[index] for index in indices]
        if self.level == "char":
            return "".join("\ufffd" if s == UNKNOWN else s for s in symbols)
        return " ".join(symbols).replace(f" {END} ", "\n").replace(END, "\n")

    @property
    def unknown(self) -> float:
        """The fraction of the held-out text that is outside the vocabulary."""
        return float(np.mean(self.valid == self.vocabulary.index(UNKNOWN)))


def language_reference(level: str) -> str:
    """CPython's own language reference, each of its paragraphs once.

    Its topics overlap: a fifth of the text stands in two of them, and would be known
    from training when it turns up among what is held out. For words, punctuation is set
    apart.
    """
    paragraphs = "\n\n".join(topics.topics.values()).split("\n\n")
    once = {
        " ".join(paragraph.split()): paragraph for paragraph in reversed(paragraphs)
    }
    text = "\n\n".join(reversed(once.values()))
    return re.sub(r"([^\w\s])", r" \1 ", text) if level == "word" else text


def split_text(text: str, level: str) -> Sequence[str]:
    """Characters, or what white space parts, with END for the end of a line."""
    return text if level == "char" else text.replace("\n", f" {END} ").split()


def make_corpus(
    level: str, train: str, valid: str | None, *, words: int, limit: int | None = None
) -> Corpus:
    """The most frequent symbols of the training text, and both texts in terms of them.

    Without `valid` the last tenth of the text is held out. `words` bounds a vocabulary
    of words, UNKNOWN included; `limit` the symbols to train on.
    """
    symbols = split_text(train, level)
    if valid is None:
        cut = round(len(symbols) * (1 - HELD_OUT))
        joint = "" if level == "char" else " "
        symbols, valid = symbols[:cut], joint.join(symbols[cut:])
    symbols = symbols[:limit]
    counts = Counter(symbols)
    counts.pop(UNKNOWN, None)
    known = [symbol for symbol, _ in counts.most_common()]
    if level == "word":
        known = known[: words - 1]
    corpus = Corpus(level, (UNKNOWN, *known), *(np.empty(0, np.int32),) * 2)
    joint = "" if level == "char" else " "
    return corpus._replace(
        train=corpus.encode(joint.join(symbols)), valid=corpus.encode(valid)
    )


def load_corpus(
    text: Path | None, valid: Path | None, level: str, *, words: int, limit: int | None
) -> Corpus:
    """The corpus of these files; without them that of the language reference."""
    train = text.read_text("utf-8") if text else language_reference(level)
    held_out = valid.read_text("utf-8") if valid else None
    return make_corpus(level, train, held_out, words=words, limit=limit)


def training_rows(tokens: np.ndarray, rows: int, length: int) -> np.ndarray:
    """(rows, segments * length + 1): each row is one stretch of the text.

    A column more than there are inputs, for the target of the last one. What does not
    fill a segment in all the rows is left out.
    """
    segments = (len(tokens) - 1) // (rows * length)
    if segments < 1:
        raise ValueError(
            f"the training text must have more than rows x length = {rows} x {length} "
            f"symbols, got {len(tokens)}"
        )
    steps = segments * length
    starts = np.arange(rows)[:, None] * steps
    return tokens[starts + np.arange(steps + 1)]


def held_out_segments(
    tokens: np.ndarray, rows: int, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets, (segments, rows, length): all of the text, each symbol once.

    What fills up the end has the target IGNORED.
    """
    if len(tokens) < 2:
        raise ValueError(f"the held-out text must have 2 symbols, got {len(tokens)}")
    count = len(tokens) - 1
    segments = -(-count // (rows * length))
    size = segments * rows * length
    inputs = np.pad(tokens[:-1], (0, size - count))
    targets = np.pad(tokens[1:], (0, size - count), constant_values=IGNORED)
    shape = (rows, segments, length)
    return inputs.reshape(shape).swapaxes(0, 1), targets.reshape(shape).swapaxes(0, 1)
