"""Results as text files for other programs, written in one way."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core import BundleError, write_text


def write_results(output_dir: Path, texts: Mapping[str, str]) -> None:
    """Write files by name; readers see the old ones or the new ones, nothing between.

    Raises:
        BundleError: they cannot be written.
    """
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            write_text(output_dir / name, text)
    except OSError as error:
        raise BundleError(
            f"results cannot be written to {output_dir} ({error.strerror}): free some space, or choose another "
            "output_dir."
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
