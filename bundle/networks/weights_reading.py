"""From a file to a dictionary of tensors, without running anything that the file brings along."""

from __future__ import annotations

import argparse
import hashlib
import mmap
import os
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ..core import BundleError, insist_on_unpacked

# DINO keeps its command line in every checkpoint. A Namespace holds values, it runs nothing.
_HARMLESS: list[Any] = [argparse.Namespace]
_PIECE, _MOST_PACKED = 1 << 20, 1 << 30  # bytes: compared at once, unpacked for it at most
# of a tensor that lies elsewhere: the key "location", then a text whose length stands before it
_PLACE = re.compile(rb"location\x12([\x80-\xff]?[\x00-\x7f])", re.DOTALL)


def read_weights(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint or a state dict onto the CPU.

    ``.safetensors`` files are read as such, all others as PyTorch files with ``weights_only=True``: tensors, numbers,
    words, containers and ``argparse.Namespace``, nothing else.

    Args:
        path: the file.

    Returns:
        What the file holds: tensors by name, or a checkpoint with state dicts (``teacher``, ``student``, ...) inside.

    Raises:
        BundleError: the file is missing, broken, damaged, a TorchScript or ONNX program, not a dictionary, or holds
            objects that loading would have to execute.
    """
    path = Path(path)
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "does not exist"
        raise BundleError(f"weights cannot be read: {path} {kind}. Give the path of a .pt, .pth or .safetensors file.")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if is_program(path):
        kind = "an ONNX" if is_onnx(path) else "a TorchScript"
        raise BundleError(
            f"{path} is {kind} program, not a file of weights. It can serve as patch_encoder_ckpt; "
            "elsewhere give a state dict (.pt, .pth, .safetensors)."
        )
    check_archive(path)
    try:
        insist_on_unpacked(path)
        with torch.serialization.safe_globals(_HARMLESS):
            contents = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen unrelated types for broken files
        raise BundleError(_explain(path, error)) from error
    if not isinstance(contents, dict):
        raise BundleError(
            f"{path} holds a {type(contents).__name__}, not a dictionary of tensors. Save model.state_dict() instead."
        )
    return contents


def check_archive(path: str | Path) -> None:
    """Compare what torch has saved with its checksums, which torch itself does not: a flipped bit went unseen.

    An archive none of whose parts agrees was written without them (``torch.serialization.set_crc32_options(False)``).

    Raises:
        BundleError: a part of the file is not what was saved.
    """
    if not zipfile.is_zipfile(path):
        return  # of before torch 1.6, or no file of torch's
    try:
        with zipfile.ZipFile(path) as archive:
            parts = [entry for entry in archive.infolist() if entry.file_size]
            packed = [entry for entry in parts if entry.compress_type != zipfile.ZIP_STORED]
            if sum(entry.file_size for entry in packed) > _MOST_PACKED:  # torch packs nothing; small files may unfold
                return
            damaged = [entry.filename for entry in parts if not _is_whole(archive, entry)]
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise BundleError(f"{path} is damaged ({error}): copy or download it again.") from error
    if damaged and len(damaged) < len(parts):
        raise BundleError(
            f"{path} is damaged: {damaged[0]} in it is not what was saved (its CRC-32 differs). Copy or download it "
            "again, or take an earlier one."
        )


def _is_whole(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bool:
    try:
        with archive.open(entry) as part:
            while part.read(_PIECE):
                pass
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
    ):  # encrypted, says the last one
        return False
    return True


def is_torchscript(path: str | Path) -> bool:
    """Whether a file is a TorchScript archive: a zip with a ``code`` folder inside."""
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.split("/")[1:2] == ["code"] for name in archive.namelist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError, LookupError):  # damaged: who reads it says how
        return False


def is_onnx(path: str | Path) -> bool:
    """Whether a file is called as ONNX files are."""
    return Path(path).suffix.lower() == ".onnx"


def is_program(path: str | Path) -> bool:
    """Whether a file says itself how tokens are computed: TorchScript or ONNX."""
    return is_onnx(path) or is_torchscript(path)


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits: the name by which token files know their encoder.

    Of an ONNX file that keeps its weights in files beside it, of all of them: the graph alone would be every model's.
    """
    digest = _digest_of(Path(path))
    for beside in _weights_beside(Path(path)) if is_onnx(path) else []:
        digest.update(_digest_of(beside).digest())
    return digest.hexdigest()


def _digest_of(path: Path) -> Any:
    digest, block = hashlib.sha256(), memoryview(bytearray(2**20))
    with path.open("rb", buffering=0) as file:
        while n_read := file.readinto(block):
            digest.update(block[:n_read])
    return digest


def _weights_beside(path: Path) -> list[Path]:
    """Files that an ONNX file names as places of its tensors, in the order of their names."""
    if path.stat().st_size == 0:
        return []
    names = set()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        for found in _PLACE.finditer(text):
            first, *second = found[1]
            length = first if not second else (first & 127) + (second[0] << 7)
            names.add(os.fsdecode(text[found.end() : found.end() + length]))
    return [path.parent / name for name in sorted(names) if "\0" not in name and (path.parent / name).is_file()]


def weights_name(path: str | Path) -> str:
    """How files of embeddings name the weights that made them: the file's stem, and its hash, by which they compare."""
    return f"{Path(path).stem} sha256:{sha256_of(path)}"


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        return dict(load_file(path, device="cpu"))
    except (SafetensorError, OSError) as error:
        raise BundleError(f"{path} is not a readable safetensors file ({error}). Copy or download it again.") from error


def _explain(path: Path, error: Exception) -> str:
    reason = " ".join(str(error).split())
    refused = re.search(r"nsupported (?:global: )?GLOBAL (\S+)", reason)
    if refused:
        return (
            f"{path} was refused: it holds an object of type {refused[1]}, which could run code while it is loaded. "
            "Save the state dict alone, in an environment you trust, or convert it to safetensors."
        )
    if path.stat().st_size == 0:
        reason = "it is empty"
    elif "PytorchStreamReader" in reason or isinstance(error, OSError):
        reason = "it is cut short"
    if "Weights only load failed" in reason:  # torch's advice in this text is to load without the check
        reason = "not the format of torch.save"
    return (
        f"{path} cannot be read as weights ({type(error).__name__}: {reason[:200]}). "
        "It is broken, half copied or no PyTorch file: copy or download it again."
    )
