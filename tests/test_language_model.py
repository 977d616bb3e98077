"""The language model example: every method, exact resume, scores, and bad arguments."""

import functools
import importlib
import json
import math
import os
import sys
from collections import Counter
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytestmark = pytest.mark.program

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "examples"), str(ROOT / "benchmarks")]
checkpoints_file = importlib.import_module("checkpoints")
lm = importlib.import_module("language_model")
data = importlib.import_module("language_model_data")
nets = importlib.import_module("language_model_nets")
loop = importlib.import_module("text_training")
training = importlib.import_module("language_model_train")
benchmark = importlib.import_module("recurrent_methods")

TEXT = "the cat sat on the mat.\nthe dog sat on the log.\n" * 12
TINY = {"embedding": 3, "features": 4, "layers": 1, "rows": 2, "length": 6, "epochs": 2}


@functools.cache
def make_trainer(method="variational", **changes):
    """Trainers by method and settings, each compiled once for all the tests."""
    corpus = data.make_corpus("char", TEXT, None, words=100)
    settings = training.Settings(nets.METHODS[method], **TINY | changes)
    return training.Trainer(corpus, settings)


@pytest.fixture(scope="module")
def corpus():
    return make_trainer().corpus


def same_bits(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


# --- methods -----------------------------------------------------------------------


@pytest.mark.parametrize("method", nets.METHODS)
def test_method_learns_and_its_noise_is_for_training(corpus, method):
    trainer = make_trainer(method, epochs=4, learning_rate=0.03)
    state, step = trainer.start(0), 0
    before = trainer.nats(state.params, corpus.valid)
    while step < trainer.steps:
        state, step, nats = trainer.advance(state, 0, step)
        assert math.isfinite(nats)
    assert trainer.nats(state.params, corpus.valid) < 0.9 * before

    quiet = trainer.log_likelihoods(state.params, corpus.valid)
    again = trainer.log_likelihoods(state.params, corpus.valid)
    noisy = trainer.log_likelihoods(state.params, corpus.valid, jax.random.key(1))
    np.testing.assert_array_equal(quiet, again)
    assert bool((quiet == noisy).all()) == (method == "none")


def test_methods_are_the_published_ones():
    masks = {}
    for name, method in nets.METHODS.items():
        cell = nets.LanguageModel(method, 5, 3, 4, 2).cell()
        noise = cell.sample_noise(jax.random.key(0), (2, 3), 6)
        masks[name] = {k: v.shape for k, v in noise._asdict().items() if v is not None}
    assert masks == {
        "none": {},
        "naive": {"input": (6, 2, 3)},
        "variational": {"input": (2, 3), "recurrent": (2, 4)},
        "untied": {"input": (4, 2, 3), "recurrent": (4, 2, 4)},
        "zoneout": {"zoneout_hidden": (6, 2, 4), "zoneout_cell": (6, 2, 4)},
        "candidate": {"candidate": (2, 4)},
        "weightdrop": {"weight": (4, 4, 4)},
        "awd": {"input": (2, 3), "weight": (4, 4, 4)},
    }
    awd = nets.METHODS["awd"]
    assert min(awd.ar, awd.tar, awd.embedding, awd.output) > 0


@pytest.mark.parametrize("method", ["awd", "naive"])
def test_output_mask_is_locked_unless_drawn_per_step(method):
    model = nets.LanguageModel(nets.METHODS[method]._replace(output=0.5), 5, 3, 16, 1)
    params = model.initialise(jax.random.key(0))
    tokens = jnp.zeros((2, 9), jnp.int32)
    _, _, activations = model.run(params, tokens, model.start(2), jax.random.key(1))
    raw, dropped = map(np.asarray, activations)
    kept = dropped != 0
    np.testing.assert_allclose(dropped[kept], 2 * raw[kept], rtol=1e-6)
    assert (kept == kept[:, :1]).all() == (method == "awd")
    assert not (kept == kept[:1]).all()


def test_penalties_reach_the_gradient(corpus):
    plain = make_trainer("none")
    method = nets.METHODS["none"]._replace(ar=2.0, tar=1.0)
    awd = training.Trainer(corpus, plain.settings._replace(method=method))
    states = [t.advance(t.start(0), 0, 0)[0] for t in (plain, awd)]
    with pytest.raises(AssertionError):
        same_bits(*(state.params for state in states))


# --- scores ------------------------------------------------------------------------


def test_scores_carry_the_state_over_segments(corpus):
    """Segment by segment is the same as the whole text at once."""
    trainer = make_trainer(rows=1)
    params, tokens = trainer.start(0).params, corpus.valid
    logits, _, _ = trainer.model.run(
        params, tokens[None, :-1], trainer.model.start(1), None
    )
    whole = jax.nn.log_softmax(logits[0])[np.arange(len(tokens) - 1), tokens[1:]]
    scores = trainer.log_likelihoods(params, tokens)
    assert scores.shape == (len(tokens) - 1,)
    np.testing.assert_allclose(scores, whole, rtol=1e-5)


def test_masks_of_a_sample_last_for_the_whole_text(corpus):
    short, long = make_trainer(rows=1), make_trainer(rows=1, length=24)
    params, key = short.start(0).params, jax.random.key(3)
    scores = [t.log_likelihoods(params, corpus.valid, key) for t in (short, long)]
    np.testing.assert_allclose(*scores, rtol=1e-5)


def test_monte_carlo_averages_probabilities(corpus):
    trainer = make_trainer()
    params, samples = trainer.start(0).params, 5
    root = loop.key_for(7, loop.MONTE_CARLO)
    keys = [jax.random.fold_in(root, n) for n in range(samples)]
    scores = [trainer.log_likelihoods(params, corpus.valid, key) for key in keys]
    wide = np.asarray(jnp.stack(scores), np.float64)
    assert len(np.unique(wide[:, 0])) == samples
    expected = -np.mean(np.log(np.mean(np.exp(wide), axis=0)))
    nats = trainer.monte_carlo_nats(params, corpus.valid, 7, samples)
    np.testing.assert_allclose(nats, expected, rtol=1e-6)
    assert nats < -wide.mean()  # Jensen


def test_filled_up_places_do_not_count():
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3)), jnp.float32)
    scores = nets.log_likelihood(logits, jnp.array([2, data.IGNORED]))
    wide = np.asarray(logits, np.float64)[0]
    np.testing.assert_allclose(
        scores[0], wide[2] - np.log(np.exp(wide).sum()), rtol=1e-6
    )
    assert scores[1] == 0


# --- resume ------------------------------------------------------------------------


class Killed(Exception):
    pass


def test_a_checkpoint_has_the_notes_of_its_moment(tmp_path, monkeypatch):
    """Orbax writes them while the run goes on and notes more."""
    checkpoints, notes = checkpoints_file.Checkpoints(tmp_path, {}), [[1]]
    save = checkpoints.manager.save

    def saved_later(*arguments, **options):
        notes[0].append(2)
        save(*arguments, **options)

    monkeypatch.setattr(checkpoints.manager, "save", saved_later)
    checkpoints.save(1, {"w": jnp.ones(1)}, notes)
    checkpoints.manager.wait_until_finished()
    assert checkpoints.restore({"w": jnp.zeros(1)})[2] == [[1]]
    checkpoints.close()


def test_resumed_run_ends_with_the_same_bits(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHUNK", 7)
    monkeypatch.setattr(loop, "SAVED", 2)

    def checkpoints():
        identity = loop.identity_of(corpus, trainer.settings, 5)
        return checkpoints_file.Checkpoints(tmp_path, identity)

    trainer = make_trainer("awd")
    state, history = loop.train(trainer, 5)
    advance = training.Trainer.advance

    def dies(self, state, seed, step):
        if step > trainer.segments + 15:
            raise Killed
        return advance(self, state, seed, step)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(training.Trainer, "advance", dies)
        loop.train(trainer, 5, checkpoints())
    resumed = training.Trainer(corpus, trainer.settings)  # compiles anew
    assert checkpoints().restore(resumed.start(5))[0] % trainer.segments > 0
    again, its_history = loop.train(resumed, 5, checkpoints())
    same_bits(again, state)
    assert its_history == history


def test_checkpoint_of_another_run_is_refused(corpus, tmp_path):
    trainer = make_trainer()

    def checkpoints(settings):
        identity = loop.identity_of(corpus, settings, 0)
        return checkpoints_file.Checkpoints(tmp_path, identity)

    first = checkpoints(trainer.settings)
    first.check(resume=False)
    assert first.step is None
    with pytest.raises(FileNotFoundError, match="no checkpoint in"):
        first.restore(trainer.start(0))
    first.save(1, trainer.start(0), loop.History([(1, 2.0)], []))
    first.close()
    checkpoints(trainer.settings).check(resume=True)
    with pytest.raises(ValueError, match="checkpoint of step 1 already"):
        checkpoints(trainer.settings).check(resume=False)
    with pytest.raises(ValueError, match=r"another clip: 1\.0, this one has 2\.0"):
        checkpoints(trainer.settings._replace(clip=2.0)).check(resume=True)


# --- text --------------------------------------------------------------------------


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


# --- the command -------------------------------------------------------------------


@pytest.mark.parametrize(("level", "layers"), [("char", 2), ("word", 1)])
def test_command_prints_and_draws(level, layers, tmp_path, capsys):
    text, valid = tmp_path / "a.txt", tmp_path / "b.txt"
    text.write_text(TEXT, "utf-8")
    valid.write_text(TEXT[:100], "utf-8")
    flags = [f"--{name}={value}" for name, value in TINY.items()]
    files = [f"--text={text}", f"--valid={valid}", f"--out={tmp_path}"]
    more = [f"--layers={layers}", "--mc=2", "--sample=20", "--words=8"]
    rates = ["--method", "untied", "--rates", "recurrent=0.1"]
    result = lm.main([*flags, *files, f"--level={level}", *more, *rates])
    printed = capsys.readouterr().out
    assert f"{loop.measure(result.valid, level):.4f} {loop.UNITS[level]}" in printed
    assert result.text in printed
    assert len(result.history.valid) == 2
    assert result.monte_carlo is not None
    png = tmp_path / "language_model_untied.png"
    assert png.read_bytes().startswith(b"\x89PNG")


def test_measures():
    assert loop.measure(math.log(8), "char") == pytest.approx(3)
    assert loop.measure(math.log(8), "word") == pytest.approx(8)


def test_epochs_are_averaged_over_their_steps():
    chunks = [(2, 1.0), (3, 4.0), (5, 2.0), (6, 5.0)]
    assert loop.by_epoch(chunks, 3) == [(3, 2.0), (6, 3.0)]


def test_the_printed_training_score_is_that_of_the_picture():
    """The mean of the epoch, not the score of the last few steps."""
    trainer, nats = make_trainer(), math.log(2)
    epoch = trainer.segments
    chunks = [(epoch, 9 * nats), (epoch + 1, 4 * nats), (epoch + 3, nats)]
    history = loop.History(chunks, [(epoch, 3 * nats)])
    label = loop.progress_label(trainer, history)
    assert label == "epoch 2, bits per character: train 2.000, valid 3.000"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--method", "dropout"], "invalid choice: 'dropout'"),
        (["--rates", "input=1.5"], "input_rate must be"),
        (["--rates", "tied=1"], "must be of one of input, recurrent"),
        (["--rates", "input=much"], "must be a positive number, got 'much'"),
        (["--epochs", "0"], "must be a positive integer, got '0'"),
        (["--learning-rate", "nan"], "must be a positive number, got 'nan'"),
        (["--rows", "100000"], "more than rows x length"),
        (["--valid", "b.txt"], "--valid: only together with --text"),
        (["--text", "missing.txt"], "missing.txt"),
        (["--text", __file__, "--valid", os.devnull], "must have 2 symbols, got 0"),
        (["--resume"], "--resume: only together with --checkpoint"),
        (["--prompt", ""], "--prompt: must have a symbol"),
        (["--out", __file__], "--out: must be a folder"),
    ],
)
def test_bad_arguments(flags, message, capsys):
    with pytest.raises(SystemExit):
        lm.parse(flags)
    assert message in capsys.readouterr().err


# --- the benchmark -----------------------------------------------------------------


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


@pytest.mark.parametrize("flag", ["a=char", "a=line:b.txt", "a=char:missing.txt"])
def test_bad_corpus(flag, capsys):
    with pytest.raises(SystemExit):
        benchmark.main(["--corpus", flag])
    assert "argument --corpus:" in capsys.readouterr().err
