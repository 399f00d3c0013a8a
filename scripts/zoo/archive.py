"""A folder as a zip whose bytes depend on the folder's contents alone."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

_TIME = (1980, 1, 1, 0, 0, 0)  # the first that a zip can hold
_STORED = {".pt", ".pth", ".ts", ".safetensors", ".png"}  # do not get smaller


def write_archive(folder: Path, path: Path, top: str) -> None:
    """Write every file of ``folder`` below ``top/``: sorted names, one time, one of two modes.

    Args:
        folder: what goes in.
        path: the zip.
        top: name of the folder inside; MONAI looks for the bundle's name.
    """
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.relative_to(folder).parts):
            entry = zipfile.ZipInfo(f"{top}/{file.relative_to(folder).as_posix()}", _TIME)
            entry.create_system = 3  # Unix, so that the modes are read
            entry.external_attr = (0o100755 if file.stat().st_mode & 0o100 else 0o100644) << 16
            entry.compress_type = zipfile.ZIP_STORED if file.suffix in _STORED else zipfile.ZIP_DEFLATED
            archive.writestr(entry, file.read_bytes(), compresslevel=9)


def sha1_of(path: Path) -> str:
    """SHA-1 of a file: what the Model Zoo's list of models holds."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.sha1(usedforsecurity=False)).hexdigest()
