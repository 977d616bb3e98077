"""The examples run with tiny settings, print and draw what they say, and repeat."""

import functools
import importlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.image import imread
from pictures import EXAMPLES, assert_drawn

import jaxnoise as jn
import jaxnoise.linen as jnn

pytestmark = pytest.mark.program

TINY = ["--epochs", "1", "--seeds", "1"]


@pytest.fixture(autouse=True)
def import_path(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))


@pytest.fixture
def digits():
    return importlib.import_module("digits")


@pytest.fixture
def compare_noise():
    return importlib.import_module("compare_noise")


@pytest.fixture
def replace():
    return importlib.import_module("replace")


@pytest.mark.parametrize(
    ("api", "net", "layer"),
    [("linen", "MLP", "GaussianNoise"), ("nnx", "SELU MLP", "AlphaDropout")],
)
def test_digits(digits, api, net, layer, tmp_path, capsys):
    """Table, picture, and the same numbers again for the same seed."""
    arguments = [*TINY, "--seeds", "2", "--api", api, "--out", str(tmp_path / "new")]
    arguments += ["--only", layer]
    results = digits.main(arguments)
    first = capsys.readouterr().out
    for text in ("accuracy", "NLL", "none", net, f"{layer}("):
        assert text in first
    assert_drawn(tmp_path / "new" / f"digits_{api}.png")
    assert [result.case.layer for result in results] == ["none", layer]
    for result in results:
        assert result.case.net == net
        assert result.nll.shape == result.accuracy.shape == (1, 2)
        # 28 steps leave chance, 0.1 and log(10), behind
        assert (result.accuracy > 0.5).all() and (result.nll < 0.7 * np.log(10)).all()
        assert result.nll[0, 0] != result.nll[0, 1]
    # same initial parameters and batches, so what differs is the noise
    assert (results[0].nll != results[1].nll).all()

    digits.main(arguments)
    assert capsys.readouterr().out == first


def test_digits_in_the_cnn(digits, tmp_path, capsys):
    arguments = [*TINY, "--seed", "5", "--only", "DropPath", "--out", str(tmp_path)]
    none, noisy = digits.main(arguments)
    assert none.case.net == noisy.case.net == "CNN"
    assert "±" not in capsys.readouterr().out.split("\n", 1)[1]  # no spread of one seed
    assert none.nll[-1] != noisy.nll[-1] < np.log(10)


def test_digits_has_every_layer(digits):
    layers = {
        name for name in dir(jnn) if hasattr(getattr(jnn, name), "rng_collection")
    }
    shown = {case.layer for case in digits.CASES} - {"none"}
    assert shown <= layers
    assert shown >= {"Dropout", "DropBlock", "FeatureAlphaDropout", "LaplaceNoise"}
    assert len(shown) == 11


@pytest.mark.parametrize("case", range(15))
@pytest.mark.parametrize("api", ["linen", "nnx"])
def test_nets_draw_only_with_a_key(digits, api, case):
    """Every case of both APIs: off without a key, on with one, decided by the key."""
    case = digits.CASES[case]
    init, apply = digits.NETS[api](case)
    params = init(jax.random.key(0))
    x = jax.random.uniform(jax.random.key(1), (4, 8, 8, 1))
    off, again = apply(params, x), apply(params, x)
    np.testing.assert_array_equal(off, again)
    on, same, other = (apply(params, x, jax.random.key(seed)) for seed in (2, 2, 3))
    np.testing.assert_array_equal(on, same)
    assert bool((on != off).any()) == bool((on != other).any()) == bool(case.amounts)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "--epochs: must be a positive integer, got '0'"),
        (["--epochs", "x"], "--epochs: must be a positive integer, got 'x'"),
        (["--seeds", "-1"], "--seeds: must be a positive integer, got '-1'"),
        (["--api", "keras"], "--api: invalid choice: 'keras'"),
        (["--only", "Dropuot"], "--only: invalid choice: 'Dropuot'"),
        (["--out", __file__], "--out: must be a folder, got the file"),
    ],
)
def test_digits_bad_arguments(digits, arguments, message, capsys):
    with pytest.raises(SystemExit):
        digits.main(arguments)
    assert message in capsys.readouterr().err


def test_compare_noise(compare_noise, tmp_path, capsys, monkeypatch):
    path = tmp_path / "new" / "noise.png"
    assert compare_noise.main(["--out", str(path)]) == path
    first = capsys.readouterr().out
    functions = [v.name for v in compare_noise.VARIANTS]
    assert all(f"jn.{name}(key, x, " in first for name in functions)
    assert set(functions) <= set(dir(jn)) and len(functions) == 15
    assert first.count("largest difference") == first.count("keras.layers.") == 5
    assert_drawn(path)
    assert path.stat().st_size < 300_000 and imread(path).shape[1] == 1600

    monkeypatch.setattr(compare_noise, "draw_figure", lambda seed, path: None)
    compare_noise.main(["--out", str(path)])
    assert capsys.readouterr().out == first


def test_compare_noise_laws(compare_noise):
    """The moments that it prints and draws, against the draws, 6 standard errors."""
    x = np.asarray(compare_noise.array())
    for variant in compare_noise.VARIANTS:
        if variant.law is None:
            continue
        outputs = compare_noise.draw(variant, 5).astype(np.float64)
        mean, sd = variant.law.mean(x), variant.law.sd(x)
        centred = outputs - mean
        n = len(outputs)
        assert (np.abs(centred.mean(0)) <= 6 * sd / n**0.5 + 1e-6).all(), variant.name
        spread = (centred**2).std(0) / n**0.5
        error = np.abs((centred**2).mean(0) - sd**2)
        assert (error <= 6 * spread + 1e-5).all(), variant.name


def test_compare_noise_without_keras(compare_noise, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(compare_noise.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(compare_noise, "draw_figure", lambda seed, path: None)
    compare_noise.main(["--out", str(tmp_path / "noise.png")])
    output = capsys.readouterr().out
    assert "Keras is not installed" in output
    assert "keras.layers" not in output


def test_compare_noise_keras_on_another_backend(compare_noise, monkeypatch):
    keras = importlib.import_module("keras")
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    assert compare_noise.import_keras() == (
        None,
        "Keras runs on torch, not on JAX: nothing to compare with.",
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seed", "-1"], "--seed: must be from 0 to 2^31 - 1, got -1"),
        (["--out", "noise.txt"], "--out: must be a file name in .png, got noise.txt"),
    ],
)
def test_compare_noise_bad_arguments(compare_noise, arguments, message, capsys):
    with pytest.raises(SystemExit):
        compare_noise.main(arguments)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("script", ["digits.py", "compare_noise.py"])
def test_runs_as_a_script(script):
    """From another folder and in a process of its own, as a reader would."""
    command = [sys.executable, str(EXAMPLES / script), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=True)
    assert f"python examples/{script}" in done.stdout


def test_replace(replace, capsys):
    """Dropout for dropout trains to the same bits, and another noise does not."""
    arguments = ["--epochs", "1", "--only", "dropout", "gaussian_dropout", "as it is"]
    results = replace.main(arguments)
    text = capsys.readouterr().out
    by_name = {result.name: result for result in results}
    plain, same, other = (by_name[n] for n in ("as it is", *arguments[3:5]))
    assert (plain.accuracy, plain.nll) == (same.accuracy, same.nll)
    assert plain.nll != other.nll and max(plain.nll, other.nll) < np.log(10)
    assert all(f"{result.nll:.4f}" in text for result in results)
    again = replace.main(["--epochs", "1", "--only", "gaussian_dropout"])
    assert again[0][:3] == other[:3]


def test_replace_has_every_noise_of_digits(replace, digits):
    layers = {case.layer.lower() for case in digits.CASES}
    assert {name.replace("_", "") for name in replace.REPLACEMENTS} >= layers


def test_replace_bad_arguments(replace, capsys):
    for arguments, message in (
        (["--epochs", "0"], "--epochs: must be a positive integer, got '0'"),
        (["--only", "dropuot"], "--only: invalid choice: 'dropuot'"),
    ):
        with pytest.raises(SystemExit):
            replace.main(arguments)
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("framework", ["equinox", "haiku"])
def test_per_example_models(framework, capsys):
    """They train, tell digits from noise, and drop examples, never tokens."""
    example = importlib.import_module(f"{framework}_model")
    result = example.main(["--steps", "30", "--samples", "3"])
    printed = capsys.readouterr().out
    for number in (result.accuracy, result.monte_carlo_accuracy):
        assert number > 0.2 and f"{number:.1%}" in printed
    assert 0 < result.entropy < np.log(10) and f"{result.entropy:.2f} nats" in printed

    x = jax.random.uniform(jax.random.key(0), (64, 16, 32))
    keys = jax.random.split(jax.random.key(2), 64)
    if framework == "equinox":
        branches = jax.jit(jax.vmap(example.Block(jax.random.key(1))))(x, keys) - x
    else:
        block = example.hk.transform(lambda x: example.block(x, train=True))
        params = block.init(jax.random.key(1), x[0])
        vmapped = jax.vmap(functools.partial(block.apply, params))
        branches = jax.jit(vmapped)(keys, x) - x
    dropped = np.asarray((branches == 0).all(-1))
    assert (dropped == dropped[:, :1]).all()
    assert 0 < dropped[:, 0].sum() < 32  # of 64, each with probability 0.2


TINY_GPT = "--width=8 --heads=2 --layers=2 --rows=4 --length=8 --epochs=3".split()


def test_transformer(tmp_path, capsys):
    """With noise and without: they learn, differ, and are told and drawn."""
    transformer = importlib.import_module("transformer")
    text = tmp_path / "a.txt"
    text.write_text("the cat sat on the mat.\nthe dog sat on the log.\n" * 40, "utf-8")
    flags = [f"--text={text}", f"--out={tmp_path / 'new'}", "--rates", "0.2"]
    runs = transformer.main([*flags, *TINY_GPT, "--learning-rate=0.03"])
    printed = capsys.readouterr().out
    assert [run.rate for run in runs] == [0, 0.2]
    for run in runs:
        validation, test = run.curve(0), run.curve(1)
        assert len(validation) == len(test) == 3
        assert validation[-1] < np.log2(17)  # of 16 characters, and what is not known
        assert validation[run.best] == validation.min()
        for score in (validation[run.best], test[run.best], test[-1]):
            assert f"{score:.3f}" in printed
    none, noisy = (run.curve(1)[run.best] for run in runs)
    assert none != noisy
    word = "saves" if noisy < none else "costs"
    assert f"noise {word} {abs(noisy - none):.3f}" in printed
    assert_drawn(tmp_path / "new" / "transformer.png")


def test_the_noise_of_the_transformer():
    """On attention and on branches, the same by blocks of keys, and for training."""
    nets = importlib.import_module("transformer_nets")
    tokens, key = jnp.arange(64 * 8).reshape(64, 8) % 5, jax.random.key(1)

    def model(**noise):
        return nets.Transformer(nets.Noise(**noise), 5, 8, 8, 2, layers=2)

    params = jax.jit(functools.partial(model().init, train=False))(key, tokens)

    def outputs(train=True, **noise):
        apply = jax.jit(functools.partial(model(**noise).apply, train=train))
        return apply(params, tokens, rngs={"dropout": key})

    quiet = outputs(train=False, attention=0.25, path=0.5)
    both, by_blocks, path = (
        outputs(attention=rate, path=0.5, block_size=size)
        for rate, size in ((0.25, None), (0.25, 4), (0.0, None))
    )
    np.testing.assert_allclose(both, by_blocks, atol=1e-5)
    assert all((a != b).any() for a, b in ((both, quiet), (path, quiet), (both, path)))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--rates", "1.5"], "rate must be"),
        (["--rates", "0"], "must be a positive number, got '0'"),
        (["--bits", "4"], "invalid choice: 4"),
        (["--width", "6"], "the width must be a multiple of the heads, got 6 and 4"),
        (["--limit", "100"], "more than rows x length = 16 x 64"),
        (["--resume"], "--resume: only together with --checkpoint"),
    ],
)
def test_transformer_bad_arguments(flags, message, capsys):
    transformer = importlib.import_module("transformer")
    with pytest.raises(SystemExit):
        transformer.parse(flags)
    assert message in capsys.readouterr().err
