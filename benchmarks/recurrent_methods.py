"""The methods of recurrent noise side by side, on text given by flags.

The language model of `examples/language_model.py`, trained with each method from the
same initial parameters, on the same segments in the same order, for the same number of
steps. Writes a table (Markdown) and all the numbers behind it (JSON).

    python benchmarks/recurrent_methods.py \\
        --corpus wikitext2=word:wikitext2_valid.txt:wikitext2_test.txt \\
        --corpus shakespeare=char:tinyshakespeare.txt

In the results kept here AWD-LSTM is below no noise on both texts, and all the others
are within 1.2 % of it, on either side. The models are small and the texts short, and
the rates are the example's, found on its own corpus and not on these.

A corpus is NAME=LEVEL:TRAIN[:TEST], LEVEL being char or word; without TEST the last
tenth of the file is held out.
"""

import argparse
import importlib
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console
from rich.progress import Progress

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "examples"))
text = importlib.import_module("language_model_data")
nets = importlib.import_module("language_model_nets")
training = importlib.import_module("language_model_train")
loop = importlib.import_module("text_training")

PACKAGES = ("jax", "jaxlib", "flax", "optax", "jaxnoise")


class Source(NamedTuple):
    name: str
    level: str
    train: Path
    test: Path | None


def source(flag: str) -> Source:
    name, _, rest = flag.partition("=")
    level, *files = rest.split(":")
    if level not in loop.UNITS or not 1 <= len(files) <= 2:
        message = f"must be NAME=char|word:TRAIN[:TEST], got {flag!r}"
        raise argparse.ArgumentTypeError(message)
    paths = [Path(file) for file in files]
    for path in paths:
        if not path.is_file():
            raise argparse.ArgumentTypeError(f"no such file: {path}")
    return Source(name, level, paths[0], paths[1] if paths[1:] else None)


def load(origin: Source, arguments: argparse.Namespace) -> Any:
    corpus = text.load_corpus(
        origin.train,
        origin.test,
        origin.level,
        words=arguments.words,
        limit=arguments.limit,
    )
    return corpus._replace(valid=corpus.valid[: arguments.test_limit])


def run(trainer: Any, seed: int) -> dict[str, Any]:
    """Scores by epoch: in training, with noise, and of the test text, without."""
    begin = time.perf_counter()
    level, state, step = trainer.corpus.level, trainer.start(seed), 0
    scores: dict[str, list[float]] = {"train": [], "test": []}
    total = 0.0
    while step < trainer.steps:
        state, end, nats = trainer.advance(state, seed, step)
        total, step = total + nats * (end - step), end
        if step % trainer.segments == 0:
            mean, total = total / trainer.segments, 0.0
            test = trainer.nats(state.params, trainer.corpus.valid)
            scores["train"].append(round(loop.measure(mean, level), 5))
            scores["test"].append(round(loop.measure(test, level), 5))
    seconds = round(time.perf_counter() - begin, 1)
    return {"seed": seed, **scores, "seconds": seconds}


def measure_all(arguments: argparse.Namespace, report: dict[str, Any]) -> None:
    """Fill the report, and write it after each method."""
    methods, seeds = arguments.methods, range(arguments.seeds)
    fields = {"epochs": arguments.epochs, "features": arguments.features}
    console = Console(stderr=True)
    with Progress(console=console) as progress:
        total = len(arguments.corpus) * len(methods) * len(seeds)
        task = progress.add_task("", total=total)
        for origin in arguments.corpus:
            corpus = load(origin, arguments)
            entry = describe(origin, corpus)
            report["corpora"].append(entry)
            for method in methods:
                settings = training.Settings(nets.METHODS[method], **fields)
                trainer = training.Trainer(corpus, settings)
                runs = entry["runs"][method] = []
                for seed in seeds:
                    progress.update(task, description=f"{origin.name} {method} {seed}")
                    runs.append(run(trainer, seed))
                    progress.advance(task)
                write(report, arguments.out)


def describe(origin: Source, corpus: Any) -> dict[str, Any]:
    return {
        "name": origin.name,
        "unit": loop.UNITS[origin.level],
        "train_file": origin.train.name,
        "test_file": origin.test.name if origin.test else None,
        "train_symbols": len(corpus.train),
        "test_symbols": len(corpus.valid),
        "vocabulary": len(corpus.vocabulary),
        "test_outside_vocabulary": corpus.unknown,
        "runs": {},
    }


def header(arguments: argparse.Namespace, argv: Sequence[str]) -> dict[str, Any]:
    settings = training.Settings(nets.Method())._asdict()
    settings |= {"epochs": arguments.epochs, "features": arguments.features}
    del settings["method"], settings["steps"]
    return {
        "command": shlex.join(["python", "benchmarks/recurrent_methods.py", *argv]),
        "versions": {name: version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "device": f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores",
        "settings": settings,
        "methods": {name: changed(nets.METHODS[name]) for name in arguments.methods},
        "corpora": [],
    }


def changed(method: Any) -> dict[str, Any]:
    """The fields of a method that are not those of no noise."""
    plain = nets.Method()._asdict()
    return {k: v for k, v in method._asdict().items() if v != plain[k]}


def write(report: dict[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recurrent_methods.json"
    path.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    path.with_suffix(".md").write_text(markdown(report), "utf-8")


def markdown(report: dict[str, Any]) -> str:
    settings = ", ".join(f"{k} {v}" for k, v in report["settings"].items())
    versions = ", ".join(f"{k} {v}" for k, v in report["versions"].items())
    lines = [
        "# Methods of recurrent noise, side by side",
        "",
        "Mean and standard deviation over seeds. *end*: test text after the last",
        "epoch; *lowest*: the lowest of all epochs, which favours what over-fits;",
        "*- none*: the difference from no noise at the end, seed by seed; *train*: the",
        "last epoch, with noise. Lower is better. All methods start from the same",
        "parameters and read the same segments in the same order. `<unk>` counts as a",
        "word, so perplexities here cannot be set beside published ones.",
        "",
        f"    {report['command']}",
        "",
        f"Python {report['python']}, {versions}; {report['device']}.",
        "",
        f"Each run: {settings}.",
    ]
    for entry in report["corpora"]:
        lines += ["", *table(entry, report["methods"])]
    return "\n".join(lines) + "\n"


def table(entry: dict[str, Any], methods: dict[str, dict[str, Any]]) -> list[str]:
    test = entry["test_file"] or f"the last tenth of {entry['train_file']}"
    lines = [
        f"## {entry['name']}: {entry['unit']}",
        "",
        f"Trained on the first {entry['train_symbols']:,} symbols of "
        f"{entry['train_file']}, tested on the first {entry['test_symbols']:,} of "
        f"{test}; a vocabulary of {entry['vocabulary']:,}, with "
        f"{entry['test_outside_vocabulary']:.2%} of the test text outside it.",
        "",
        "| method | what is on | end | lowest | - none | train |",
        "|---|---|---|---|---|---|",
    ]
    places = 1 if entry["unit"] == "perplexity" else 3
    plain = [run["test"][-1] for run in entry["runs"].get("none", [])]
    for name, runs in entry["runs"].items():
        end = np.array([run["test"][-1] for run in runs])
        lowest = np.array([min(run["test"]) for run in runs])
        train = np.array([run["train"][-1] for run in runs])
        gain = spread(end - plain, places, "+") if plain and name != "none" else ""
        on = ", ".join(f"{k} {v}" for k, v in methods[name].items())
        means = [spread(scores, places) for scores in (end, lowest, train)]
        cells = (name, on, *means[:2], gain, means[2])
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def spread(values: np.ndarray, places: int, sign: str = "") -> str:
    mean = f"{values.mean():{sign}.{places}f}"
    if len(values) == 1:
        return mean
    return f"{mean} ± {values.std(ddof=1):.{places}f}"


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    argv = sys.argv[1:] if argv is None else argv
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    add = parser.add_argument
    add("--corpus", type=source, action="append", required=True)
    add("--methods", nargs="+", choices=nets.METHODS, default=list(nets.METHODS))
    add("--seeds", type=int, default=3)
    add("--epochs", type=int, default=12)
    add("--features", type=int, default=128)
    add("--limit", type=int, default=25_000, help="symbols to train on")
    add("--test-limit", type=int, default=10_000, help="symbols to test on")
    add("--words", type=int, default=2_000, help="size of a vocabulary of words")
    add("--out", type=Path, default=ROOT / "benchmarks" / "results")
    arguments = parser.parse_args(argv)
    report = header(arguments, argv)
    measure_all(arguments, report)
    print(markdown(report))
    return report


if __name__ == "__main__":
    main()
