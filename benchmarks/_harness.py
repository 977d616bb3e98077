"""Candidates that take turns: their times, temporary memory and compile time.

All candidates of a table are timed in one process, round after round and in an order
that changes, so that whatever else the machine does falls on each of them alike. A
ratio is the median over the rounds of the ratios within a round.
"""

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

MIB = 2**20
SAMPLE = 2e-4  # seconds: shorter calls are timed several at a time
ROUNDS = (5, 200)  # the least and the most

Row = dict[str, Any]


class Candidate(NamedTuple):
    """A program to be timed, and its memory as its compiler states it."""

    run: Callable[[], object]
    compile_seconds: float | None = None
    temporary_bytes: int | None = None


def compiled(function: Callable, *args) -> Candidate:
    """A call of the function as one program of XLA.

    The arguments are arguments of the program, the key too: nothing is folded. Caches
    are cleared, so that none compiles faster for what an earlier one has traced.
    """
    jax.clear_caches()
    start = time.perf_counter()
    program = jax.jit(function).lower(*args).compile()
    seconds = time.perf_counter() - start
    memory = program.memory_analysis()
    temporary = None if memory is None else memory.temp_size_in_bytes
    return Candidate(lambda: program(*args), seconds, temporary)


def called(function: Callable, *args) -> Candidate:
    """A call of the function as it is, outside of `jit`."""
    return Candidate(lambda: function(*args))


def compiling(function: Callable, *args) -> Candidate:
    """Tracing and compiling the function with nothing in the caches."""

    def run():
        jax.clear_caches()
        jax.jit(function).lower(*args).compile()

    return Candidate(run)


def prepared(
    factories: Mapping[str, Callable[[], Candidate]], own: str
) -> dict[str, Candidate]:
    """The candidates that can be made here, each run once.

    Of the others it prints why not; those whose names start with `own` have to work.
    """
    ready = {}
    for name, make in factories.items():
        try:
            candidate = make()
            timed(candidate.run)
        except Exception as error:
            if name.startswith(own):
                raise
            _say_once(f"{name}: left out, {type(error).__name__}: {error}")
        else:
            ready[name] = candidate
    return ready


@functools.cache
def _say_once(text: str) -> None:
    print(text)


def timed(run: Callable[[], object], calls: int = 1) -> float:
    """Seconds for one of so many calls, to the end of its computation."""
    # on CPU two calls might overlap, on other devices they queue behind each other
    one_by_one = jax.default_backend() == "cpu"
    done = None
    start = time.perf_counter()
    for _ in range(calls):
        done = run()
        if one_by_one:
            jax.block_until_ready(done)
    jax.block_until_ready(done)
    return (time.perf_counter() - start) / calls


def interleaved(
    candidates: Mapping[str, Candidate],
    rounds: int,
    calls: Mapping[str, int] | None = None,
) -> dict[str, np.ndarray]:
    """Seconds for a call of each candidate in each round."""
    names, order = list(candidates), np.random.default_rng(0)
    times = {name: np.empty(rounds) for name in names}
    for round_number in range(rounds):
        for i in order.permutation(len(names)):
            name = names[i]
            count = calls[name] if calls else 1
            times[name][round_number] = timed(candidates[name].run, count)
    return times


def measured(
    candidates: Mapping[str, Candidate], seconds: float, ours: str, limit: str | None
) -> list[Row]:
    """One row for each candidate, from rounds that fill so many seconds if they can."""
    once = {name: timed(candidate.run) for name, candidate in candidates.items()}
    calls = {name: 1 + int(SAMPLE / duration) for name, duration in once.items()}
    duration = sum(once[name] * calls[name] for name in once)
    rounds = int(np.clip(seconds / duration, *ROUNDS))
    times = interleaved(candidates, rounds, calls)
    rows = []
    for name, candidate in candidates.items():
        took = times[name]
        compile_seconds, temporary = candidate[1:]
        over_limit = None if limit is None else _median_ratio(took, times[limit])
        rows.append(
            {
                "name": name,
                "rounds": rounds,
                "median_ms": 1e3 * float(np.median(took)),
                "least_ms": 1e3 * float(took.min()),
                "over_limit": over_limit,
                "over_ours": _median_ratio(took, times[ours]),
                "temporary_mib": None if temporary is None else temporary / MIB,
                "compile_ms": None
                if compile_seconds is None
                else 1e3 * compile_seconds,
            }
        )
    return rows


def _median_ratio(times: np.ndarray, base: np.ndarray) -> float:
    return float(np.median(times / base))
