"""Which recurrent noise helps a language model? Two LSTM layers on real text.

By default on the characters of CPython's own language reference (`pydoc_data.topics`),
which is on every machine: 465 kB in Python 3.11, other versions differ, of which 373 kB
remain once repeated paragraphs are left out. The last tenth is held out. `--text` takes
any other file, `--level word` its words. Truncated backpropagation: the text is read in
rows, segment by segment, and the carry goes from each segment to the next. Ends with
bits per character (perplexity for words), a sample of text and a picture of the curves.

    python examples/language_model.py                          # --method weightdrop
    python examples/language_model.py --method none            # the same without noise
    python examples/language_model.py --method variational --mc 20     # Monte Carlo
    python examples/language_model.py --text a.txt --valid b.txt --level word
    python examples/language_model.py --checkpoint run1 --resume     # start, or go on
    python examples/language_model.py --method untied --rates input=0.4

Measured with the default settings, bits per character of the held-out text, seeds 0, 1
and 2: none 1.756, 1.752, 1.759; weightdrop 1.735, 1.731, 1.741. Not all noise helps a
small model in ten epochs: variational dropout of rate 0.1 ends at 1.755 (seed 0), and
awd, which is the best where there is less text to train on, at 1.865.

Every key derives from (seed, step) by `fold_in`, and all else is in the checkpoint: a
run that was killed and resumed ends with the same bits as one that was not.
"""

import argparse
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from checkpoints import Checkpoints
from language_model_data import load_corpus
from language_model_nets import METHODS, Method
from language_model_train import Settings, Trainer
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from text_training import (
    UNITS,
    History,
    add_flags,
    by_epoch,
    check_folders,
    identity_of,
    measure,
    positive,
    train,
    whole,
)


class Result(NamedTuple):
    """The result of a run; scores are in nats per held-out symbol."""

    params: Any
    history: History
    valid: float
    monte_carlo: float | None
    text: str


def report(trainer: Trainer, method: str, result: Result) -> None:
    level, corpus = trainer.corpus.level, trainer.corpus
    step, best = min(result.history.valid, key=lambda pair: pair[1])
    size = f"{len(corpus.valid):,} held-out symbols"
    print(f"{method}: {measure(result.valid, level):.4f} {UNITS[level]} on {size}")
    epoch = step / trainer.segments
    print(f"best on the way: {measure(best, level):.4f} after epoch {epoch:.3g}")
    if result.monte_carlo is not None:
        score = measure(result.monte_carlo, level)
        print(f"with the mean of the probabilities under noise: {score:.4f}")
    print(f"a sample:\n{result.text}")


def draw_curves(trainer: Trainer, title: str, result: Result, path: Path) -> None:
    """Scores by epoch: of the training text with noise, of the held-out one without."""
    level, segments = trainer.corpus.level, trainer.segments
    figure = Figure((6.4, 4.2), layout="constrained")
    ax = figure.subplots()
    for name, pairs, style in (
        ("training text, with noise", by_epoch(result.history.train, segments), "C0-"),
        ("held-out text", result.history.valid, "C1o-"),
    ):
        epochs = [step / segments for step, _ in pairs]
        scores = [measure(nats, level) for _, nats in pairs]
        ax.plot(epochs, scores, style, markersize=4, label=f"{name}: {scores[-1]:.3f}")
    if result.monte_carlo is not None:
        score = measure(result.monte_carlo, level)
        label = f"held-out text, mean of probabilities: {score:.3f}"
        ax.plot(epochs[-1:], [score], "k*", markersize=9, label=label)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_yscale("log" if level == "word" else "linear")
    ax.set(xlabel="epoch", ylabel=UNITS[level], title=title)
    ax.grid(alpha=0.3)
    ax.legend(frameon=False)
    figure.savefig(path, dpi=120)


def main(argv: Sequence[str] | None = None) -> Result:
    arguments = parse(argv)
    corpus, trainer = arguments.corpus, arguments.trainer
    python = f"the language reference of CPython {platform.python_version()}"
    source = arguments.text.name if arguments.text else python
    print(
        f"{arguments.text or python}: {len(corpus.train):,} symbols to train on, "
        f"{len(corpus.valid):,} held out ({corpus.unknown:.2%} of them outside the "
        f"vocabulary of {len(corpus.vocabulary):,})"
    )
    seed = arguments.seed
    state, history = train(trainer, seed, arguments.checkpoints)
    monte_carlo = None
    if arguments.mc:
        monte_carlo = trainer.monte_carlo_nats(
            state.params, corpus.valid, seed, arguments.mc
        )
    text = trainer.text(
        state.params, seed, arguments.prompt, arguments.sample, arguments.temperature
    )
    result = Result(state.params, history, history.valid[-1][1], monte_carlo, text)
    report(trainer, arguments.method, result)
    path = arguments.out / f"language_model_{arguments.method}.png"
    draw_curves(trainer, f"{arguments.method} on {source}", result, path)
    print(f"curves: {path}")
    return result


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments, and the corpus and the trainer that they describe."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    add = parser.add_argument
    add("--method", choices=METHODS, default="weightdrop")
    add("--rates", nargs="+", type=rate, default=[], metavar="NAME=VALUE")
    add("--text", type=Path, help="file to train on; default: the language reference")
    add("--valid", type=Path, help="file held out; default: the last tenth of the text")
    add("--level", choices=UNITS, default="char")
    add("--words", type=whole, default=10_000, help="size of a vocabulary of words")
    add("--limit", type=whole, help="symbols to train on; default: all")
    add("--mc", type=whole, help="samples of Monte-Carlo dropout; default: none")
    add("--sample", type=whole, default=400, help="symbols of text at the end")
    add("--prompt", default="\n", help="what they go on from")
    add("--temperature", type=positive, default=0.7)
    settings = Settings(Method())._asdict()
    del settings["method"]
    add_flags(parser, settings)
    arguments = parser.parse_args(argv)
    try:
        prepare(arguments)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    return arguments


def prepare(arguments: argparse.Namespace) -> None:
    if arguments.valid and not arguments.text:
        raise ValueError("argument --valid: only together with --text")
    check_folders(arguments)
    method = METHODS[arguments.method]._replace(**dict(arguments.rates))
    fields = {name: getattr(arguments, name) for name in Settings._fields[1:]}
    corpus = load_corpus(
        arguments.text,
        arguments.valid,
        arguments.level,
        words=arguments.words,
        limit=arguments.limit,
    )
    if not corpus.encode(arguments.prompt).size:
        raise ValueError("argument --prompt: must have a symbol, got none")
    arguments.corpus = corpus
    arguments.trainer = Trainer(corpus, Settings(method, **fields))
    jax.eval_shape(arguments.trainer.start, 0)  # refuses bad rates
    arguments.out.mkdir(parents=True, exist_ok=True)
    arguments.checkpoints = None
    if arguments.checkpoint:
        identity = identity_of(corpus, arguments.trainer.settings, arguments.seed)
        arguments.checkpoints = Checkpoints(arguments.checkpoint, identity)
        arguments.checkpoints.check(arguments.resume)


def rate(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    names = [n for n, default in Method()._asdict().items() if type(default) is float]
    if name not in names:
        known = ", ".join(names)
        raise argparse.ArgumentTypeError(f"must be of one of {known}, got {text!r}")
    return name, 0.0 if value == "0" else positive(value)


if __name__ == "__main__":
    main()
