"""The texts of the language model, and the table of its benchmark."""

import importlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tiny_language import TEXT, data, make_trainer, nets

pytestmark = pytest.mark.program

ROOT = Path(__file__).resolve().parents[1]
benchmark = importlib.import_module("recurrent_methods")


@pytest.fixture(scope="module")
def corpus():
    return make_trainer().corpus


def test_language_reference_has_each_paragraph_once():
    text = data.language_reference("char")
    assert len(text) > 100_000
    counts = Counter(" ".join(p.split()) for p in text.split("\n\n"))
    assert max(counts.values()) == 1


def test_characters_come_back(corpus):
    tokens = np.concatenate([corpus.train, corpus.valid])
    assert corpus.decode(tokens) == TEXT
    assert corpus.unknown == 0
    assert corpus.decode(corpus.encode("cat?")) == "cat\ufffd"


def test_words_outside_the_vocabulary_are_unknown():
    corpus = data.make_corpus("word", "a a a b b c\n a b\n", "a c d\n", words=4)
    assert corpus.vocabulary == (data.UNKNOWN, "a", "b", data.END)
    np.testing.assert_array_equal(corpus.train, [1, 1, 1, 2, 2, 0, 3, 1, 2, 3])
    np.testing.assert_array_equal(corpus.valid, [1, 0, 0, 3])
    assert corpus.unknown == 0.5
    assert corpus.decode([1, 3, 2, 0]) == "a\nb <unk>"


def test_training_rows_are_stretches_of_the_text():
    tokens = np.arange(50)
    rows = data.training_rows(tokens, 3, 5)
    np.testing.assert_array_equal(rows, [range(s, s + 16) for s in (0, 15, 30)])
    with pytest.raises(ValueError, match="more than rows x length = 10 x 5"):
        data.training_rows(tokens, 10, 5)


@pytest.mark.parametrize("size", [2, 30, 31, 32, 57])
def test_held_out_segments_have_each_symbol_once(size):
    tokens = np.arange(1, size + 1)
    inputs, targets = data.held_out_segments(tokens, 3, 5)
    assert inputs.shape == targets.shape == (-(-(size - 1) // 15), 3, 5)
    for symbols, expected in ((inputs, tokens[:-1]), (targets, tokens[1:])):
        in_order = symbols.swapaxes(0, 1).reshape(-1)
        np.testing.assert_array_equal(in_order[: size - 1], expected)
    rest = targets.swapaxes(0, 1).reshape(-1)[size - 1 :]
    assert (rest == data.IGNORED).all()


def test_committed_table_is_of_the_methods_and_numbers_beside_it():
    path = ROOT / "benchmarks" / "results" / "recurrent_methods.json"
    report = json.loads(path.read_text("utf-8"))
    assert path.with_suffix(".md").read_text("utf-8") == benchmark.markdown(report)
    rates = {name: benchmark.changed(m) for name, m in nets.METHODS.items()}
    assert report["methods"] == rates
    for entry in report["corpora"]:
        assert list(entry["runs"]) == list(rates)
        for runs in entry["runs"].values():
            assert [run["seed"] for run in runs] == [0, 1, 2]


def test_table_tells_means_deviations_and_paired_differences():
    def runs(*ends):
        pairs = enumerate(ends)
        return [
            {"seed": s, "train": [2.0], "test": [3.0, end], "seconds": 1}
            for s, end in pairs
        ]

    entry = {
        "name": "text",
        "unit": "bits per character",
        "train_file": "a.txt",
        "test_file": None,
        "train_symbols": 5,
        "test_symbols": 4,
        "vocabulary": 3,
        "test_outside_vocabulary": 0.0,
        "runs": {"none": runs(2.0, 4.0), "awd": runs(1.5, 3.0)},
    }
    *_, none, awd = benchmark.table(entry, {"none": {}, "awd": {"ar": 2.0}})
    assert none == "| none |  | 3.000 ± 1.414 | 2.500 ± 0.707 |  | 2.000 ± 0.000 |"
    assert awd.startswith("| awd | ar 2.0 | 2.250 ± 1.061 | 2.250 ± 1.061 | -0.750 ±")
