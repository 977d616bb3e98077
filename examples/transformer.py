"""What does noise give a transformer? A small GPT on real text, with it and without.

The characters are those of `language_model.py`: CPython's own language reference, of
which a part is enough to show how a model without noise overfits. Noise is dropout on
the weights of attention, by one word in flax's own layer
(`attention_fn=jaxnoise.linen.dot_product_attention`), and drop path, whose rate rises
from 0 in the first block to the full one in the last. Each rate has the same initial
parameters, the same windows of the text in the same order and as many steps, and counts
as it was at the epoch with its best score on the first half of the held-out text. That
half chooses the rate, too. The test scores are those of the second half.

    python examples/transformer.py                         # three rates, and no noise
    python examples/transformer.py --rates 0.2 --bits 32 --seeds 3
    python examples/transformer.py --length 1024 --rows 2 --block-size 256
    python examples/transformer.py --checkpoint run1 --resume     # start, or go on

Measured with the default settings, bits per character of the test half, seeds 0 and 1:
none 3.315 and 2.931, rate 0.1 3.093 and 2.819, rate 0.2, which the other half chooses,
2.858 and 2.868, rate 0.3 3.292 and 3.077. Seeds differ by as much as noise gives.

Every key derives from (seed, step) by `fold_in`, and all else is in the checkpoints,
one for each run: runs that were killed and resumed end with the same bits as runs that
were not.
"""

import argparse
import platform
from collections.abc import Sequence
from pathlib import Path

import jax
from checkpoints import Checkpoints
from language_model_data import load_corpus
from text_training import add_flags, check_folders, identity_of, positive, train, whole
from transformer_nets import Noise
from transformer_report import Run, draw_curves, show_table
from transformer_train import Settings, Trainer

RATES = 0.1, 0.2, 0.3
SYMBOLS = 40_000  # of the training text: few enough to be learnt by heart


def main(argv: Sequence[str] | None = None) -> list[Run]:
    arguments = parse(argv)
    corpus, trainers = arguments.corpus, arguments.trainers
    text = (
        arguments.text
        or f"the language reference of CPython {platform.python_version()}"
    )
    symbols = f"{text}: {len(corpus.train):,} characters"
    print(f"{symbols} to train on, {len(corpus.valid):,} held out")
    runs = []
    for rate, trainer in trainers.items():
        for seed in arguments.all_seeds:
            checkpoints = arguments.checkpoints.get((rate, seed))
            name = f"rate {rate:g}, seed {seed}, "
            _, history = train(trainer, seed, checkpoints, name)
            runs.append(Run(rate, seed, history))
    segments = trainers[0.0].segments
    show_table(runs, segments)
    path = arguments.out / "transformer.png"
    draw_curves(runs, segments, f"A small GPT on {symbols}", path)
    print(f"curves: {path}")
    return runs


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments, and what they describe: a corpus and a trainer for each rate."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    add = parser.add_argument
    rates_help = "of dropout on attention and of drop path in the last block"
    add("--rates", nargs="+", type=positive, default=RATES, help=rates_help)
    bits_help = "random bits of a decision; default: %(default)s"
    add("--bits", type=int, choices=(8, 16, 32), default=8, help=bits_help)
    add("--block-size", type=whole, help="keys at a time in attention; default: all")
    add("--text", type=Path, help="file to train on; default: the language reference")
    add("--limit", type=whole, default=SYMBOLS, help="characters to train on")
    settings = Settings(Noise())._asdict()
    del settings["noise"]
    add_flags(parser, settings)
    add("--seeds", type=whole, default=1, help="how many, from --seed on")
    arguments = parser.parse_args(argv)
    try:
        prepare(arguments)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    return arguments


def prepare(arguments: argparse.Namespace) -> None:
    check_folders(arguments)
    corpus = load_corpus(arguments.text, None, "char", words=1, limit=arguments.limit)
    fields = {name: getattr(arguments, name) for name in Settings._fields[1:]}
    arguments.corpus, arguments.trainers, arguments.checkpoints = corpus, {}, {}
    arguments.all_seeds = range(arguments.seed, arguments.seed + arguments.seeds)
    for rate in dict.fromkeys((0.0, *arguments.rates)):
        noise = Noise(rate, rate, arguments.bits, arguments.block_size)
        trainer = Trainer(corpus, Settings(noise, **fields))
        jax.eval_shape(trainer.start, 0)  # refuses bad rates
        arguments.trainers[rate] = trainer
        for seed in arguments.all_seeds:
            if arguments.checkpoint:
                folder = arguments.checkpoint / f"rate-{rate:g}-seed-{seed}"
                identity = identity_of(corpus, trainer.settings, seed)
                checkpoints = Checkpoints(folder, identity)
                checkpoints.check(arguments.resume)
                arguments.checkpoints[rate, seed] = checkpoints
    arguments.out.mkdir(parents=True, exist_ok=True)


if __name__ == "__main__":
    main()
