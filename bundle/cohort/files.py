"""Small files that are either the old ones or the new ones, nothing between."""

import os
from pathlib import Path


def write_text(path: str | Path, text: str) -> None:
    """Write under a temporary name and rename: where it fails (a full disk) the file of before stays as it was.

    Raises:
        OSError: it cannot be written; the temporary file is gone then.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        part.write_text(text, encoding="utf-8", newline="")
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
