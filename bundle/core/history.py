"""What a run writes of its epochs, read."""

import csv
import re
from pathlib import Path

from .errors import BundleError


def read_history(path: str | Path) -> list[dict[str, float]]:
    """Rows of a run's ``history.csv``; empty cells are left out, and what was written as a whole number is one.

    Columns of runs that called the kNN of training ``knn_accuracy`` and ``knn_auc`` have their present names.

    Raises:
        BundleError: there is no such file, or it is no table of numbers.
    """
    if not Path(path).exists():
        raise BundleError(f"{path} does not exist: the run that writes it is not there, or has not finished an epoch.")
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            return [{_present(name): _number(value) for name, value in row.items() if value} for row in rows]
    except (OSError, ValueError, TypeError, AttributeError, csv.Error) as error:
        raise BundleError(
            f"{path} is no history of a run ({error}): another program has changed it, or it was copied only in part."
        ) from error


def _present(name: str) -> str:
    return re.sub(r"^(mean_token_)?knn_", r"\1loo_knn_", name)


def _number(text: str) -> float:
    return int(text) if text.isdecimal() else float(text)  # so that a resumed run writes it as it was
