"""A tiny text and a trainer of a tiny language model."""

import functools
import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "examples"), str(ROOT / "benchmarks")]
data = importlib.import_module("language_model_data")
nets = importlib.import_module("language_model_nets")
training = importlib.import_module("language_model_train")

TEXT = "the cat sat on the mat.\nthe dog sat on the log.\n" * 12
TINY = {"embedding": 3, "features": 4, "layers": 1, "rows": 2, "length": 6, "epochs": 2}


@functools.cache
def make_trainer(method="variational", **changes):
    """Trainers by method and settings, each compiled once for all the tests."""
    corpus = data.make_corpus("char", TEXT, None, words=100)
    settings = training.Settings(nets.METHODS[method], **TINY | changes)
    return training.Trainer(corpus, settings)
