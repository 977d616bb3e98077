"""`python -m experiments NAME`: run an experiment, or go on after a kill."""

import argparse
import importlib
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments._lab import Lab
from experiments._report import Outcome, write

ROOT = Path(__file__).resolve().parents[1]
EXPERIMENTS = {
    "mc_dropout": "Monte-Carlo dropout for regression (Gal, Ghahramani 2016)",
    "deep_ensemble": "deep ensembles beside it (Lakshminarayanan et al. 2017)",
    "concrete_dropout": "concrete dropout finds the noise (Gal et al. 2017)",
    "sparse_dropout": "sparse variational dropout prunes (Molchanov et al. 2017)",
    "zoneout": "zoneout beside recurrent dropout (Krueger et al. 2017)",
    "awd_lstm": "the parts of AWD-LSTM (Merity et al. 2018)",
    "variational_lstm": "the variational LSTM on sentiment (Gal, Ghahramani 2016)",
    "stochastic_depth": "stochastic depth, DropBlock (Huang 2016, Ghiasi 2018)",
}


def main(argv: Sequence[str] | None = None) -> list[Outcome]:
    argv = sys.argv[1:] if argv is None else list(argv)
    arguments = parse(argv)
    names = list(EXPERIMENTS) if arguments.name == "all" else [arguments.name]
    return [run(name, arguments, argv) for name in names]


def run(name: str, arguments: argparse.Namespace, argv: Sequence[str]) -> Outcome:
    module: Any = importlib.import_module(f"experiments.{name}")
    start = module.QUICK if arguments.quick else module.FULL
    settings = changed(start, arguments.set)
    # what is quick shows that an experiment runs; it must not replace a result
    folder = "out/results" if arguments.quick else "experiments/results"
    out = arguments.out or ROOT / folder
    lab = Lab(name, settings, arguments.trials, arguments.data)
    outcome: Outcome = module.run(lab, settings)
    differs = {
        field: {"here": value, "full size": getattr(module.FULL, field)}
        for field, value in settings._asdict().items()
        if value != getattr(module.FULL, field)
    }
    about = {
        "experiment": name,
        "command": _command(argv),
        "size": "reduced" if differs else "full",
        "settings": settings._asdict(),
        "reduced": differs,
        "wall_minutes": round(lab.wall / 60, 1),
        "cpu_minutes": round(lab.cpu / 60, 1),
        "trials": lab.count,
    }
    path = write(outcome, about, module.__doc__, out)
    print(path.read_text("utf-8"))
    return outcome


def _command(argv: Sequence[str]) -> str:
    """As it was called, with DIR for folders: they are another's."""
    words = list(argv)
    for place, word in enumerate(argv[:-1]):
        if word in ("--data", "--out", "--trials"):
            words[place + 1] = "DIR"
    return shlex.join(["python", "-m", "experiments", *words])


def changed(settings: Any, pairs: Sequence[str]) -> Any:
    """Settings with `field=value` in place of what they had, values as in Python."""
    for pair in pairs:
        field, _, text = pair.partition("=")
        if field not in settings._fields:
            names = ", ".join(settings._fields)
            raise SystemExit(f"--set: no setting {field!r}; there are {names}")
        old = getattr(settings, field)
        try:
            new = tuple(text.split(",")) if isinstance(old, tuple) else type(old)(text)
        except ValueError:
            message = f"--set: {field} must be like {old!r}, got {text!r}"
            raise SystemExit(message) from None
        settings = settings._replace(**{field: new})
    return settings


def parse(argv: Sequence[str]) -> argparse.Namespace:
    listed = "\n".join(f"  {name:18}{what}" for name, what in EXPERIMENTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m experiments",
        description=f"{__doc__}\n\nexperiments:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("name", choices=[*EXPERIMENTS, "all"], metavar="NAME", help="or all")
    add("--quick", action="store_true", help="the smallest size: does it run?")
    add("--data", type=Path, help="folder of the files that the experiment reads")
    add("--set", nargs="+", default=[], metavar="FIELD=VALUE", help="another size")
    add("--out", type=Path, help="folder of the results")
    add("--trials", type=Path, default=ROOT / "out" / "trials", help="finished trials")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
