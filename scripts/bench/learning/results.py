"""Finished runs as small files, and what they say together."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from bundle.core import BundleError, write_text

from .cohorts import LEVELS

BASELINES = ("true prototypes", "mean token", "untrained encoder")


class Run(NamedTuple):
    """One row of one seed.

    Attributes:
        level: of difficulty.
        seed: of cohort and training.
        method: row.
        scores: see :func:`~scripts.bench.learning.probes.probe`.
        last: means of the last epoch; empty for baselines.
        seconds: of training.
        epochs: means of each epoch that was trained after the fork, or all; runs of before kept none.
    """

    level: str
    seed: int
    method: str
    scores: dict[str, float]
    last: dict[str, float]
    seconds: float
    epochs: Sequence[dict[str, float]] = ()


class Summary(NamedTuple):
    """Mean over seeds, and half the width of its 95 % t interval (NaN for a single seed)."""

    mean: float
    half: float
    n_seeds: int


class Results:
    """A folder of finished runs, one JSON file each: what is there is not run again.

    Args:
        folder: where they are and go.
        settings: what all runs share; another folder is needed for others.

    Raises:
        BundleError: the folder holds runs with other settings.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "settings.json"
        text = json.dumps(settings, indent=1, sort_keys=True) + "\n"
        if path.exists() and path.read_text() != text:
            raise BundleError(f"{path} is of runs with other settings; give another --output, or remove the folder.")
        write_text(path, text)

    @cached_property
    def runs(self) -> list[Run]:
        """All that are finished when they are first asked for.

        Raises:
            BundleError: a file cannot be read.
        """
        return [self._read(file) for file in sorted(self.folder.glob("*/*/*.json"))]

    def _read(self, path: Path) -> Run:
        try:
            return Run(**json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise BundleError(f"{path} is no finished run ({error}); remove it, and it is run again.") from error

    def cohort_folder(self, level: str, seed: int) -> Path:
        """Where the runs of a cohort are."""
        return self.folder / level / f"seed_{seed}"

    def once(self, level: str, seed: int, method: str, work: Callable[[], dict[str, Any]]) -> None:
        """Do a run, unless it is finished, and keep what it gives: ``scores``, perhaps more."""
        path = self.cohort_folder(level, seed) / (re.sub(r"\W+", "_", method).strip("_") + ".json")
        if not path.exists():
            run = Run(level, seed, method, **{"last": {}, "seconds": 0.0, **work()})
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(run._asdict(), indent=1) + "\n")

    def levels(self) -> list[str]:
        """Those that have runs, easy ones first."""
        present = {run.level for run in self.runs}
        return [level for level in LEVELS if level in present]

    def scores(self, level: str, method: str, metric: str) -> dict[int, float]:
        """Seed -> score."""
        chosen = [run for run in self.runs if run.level == level and run.method == method and metric in run.scores]
        return {run.seed: run.scores[metric] for run in chosen}

    def summary(self, level: str, method: str, metric: str) -> Summary:
        """Over the seeds of a method."""
        return summarize(list(self.scores(level, method, metric).values()))

    def difference(self, level: str, method: str, baseline: str, metric: str) -> Summary:
        """Method minus baseline, paired over the seeds that both have."""
        ours, theirs = (self.scores(level, name, metric) for name in (method, baseline))
        return summarize([ours[seed] - theirs[seed] for seed in ours.keys() & theirs.keys()])


def summarize(values: Sequence[float]) -> Summary:
    """Mean and half width of the 95 % t interval, from independent values."""
    n = len(values)
    if n < 2:
        return Summary(float(values[0]) if n else float("nan"), float("nan"), n)
    interval = stats.ttest_1samp(values, 0).confidence_interval()
    return Summary(float(np.mean(values)), float(interval.high - interval.low) / 2, n)
