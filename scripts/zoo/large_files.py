"""``large_files.yml``: the files that a repository is spared, with their hashes."""

from __future__ import annotations

from pathlib import Path

import yaml

from bundle.core import write_text
from bundle.networks import sha256_of

LIMIT = 25 * 1000 * 1000  # bytes; what the Model Zoo takes into its repository
NAME = "large_files.yml"


def large_files(folder: Path) -> list[str]:
    """Files of a package that are too large for the Model Zoo's repository, sorted."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.stat().st_size > LIMIT)
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def write_large_files(folder: Path, weights_url: str) -> list[str]:
    """List the package's large files, or write nothing where there is none.

    Args:
        folder: the package.
        weights_url: address below which the files will lie; empty: nobody knows yet, and ``url`` stays empty.

    Returns:
        What it lists.
    """
    names = large_files(folder)
    if names:
        entries = [
            {
                "path": name,
                "url": f"{weights_url.rstrip('/')}/{Path(name).name}" if weights_url else "",
                "hash_val": sha256_of(folder / name),
                "hash_type": "sha256",
            }
            for name in names
        ]
        write_text(folder / NAME, yaml.safe_dump({"large_files": entries}, sort_keys=False))
    return names
