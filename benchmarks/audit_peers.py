"""Who keeps which law: the dropouts of several libraries under `jaxnoise.testing`.

`python -m benchmarks.audit_peers` runs every law over every dropout that is installed
and prints a table, its legend and, for each law that is broken, what was seen and why.
`--out FILE` writes the same as Markdown. Nothing in the table is known beforehand: each
cell is a law that was run, at rates 0.1 and 0.5, where it applies at rates 0 and 1.
"""

import argparse
import dataclasses
import datetime
import os
import sys
import textwrap
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("KERAS_BACKEND", "jax")

import flax.linen as nn
import jax
import numpy as np
from flax import nnx

import jaxnoise as jn
from benchmarks import _audit_torch, _peers
from jaxnoise.testing import LAWS, Case, LawError, Outcome, run_law


class Peer(NamedTuple):
    """A dropout as a function of the rate that gives a function (key, x) -> y.

    Where nothing is `made`, its laws are those of `_audit_torch`. `top` is the largest
    rate, None where there is only a bound.
    """

    package: str
    made: Callable[[Any], _peers.Noise] | None
    top: float | None = 1.0


PEERS = {
    "jaxnoise": Peer("jaxnoise", lambda rate: _peers.ours(jn.dropout, rate)()),
    "flax.linen": Peer("flax", lambda rate: _peers.linen(nn, rate=rate)()),
    "flax.nnx": Peer("flax", lambda rate: _peers.of_nnx(nnx, rate=rate)()),
    "equinox": Peer("equinox", lambda rate: _peers.equinox(rate)),
    # its rates are in [0, 1)
    "haiku": Peer("dm-haiku", lambda rate: _peers.haiku(rate=rate)(), None),
    "Keras": Peer("keras", lambda rate: _peers.keras("Dropout", rate)()),
    "PyTorch": Peer("torch", None),
}
PROMISED = ("shape", "repeats", "key", "batching", "off", "moments", "independence")
"""What the documentation of every library says: x has some of its elements zeroed at
random and is otherwise scaled by 1 / (1 - rate), and randomness is decided by the key,
under vmap too (by the seed in PyTorch). No peer says anything about the other laws."""
BEYOND = {("haiku", "shape"): "strict promotion"}
"""Parts of promised laws that nobody promised."""

WHY = {
    "shape": "a bool mask is multiplied with x, an implicit promotion; without "
    "`jax_numpy_dtype_promotion=strict` shape and dtype come back",
    "precision": "scaled in the dtype of x, by a number that is rounded to it, too",
    "sharding": "the mask is drawn without the sharding of x",
    "x64": "for a Python float `jax.random.bernoulli` draws 64 bits in x64 mode",
    "traced": "an `if` needs the value of the rate; equinox and haiku compile once, "
    "but x / q is another rounding than x times the constant 1 / q",
    "errors": "each is the first of the bad calls that is no error, or another one",
    "gradients": "x / (1 - rate) is differentiated at rate 1",
    "residuals": "more than a mask is kept for the backward pass",
    "selection": "x is multiplied by the mask, and nan times 0 is nan",
}
"""Causes, read in the sources of the peers; what was seen stands beside them."""

MARKS = {
    "ok": "yes",
    "rounding": "≈",
    "broken": "**no**",
    "beyond": "(no)",
    "-": "-",
}
LEGEND = """\
- yes: the law held. ≈: it held to rounding (4 ulps), not to the bit.
- **no**: broken, though the documentation of the library promises it.
- (no): broken, and never promised: the laws are those of jaxnoise.
- -: cannot be asked: PyTorch has no keys, no tracing, no sharding and no x64 of JAX."""


def audit(name: str, laws: Iterable[str] = LAWS) -> list[Outcome]:
    """The laws over one dropout; raises ImportError where it is not installed."""
    peer = PEERS[name]
    case = Case(
        name,
        _audit_torch.noise if peer.made is None else _noise(peer.made),
        mean=lambda x, rate: x,
        variance=lambda x, rate: x**2 * rate / (1 - rate),
        dropped=lambda rate: 0.0,
        top=peer.top,
    )
    if peer.made is None:
        _audit_torch.torch()
        return [_judged(_torch_outcome(law, case)) for law in laws]
    takes_tracers = _takes_tracers(case)
    outcomes = []
    for law in laws:
        # whether amounts may be traced is asked once, by the law of that name
        asked = dataclasses.replace(case, traced=takes_tracers or law == "traced")
        outcome = run_law(law, asked)
        if outcome.status == "broken":
            rounded = run_law(law, dataclasses.replace(asked, exact=False))
            if rounded.status == "ok":
                outcome = dataclasses.replace(outcome, status="rounding")
        outcomes.append(_judged(outcome))
    return outcomes


def _noise(made):
    return lambda key, x, rate: made(rate)(key, x)


def _takes_tracers(case: Case) -> bool:
    try:
        jax.eval_shape(case.noise, case.key(), case.input(), np.float32(0.5))
    except jax.errors.ConcretizationTypeError:
        return False
    return True


def _torch_outcome(law: str, case: Case) -> Outcome:
    if law in _audit_torch.NOT_ASKED:
        return Outcome(case.name, law, "-", _audit_torch.NOT_ASKED[law])
    if law not in _audit_torch.LAWS:
        return run_law(law, case)
    try:
        return Outcome(case.name, law, "ok", _audit_torch.LAWS[law](case))
    except LawError as error:
        return Outcome(case.name, law, "broken", str(error))


def _judged(outcome: Outcome) -> Outcome:
    promised = outcome.law in PROMISED and (outcome.case, outcome.law) not in BEYOND
    if outcome.status != "broken" or promised:
        return outcome
    return dataclasses.replace(outcome, status="beyond")


def table(outcomes: list[Outcome]) -> str:
    """Laws by libraries, in Markdown."""
    names = list(dict.fromkeys(o.case for o in outcomes))
    marks = {(o.case, o.law): MARKS[o.status] for o in outcomes}
    heads = [f"{name} {version(PEERS[name].package)}" for name in names]
    lines = [f"| law | {' | '.join(heads)} |", "|---" * (len(names) + 1) + "|"]
    for law in LAWS:
        cells = [marks[name, law] for name in names if (name, law) in marks]
        if cells:
            lines.append(f"| {law} | {' | '.join(cells)} |")
    return "\n".join(lines)


def notes(outcomes: list[Outcome]) -> str:
    """A line for each law that somebody broke: why, and what was seen of whom."""
    lines = []
    for law in LAWS:
        seen: dict[str, list[str]] = {}
        for o in outcomes:
            if o.law == law and o.status not in ("ok", "-"):
                seen.setdefault(_first_sentence(o), []).append(o.case)
        if seen:
            found = "; ".join(f"{', '.join(who)}: {what}" for what, who in seen.items())
            lines.append(f"- {law}: {WHY.get(law, 'unknown')}. Seen of {found}")
    return "\n".join(lines)


def _first_sentence(outcome: Outcome) -> str:
    text = outcome.detail.removeprefix(f"{outcome.law} law, {outcome.case}: ")
    sentence = text.splitlines()[0].partition(". ")[0].rstrip(".")
    return textwrap.shorten(sentence, 120, placeholder=" ...")


def report(outcomes: list[Outcome]) -> str:
    """The file: what it is, the table, the legend, the notes."""
    device = jax.devices()[0]
    return (
        "# Which dropout keeps which law\n\n"
        f"{datetime.date.today()}, {jax.device_count()} x {device.platform}, jax "
        f"{version('jax')}, Python {sys.version.split()[0]}; written by\n"
        "`python -m benchmarks.audit_peers`. The laws are described in "
        "`jaxnoise.testing`. Where a rate must\nbe known, those that would trace it "
        "were run at known rates.\n\n"
        f"{table(outcomes)}\n\n{LEGEND}\n\n"
        f"## What was seen, and why\n\n{notes(outcomes)}\n"
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.audit_peers", description=__doc__
    )
    parser.add_argument("--out", type=Path, help="a Markdown file to write, too")
    flags = parser.parse_args(argv)
    outcomes = []
    for name in PEERS:
        try:
            outcomes += audit(name)
        except ImportError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
    text = report(outcomes)
    print(text)
    if flags.out:
        flags.out.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    # before JAX makes its backend: sharding needs devices
    jax.config.update("jax_num_cpu_devices", 8)
    sys.exit(main())
