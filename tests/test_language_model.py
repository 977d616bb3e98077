"""The language model example: every method, exact resume, scores, and bad arguments."""

import importlib
import math
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_language import TEXT, TINY, data, make_trainer, nets, training

pytestmark = pytest.mark.program
checkpoints_file = importlib.import_module("checkpoints")
lm = importlib.import_module("language_model")
loop = importlib.import_module("text_training")
benchmark = importlib.import_module("recurrent_methods")


@pytest.fixture(scope="module")
def corpus():
    return make_trainer().corpus


def same_bits(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


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


@pytest.mark.parametrize("flag", ["a=char", "a=line:b.txt", "a=char:missing.txt"])
def test_bad_corpus(flag, capsys):
    with pytest.raises(SystemExit):
        benchmark.main(["--corpus", flag])
    assert "argument --corpus:" in capsys.readouterr().err
