"""The one file of weights in what a user names: a file, a folder, a snapshot of a hub."""

from __future__ import annotations

from pathlib import Path

from ..core import BundleError

_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".onnx")
HUB_FILES = ("model.safetensors", "pytorch_model.bin")  # the same weights twice, in many repositories
_LARGEST_PLACEHOLDER = 1_000_000
_LFS = b"version https://git-lfs"
_PAGES = (b"<!doctype html", b"<html", b"<?xml", b'{"error', b"access to model", b"invalid username or password")


def weights_file(path: str | Path) -> Path:
    """The file of weights at ``path``, which may be a folder, or a hub's cache with one snapshot.

    Raises:
        BundleError: there is none, there are several, links lead nowhere, or a page or a pointer stands in its place.
    """
    path = Path(path)
    if path.is_symlink() and not path.exists():
        raise BundleError(_lost([path]))
    if path.is_dir():
        path = _of_folder(_snapshot(path))
    _refuse_placeholder(path)
    return path


def _snapshot(folder: Path) -> Path:
    """``models--owner--name`` of a hub's cache -> its one snapshot; any other folder is itself."""
    if not (folder / "snapshots").is_dir():
        return folder
    found = sorted(entry for entry in (folder / "snapshots").iterdir() if entry.is_dir())
    if len(found) != 1:
        names = ", ".join(entry.name for entry in found) or "none"
        raise BundleError(f"{folder} has {len(found)} snapshots ({names}); name the one below snapshots to be used.")
    return found[0]


def _of_folder(folder: Path) -> Path:
    entries = sorted(entry for entry in folder.iterdir() if entry.suffix in _SUFFIXES)
    lost = [entry for entry in entries if entry.is_symlink() and not entry.exists()]
    found = [entry for entry in entries if entry.is_file()]
    preferred = [entry for name in HUB_FILES for entry in found if entry.name == name]
    if preferred and not any(entry.name in HUB_FILES for entry in lost):
        return preferred[0]
    if lost:
        raise BundleError(_lost(lost))
    if (index := next(iter(sorted(folder.glob("*.index.json"))), None)) is not None:
        raise BundleError(
            f"the weights of {folder} are cut into {len(found)} parts ({index.name}), which are not put together here: "
            "save them as one .safetensors file."
        )
    if len(found) != 1:
        names = ", ".join(entry.name for entry in found[:5]) or "no " + ", ".join(_SUFFIXES)
        raise BundleError(f"{folder} has {len(found)} files of weights ({names}); name the one to be used.")
    return found[0]


def _lost(links: list[Path]) -> str:
    shown = ", ".join(f"{link} -> {link.readlink()}" for link in links[:3])
    return (
        f"links that lead nowhere: {shown}. A snapshot of a hub's cache holds links into its blobs: copy it with the "
        "files behind them (cp -rL), or download it again."
    )


def _refuse_placeholder(path: Path) -> None:
    if not path.is_file() or path.stat().st_size > _LARGEST_PLACEHOLDER:
        return
    with path.open("rb") as file:
        head = file.read(512).lstrip().lower()
    if head.startswith(_LFS):
        raise BundleError(
            f"{path} is a pointer of git-lfs ({path.stat().st_size} bytes), not the weights: fetch them (git lfs pull)."
        )
    if head.startswith(_PAGES):
        raise BundleError(
            f"{path} holds a web page or a server's answer ({path.stat().st_size} bytes), not weights, as a download "
            "gives it that was not allowed: accept the model's license on its page, sign in, and download it again."
        )
