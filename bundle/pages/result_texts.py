"""Results as text files for other programs, written in one way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

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
