"""Trials: each is run once, saved when it is done, and not run again.

A killed experiment goes on with the first trial that is not in its file. A trial is
known by its name and by all settings, so other settings are other trials; after a
change of the code that they depend on, delete the file.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

TUNING_SEED = 1000  # of the trials that choose; results are of the seeds from 0


class Lab:
    """Where an experiment runs its trials.

    Attributes:
      wall, cpu: seconds that all trials of this experiment took, in whichever run.
      count: how many there were.
      prefix: of the names of its trials, in a part of an experiment.
    """

    def __init__(
        self,
        name: str,
        settings: Any,
        folder: Path,
        data: Path | None,
        prefix: str = "",
    ):
        # which sets there are is in the names of the trials
        fields = {k: v for k, v in settings._asdict().items() if k != "sets"}
        text = json.dumps(fields, sort_keys=True)
        self.identity = hashlib.sha256(text.encode()).hexdigest()[:16]
        self.name, self.data, self.prefix = name, data, prefix
        self.path = folder / f"{name}.jsonl"
        self.console = Console(stderr=True)
        self.wall, self.cpu, self.count = 0.0, 0.0, 0

    def run(self, trials: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
        """What each trial returns, by name, as JSON gives it back."""
        saved, results = self._saved(), {}
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console) as progress:
            bar = progress.add_task(self.name, total=len(trials))
            for short, trial in trials.items():
                name = self.prefix + short
                progress.update(bar, description=f"{self.name}: {name}")
                record = saved.get(name) or self._new(name, trial)
                results[short] = record["result"]
                self.wall += record["wall"]
                self.cpu += record["cpu"]
                self.count += 1
                progress.advance(bar)
        return results

    def tune(
        self,
        candidates: Mapping[str, Sequence[dict[str, float]]],
        trial: Callable[[str, dict[str, float], int], dict[str, Any]],
        seeds: int,
        score: str = "valid",
    ) -> dict[str, dict[str, Any]]:
        """Choose for each method on one seed, then run what was chosen on others.

        Args:
          candidates: by method, values to choose from; as many for each method.
          trial: of a method, values and a seed, a dict.
          seeds: how many there are in the end.
          score: what is least, in that dict, of the values that are chosen.

        Returns:
          By method: "chosen", the values; "tried", the scores of all; "runs", what
          `trial` returned for each seed.
        """
        counts = {len(values) for values in candidates.values()}
        if len(counts) != 1:
            raise ValueError(f"methods must have as many candidates, got {counts}")
        tried = self.run(
            {
                f"tune {method} {values}": lambda m=method, v=values: trial(
                    m, v, TUNING_SEED
                )
                for method, choices in candidates.items()
                for values in choices
            }
        )
        chosen, scores = {}, {}
        for method, choices in candidates.items():
            found = [tried[f"tune {method} {values}"][score] for values in choices]
            scores[method] = found
            # a run that diverged is the worst one
            chosen[method] = choices[int(np.argmin(np.nan_to_num(found, nan=np.inf)))]
        runs = self.run(
            {
                f"{method} {chosen[method]} seed {seed}": lambda m=method, s=seed: (
                    trial(m, chosen[m], s)
                )
                for method in candidates
                for seed in range(seeds)
            }
        )
        return {
            method: {
                "chosen": chosen[method],
                "tried": scores[method],
                "runs": [
                    runs[f"{method} {chosen[method]} seed {seed}"]
                    for seed in range(seeds)
                ],
            }
            for method in candidates
        }

    def add(self, part: "Lab") -> None:
        """Count what a part of this experiment took."""
        self.wall += part.wall
        self.cpu += part.cpu
        self.count += part.count

    def file(self, name: str, how: str) -> Path:
        """A file of the data folder, or the error that says how to get it."""
        if self.data is None or not (self.data / name).is_file():
            raise SystemExit(f"{self.name}: --data DIR must have {name}. {how}")
        return self.data / name

    def _new(self, name: str, trial: Callable[[], Any]) -> dict[str, Any]:
        wall, cpu = time.perf_counter(), time.process_time()
        result = trial()
        record = {
            "settings": self.identity,
            "name": name,
            "result": _plain(result),
            "wall": time.perf_counter() - wall,
            "cpu": time.process_time() - cpu,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            # a line that was cut off by a kill stays alone
            file.write(b"\n" + json.dumps(record).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        return json.loads(json.dumps(record))

    def _saved(self) -> dict[str, dict[str, Any]]:
        if not self.path.is_file():
            return {}
        found = {}
        for line in self.path.read_text("utf-8").splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                continue  # empty, or cut off by a kill
            if record["settings"] == self.identity:
                found[record["name"]] = record
        return found


def _plain(value: Any) -> Any:
    """Arrays as lists, and numbers with the digits of float32."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, int | str | bool | None):
        return value
    array = np.asarray(value)
    if array.ndim:
        return [_plain(part) for part in array]
    return float(f"{float(array):.7g}")
