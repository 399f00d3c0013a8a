"""What a run writes of its epochs, read."""

import csv
from pathlib import Path

from .errors import BundleError


def read_history(path: str | Path) -> list[dict[str, float]]:
    """Rows of a run's ``history.csv``; empty cells are left out.

    Raises:
        BundleError: there is no such file.
    """
    if not Path(path).exists():
        raise BundleError(f"{path} does not exist: the run that writes it is not there, or has not finished an epoch.")
    with Path(path).open(newline="") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
