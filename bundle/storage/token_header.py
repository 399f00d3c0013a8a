"""What a token file says beside its tokens: its header, coordinates, masks, where each region lies and its checksum."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from ..cohort import is_file_name
from ..core import DAMAGED_FILE, BundleError, plain_value
from .checksums import HEADER, damaged_header, header_checksum
from .hdf5 import insist_on_size, own_dataset

FORMAT_VERSION = 1
REGION_CHECKSUMS = "region_checksums"
REQUIRED_ATTRIBUTES = ("encoder", "format_version", "mpp", "slide_id")


class TokenHeader(NamedTuple):
    """What a token file says about itself. ``mpp`` in um/px; ``attributes`` holds everything else that was recorded."""

    path: Path
    slide_id: str
    n_regions: int
    region_patches: int
    dim: int
    dtype: np.dtype
    encoder: str
    mpp: float
    attributes: dict[str, Any]


class TokenLayout(NamedTuple):
    """All that reading regions of a file needs to know.

    Attributes:
        header: see :class:`TokenHeader`.
        version: bytes and time of change (ns) of the file that it was read from.
        coords: int64 [R, 2], level-0 px.
        bits: masks [R, P, P], eight patches a byte, uint8 [R, ceil(P P / 8)].
        offsets: first byte of each region, int64 [R]; None where regions are not plain bytes in one piece.
        checksums: of the regions, uint32 [R]; None in a file of before there were any.
    """

    header: TokenHeader
    version: tuple[int, int]
    coords: NDArray[np.int64]
    bits: NDArray[np.uint8]
    offsets: NDArray[np.int64] | None
    checksums: NDArray[np.uint32] | None


def read_layout(path: Path, verify: str) -> TokenLayout:
    """Open a file, look at all but its tokens, and close it.

    Args:
        path: of the file.
        verify: the header is compared with its checksum, unless ``never``.

    Raises:
        BundleError: the file is missing, cut short, damaged, or not a token file.
    """
    if not path.is_file():
        raise BundleError(f"token file {path} does not exist.")
    try:
        found = path.stat()
        with h5py.File(path, "r", locking=False) as file:
            header = _read_header(file, path)
            coords: NDArray[np.int64] = file["coords"][:].astype(np.int64)
            mask: NDArray[np.bool_] = file["mask"][:].astype(bool)
            offsets = region_offsets(file["features"], found.st_size)
            checksums = None if verify == "never" else _read_checksums(file, header, coords, mask)
            header.attributes.pop(HEADER, None)
            return TokenLayout(
                header, (found.st_size, found.st_mtime_ns), coords, packed_masks(mask), offsets, checksums
            )
    except DAMAGED_FILE as error:
        raise BundleError(
            f"token file {path} cannot be read ({error}); it is damaged or was copied only in part. "
            "Delete it and tokenize the slide again, or copy it again."
        ) from error


def packed_masks(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Masks [R, P, P] as bits [R, ceil(P P / 8)]."""
    return np.packbits(mask.reshape(len(mask), -1), axis=1)


def unpacked_masks(bits: NDArray[np.uint8], side: int) -> NDArray[np.bool_]:
    """What :func:`packed_masks` packed, for P = ``side``."""
    return np.unpackbits(bits, axis=1, count=side * side).view(bool).reshape(-1, side, side)


def _read_checksums(
    file: h5py.File, header: TokenHeader, coords: NDArray[np.int64], mask: NDArray[np.bool_]
) -> NDArray[np.uint32] | None:
    """Compare the header with its checksum, and give those of the regions."""
    attributes = dict(header.attributes)
    stored, checksums = attributes.pop(HEADER, None), None
    if REGION_CHECKSUMS in file:
        dataset = own_dataset(file, REGION_CHECKSUMS, header.path, "u")
        if dataset.shape != (header.n_regions,):  # before memory is taken for it
            raise damaged_header(header.path)
        checksums = dataset[:]
    if stored is not None or checksums is not None:
        # copies that other tools make of what they know are good; a name with a changed letter is not
        is_copy = checksums is None and set(file) == {"features", "coords", "mask"}
        is_whole = is_copy or checksums is not None
        if not is_whole or stored != token_header_checksum(attributes, file["features"], coords, mask):
            raise damaged_header(header.path)
    return checksums


def _read_header(file: h5py.File, path: Path) -> TokenHeader:
    missing = [name for name in ("features", "coords", "mask") if name not in file]
    missing += [f"attribute {name}" for name in REQUIRED_ATTRIBUTES if name not in file.attrs]
    if missing:
        raise BundleError(f"{path} is not a token file of this bundle: it lacks {', '.join(missing)}.")
    attributes = {name: plain_value(value) for name, value in file.attrs.items()}
    if int(attributes["format_version"]) > FORMAT_VERSION:
        raise BundleError(
            f"{path} has token format {attributes['format_version']}; this version reads up to {FORMAT_VERSION}. "
            "Update the bundle."
        )
    if not is_file_name(str(attributes["slide_id"])):
        raise BundleError(
            f"{path} calls its slide {attributes['slide_id']!r}, which cannot name a file; it is refused."
        )
    features, coords, mask = (
        own_dataset(file, name, path, kinds) for name, kinds in (("features", "f"), ("coords", "iuf"), ("mask", "biu"))
    )
    shape, dtype = features.shape, features.dtype
    fits = len(shape) == 4 and shape[1] == shape[2] and min(shape) > 0
    if not fits or mask.shape != shape[:3] or coords.shape != (shape[0], 2):
        raise BundleError(
            f"{path} is not a token file of this bundle: features {shape} {dtype}, mask {mask.shape}, coords "
            f"{coords.shape}; expected [R, P, P, D] float, [R, P, P] and [R, 2], none of them empty."
        )
    insist_on_size(path, "mask", (shape[0], *shape[1:3]), np.dtype(np.int64).itemsize)
    insist_on_size(path, "features", shape[1:], dtype.itemsize)
    slide_id, encoder, mpp = str(attributes["slide_id"]), str(attributes["encoder"]), float(attributes["mpp"])
    return TokenHeader(path, slide_id, shape[0], shape[1], shape[3], dtype, encoder, mpp, attributes)


def token_header_checksum(
    attributes: dict[str, Any], features: h5py.Dataset, coords: NDArray[np.int64], mask: NDArray[np.bool_]
) -> int:
    """CRC-32 of all but the tokens: attributes as plain values, shape and kind of tokens, coordinates, masks."""
    return header_checksum({**attributes, "features": [list(features.shape), features.dtype.str]}, coords, mask)


def region_offsets(features: h5py.Dataset, file_size: int) -> NDArray[np.int64] | None:
    """Byte offset of each region, or None where regions are not plain bytes in one piece."""
    region_nbytes = int(np.prod(features.shape[1:])) * features.dtype.itemsize
    offsets = np.full(features.shape[0], -1, np.int64)
    if not features.dtype.isnative:
        return None
    if features.chunks is None and features.id.get_offset() is not None:
        offsets = features.id.get_offset() + np.arange(features.shape[0], dtype=np.int64) * region_nbytes
    elif features.chunks == (1, *features.shape[1:]) and features.id.get_create_plist().get_nfilters() == 0:
        features.id.chunk_iter(lambda chunk: offsets.__setitem__(chunk.chunk_offset[0], chunk.byte_offset))
    if (offsets < 0).any():
        return None
    if offsets.max() + region_nbytes > file_size:
        raise OSError(f"regions reach to byte {offsets.max() + region_nbytes}, the file ends at {file_size}")
    return offsets
