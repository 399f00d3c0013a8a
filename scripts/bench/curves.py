"""``python -m scripts.bench.curves NAME=RUN[,RUN...] ...``: losses and what is watched, as docs/README.md has it.

A run is a folder with ``history.csv`` in or below it. Of several runs the least and the most are told.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bundle.core import BundleError, read_history

from . import report

WATCHED = (
    *("loss", "self", "intra", "inter", "teacher_entropy", "kl", "teacher_spread", "instance_accuracy"),
    *("other_similarity", "center_norm", "prototype_center_norm", "dead_share", "agreement", "neighbor_agreement"),
    *("usage_entropy", "loo_knn_accuracy", "mean_token_loo_knn_accuracy"),
)
_MOMENTS = ("first epoch", "last without SLPD", "first with SLPD", "last epoch")


def moments(history: Path) -> list[dict[str, float]]:
    """The epochs of one run at ``_MOMENTS``, each its record.

    Raises:
        BundleError: the run has no epoch before SLPD began, or none after.
    """
    trained = [epoch for epoch in read_history(history) if "self" in epoch]
    with_slpd = [epoch for epoch in trained if epoch["intra"] > 0]
    before = [epoch for epoch in trained if epoch["intra"] == 0]
    if not with_slpd or not before:
        raise BundleError(f"{history}: no epoch before SLPD began, or none after.")
    return [trained[0], before[-1], with_slpd[0], trained[-1]]


def histories(words: str) -> list[Path]:
    """``history.csv`` of each run that is named, and of all below a folder that is none.

    Raises:
        BundleError: there is none.
    """
    found = [path for word in words.split(",") for path in sorted(Path(word).rglob("history.csv"))]
    if not found:
        raise BundleError(f"no history.csv in or below {words}; give folders of training runs.")
    return found


def as_table(cohorts: dict[str, list[Path]]) -> str:
    """A row a figure; for each cohort a column a moment, with the least and the most of its runs."""
    header = ["name", *(f"{cohort}, {moment}" for cohort in cohorts for moment in _MOMENTS)]
    runs = {cohort: [moments(path) for path in paths] for cohort, paths in cohorts.items()}
    rows = []
    for name in WATCHED:
        cells = [
            _span([run[i][name] for run in runs[cohort] if name in run[i]])
            for cohort in cohorts
            for i in range(len(_MOMENTS))
        ]
        if any(cells):
            rows.append([f"`{name}`", *cells])
    return report.table(header, rows)


def _span(values: list[float]) -> str:
    if not values:
        return ""
    ends = [f"{end:.2g}" for end in (min(values), max(values))]
    return " to ".join(dict.fromkeys(ends))


def main() -> None:
    """Read the runs and print the table."""
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.curves", description=__doc__)
    parser.add_argument("cohorts", nargs="+", metavar="NAME=RUN[,RUN...]")
    words = parser.parse_args().cohorts
    if not all("=" in word for word in words):
        parser.error("each word is NAME=RUN[,RUN...]")
    try:
        print(as_table({word.partition("=")[0]: histories(word.partition("=")[2]) for word in words}))
    except (BundleError, OSError) as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
