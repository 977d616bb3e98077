"""`python -m jaxnoise.testing --thorough`: are very many draws what they should be?

For every case and amount 10^8 independent units, beside the exact distribution: counts
in cells (chi-square; exact binomial where there are two), distribution functions
(Kolmogorov-Smirnov), neighbours in a row, neighbouring rows, and how much the sums of
rows and of columns scatter; for noise with a density the last four of its size, too.
The same for rows that have a key each, from `key`, `fold_in` and `split`, and for the
bytes of the random words. Rates from 1e-6 to 1 - 1e-6, known and traced, and with 8
and 16 bits, are counted against the probability that their integers give.

All p-values are two-sided. A right library fails the whole battery with probability
`FALSE_ALARM` at most (Bonferroni: each test has its share of it), over fresh seeds; the
seed is fixed, so what passes today passes tomorrow. `detects` is the smallest deviation
that is missed with probability 1e-6 at most.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxnoise as jn
from jaxnoise._core import _random
from jaxnoise.testing import _distributions
from jaxnoise.testing._case import Case
from jaxnoise.testing._cases import CASES
from jaxnoise.testing._distributions import Law
from jaxnoise.testing._p_values import MISS, Finding, Tally

FALSE_ALARM = 1e-6
DRAWS = 10**8
ROWS, COLUMNS = 2**10, 2**12  # of a chunk
ELEMENTS = 2**24  # of an array, at most
SMALL = (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 0.25)
RATES = (*SMALL, 0.5, *(1 - rate for rate in reversed(SMALL)))
FEW_BITS = {8: (1 / 256, 0.1, 0.5, 0.9, 255 / 256), 16: (1e-3, 0.1, 0.5, 0.9, 0.999)}
TESTS = ("fit", "KS", "neighbours", "rows", "row sums", "column sums")


@dataclasses.dataclass(frozen=True)
class Job:
    """Draws of one law: `draw(key, chunk)` gives units (rows, COLUMNS) in float32.

    `pairs` says whether units are compared with each other, too.
    """

    name: str
    law: Law
    draw: Callable[[jax.Array, Any], Any]
    pairs: bool = True

    @property
    def tests(self) -> int:
        """How many p-values the job gives."""
        return 1 + self.law.density + 4 * self.pairs * (1 + self.law.density)


def of_case(case: Case, amount: float, draws: int) -> Job:
    """Chunks of a case, each with a key of its own."""
    case, rows = _small_maps(case), _rows(draws)
    while math.prod(_layout(case, rows)) > ELEMENTS:
        rows //= 2

    @jax.jit
    def draw(key):
        x = jnp.full(_layout(case, rows), _distributions.X)
        y: Any = case.noise(key, x, amount)
        return case.units(y).reshape(rows, COLUMNS)

    law = _distributions.law_of(case, amount, draws)
    name = f"{case.name}: {amount}"
    return Job(name, law, lambda key, chunk: draw(jax.random.fold_in(key, chunk)))


def _rows(draws: int) -> int:
    return max(1, min(ROWS, draws // COLUMNS))


def _layout(case: Case, rows: int) -> tuple[int, ...]:
    if case.per_row:
        return case.layout(rows * COLUMNS, 1)
    return case.layout(rows, COLUMNS)


def _small_maps(case: Case) -> Case:
    """drop_block on the smallest maps that have a position with all blocks around."""
    if not case.name.startswith("drop_block"):
        return case
    return dataclasses.replace(
        case,
        layout=lambda rows, columns: (rows, 5, 5, columns),
        units=lambda y: y[:, 2, 2, :],
    )


def of_rate(rate: float, draws: int, traced: bool = False, bits: int = 32) -> Job:
    """The fraction that `dropout` drops at a rate, beside that of its integers."""
    rows = _rows(draws)

    def units(key, rate):
        return jn.dropout(key, jnp.ones((rows, COLUMNS)), rate, bits=bits)

    amount = np.float32(rate) if traced else rate
    draw = jax.jit(units) if traced else jax.jit(lambda key, _: units(key, rate))
    keep = _distributions.keep_probability(float(amount), bits)
    below_one = rate if rate <= 0.5 else f"1 - {1 - rate:.3g}"
    kind = "traced" if traced else f"{bits} bits"
    return Job(
        f"rate of dropout, {kind}: {below_one}",
        _distributions.two_values(0.5, 1 - keep),
        lambda key, chunk: draw(jax.random.fold_in(key, chunk), amount),
        pairs=False,
    )


def _seeds(key, chunk, rows):
    first = jax.random.randint(key, (), 0, 2**30)
    return jax.vmap(jax.random.key)(first + chunk * rows + jnp.arange(rows))


def _folded(key, chunk, rows):
    numbers = chunk * rows + jnp.arange(rows)
    return jax.vmap(lambda number: jax.random.fold_in(key, number))(numbers)


def _split(key, chunk, rows):
    return jax.random.split(jax.random.fold_in(key, chunk), rows)


KEYS = {"key": _seeds, "fold_in": _folded, "split": _split}


def of_keys(maker: str, case: Case, amount: float, draws: int) -> Job:
    """A key a row, neighbouring rows having neighbouring numbers."""
    rows = _rows(draws)

    @jax.jit
    def draw(key, chunk):
        x = jnp.full(COLUMNS, _distributions.X)
        keys = KEYS[maker](key, chunk, rows)
        return jax.vmap(lambda key: case.noise(key, x, amount))(keys)

    law = _distributions.law_of(case, amount, draws)
    return Job(f"a {maker} a row, {case.name}: {amount}", law, draw)


def of_byte(byte: int, draws: int) -> Job:
    """One byte of the random words, lowest first."""
    rows = _rows(draws)

    @jax.jit
    def draw(key, chunk):
        words = _random.random_bits(jax.random.fold_in(key, chunk), (rows, COLUMNS))
        return ((words >> np.uint32(8 * byte)) & np.uint32(255)).astype(np.float32)

    law = _distributions.values(np.arange(256.0), np.full(256, 1 / 256))
    return Job(f"random words, byte {byte}", law, draw)


def plan(draws: int) -> Iterator[Job]:
    """All jobs of the battery."""
    for case in CASES:
        for amount in case.amounts:
            yield of_case(case, amount, draws)
    dense = next(case for case in CASES if case.name == "gaussian_noise")
    for maker in KEYS:
        for case in (CASES[0], dense):
            yield of_keys(maker, case, 0.5, draws)
    for byte in range(4):
        yield of_byte(byte, draws)
    for traced in (False, True):
        for rate in RATES:
            yield of_rate(rate, draws, traced)
    for bits, rates in FEW_BITS.items():
        for rate in rates:
            yield of_rate(rate, draws, bits=bits)


def run(job: Job, key: jax.Array, draws: int, level: float) -> list[Finding]:
    """At least `draws` units, chunk by chunk, and the tests over all of them."""
    tally, chunk = Tally(job.law, pairs=job.pairs), 0
    while tally.counts.sum() < draws:
        tally.add(np.asarray(job.draw(key, chunk)))
        chunk += 1
    return tally.findings(level)


def main(draws: int = DRAWS, seed: int = 0) -> int:
    """Run the battery and print its table; 1 if a test fails.

    Args:
      draws: units for each row of the table, rounded up to whole chunks.
      seed: of the key from which every row has its own.
    """
    start, jobs = time.perf_counter(), list(plan(draws))
    tests = sum(job.tests for job in jobs)
    level, root = FALSE_ALARM / tests, jax.random.key(seed)
    print(
        f"{draws:.3g} draws a row, {len(jobs)} rows, {tests} tests, seed {seed}; "
        f"false-alarm rate {FALSE_ALARM:g} for all, {level:.2g} for each"
    )
    width = max(len(job.name) for job in jobs)
    print(_line("p-values", (*TESTS, "size"), "fit detects", width))
    broken, largest = [], {}
    for number, job in enumerate(jobs):
        findings = run(job, jax.random.fold_in(root, number), draws, level)
        print(_line(job.name, cells(findings), findings[0].detects, width), flush=True)
        # a p-value that is nan holds nothing
        broken += [(job.name, f) for f in findings if not f.p >= level]
        for f in findings[1:]:
            worst = largest.setdefault(f.test.removeprefix("size: "), f)
            if f.deviation > worst.deviation:
                largest[f.test.removeprefix("size: ")] = f
    for test, f in largest.items():
        print(f"{test}: detects {f.detects}")
    print(f"What is detected is missed with probability {MISS:g} at most.")
    for name, f in broken:
        print(f"FAIL {name}, {f.test}: p = {f.p:.2g}")
    seconds = time.perf_counter() - start
    print(f"{tests - len(broken)} of {tests} tests hold, {seconds:.0f} s")
    return 1 if broken else 0


def cells(findings: list[Finding]) -> list[str]:
    """p-values in the order of `TESTS`, and that of all tests of sizes as one."""
    values = {finding.test: finding.p for finding in findings}
    sizes = [p for test, p in values.items() if test.startswith("size")]
    if sizes:
        values["size"] = min(1.0, len(sizes) * min(sizes))
    return [f"{values[t]:.2g}" if t in values else "-" for t in (*TESTS, "size")]


def _line(name: str, cells: Iterable[str], last: str, width: int) -> str:
    titles = (*TESTS, "size")
    padded = [c.rjust(max(len(t), 7)) for c, t in zip(cells, titles, strict=True)]
    return "  ".join([name.ljust(width), *padded, last])
