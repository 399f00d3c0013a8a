"""Results as files for readers and other programs, written in one way."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core import BundleError, write_bytes


def write_results(output_dir: Path, contents: Mapping[str, str | bytes]) -> None:
    """Write files by name; readers see the old ones or the new ones, nothing between.

    Raises:
        BundleError: one cannot be written.
    """
    for path, text in ((output_dir / name, text) for name, text in contents.items()):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, text.encode() if isinstance(text, str) else text)
        except OSError as error:
            raise BundleError(
                f"{path} cannot be written ({error.strerror}): free some space, or choose another output_dir."
            ) from error


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table; fractions have six digits."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([f"{v:.6g}" if isinstance(v, float) else v for v in row] for row in rows)
    return text.getvalue()


def plain(value: Any) -> Any:
    """As JSON holds it: records as objects, arrays as lists, None for a number that is not finite, else text."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)
