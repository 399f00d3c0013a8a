"""``models/model.ts``: what ``monai.bundle ckpt_export`` writes, without the paths of the machine that wrote it."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

from bundle.core import BundleError, Replacement

from .processes import run_in_package

_TIME = (1980, 1, 1, 0, 0, 0)
_ID = "/.data/serialization_id"


def export_torchscript(folder: Path) -> None:
    """Export the package's ``model.pt`` with MONAI's own command, in a process of its own.

    TorchScript numbers the classes that it has seen in a process, so that only a fresh one gives the same bytes again.

    Args:
        folder: a package with configs and ``models/model.pt``.

    Raises:
        BundleError: the export fails.
    """
    failed = run_in_package(
        folder,
        "monai.bundle",
        "ckpt_export",
        *("--net_id", "network_def", "--filepath", "models/model.ts", "--ckpt_file", "models/model.pt"),
        *("--meta_file", "configs/metadata.json", "--config_file", "configs/inference.json", "--bundle_root", "."),
        cwd=folder,
    )
    if failed:
        raise BundleError(f"the weights cannot be exported as TorchScript: {failed}")
    without_debug_records(folder / "models" / "model.ts")


def without_debug_records(path: Path) -> None:
    """Drop the records that map instructions to source lines: they hold absolute paths, and nothing needs them.

    The file's id, a hash of all records, is made anew from those that stay.
    """
    with zipfile.ZipFile(path) as old:
        records = {name: old.read(name) for name in old.namelist() if not name.endswith(".debug_pkl")}
    digest = hashlib.sha256()
    for name, contents in records.items():
        if not name.endswith(_ID):
            digest.update(name.encode() + contents)
    with Replacement(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as new:
        for name, contents in records.items():
            is_id = name.endswith(_ID)
            new.writestr(
                zipfile.ZipInfo(name, _TIME), f"{int(digest.hexdigest(), 16) % 10**40:040}" if is_id else contents
            )
