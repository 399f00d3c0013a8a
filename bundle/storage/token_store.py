"""Reading one token file: header, coordinates, masks, and regions straight from their place in the file."""

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from ..cohort import is_file_name
from ..core import DAMAGED_FILE, BundleError, plain_value
from .checksums import HEADER, RegionChecks, checked_verify, damaged_header, header_checksum
from .hdf5 import insist_on_size, own_dataset

FORMAT_VERSION = 1
REGION_CHECKSUMS = "region_checksums"
_AT_ONCE = 64  # regions
REQUIRED_ATTRIBUTES = ("encoder", "format_version", "mpp", "slide_id")
_NO_WAIT = getattr(os, "RWF_NOWAIT", 0)  # Linux


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


class TokenFile:
    """One slide's token grids.

    Opening reads the header and where each region lies; HDF5 is closed again. Regions are then read with ``pread`` at
    their place, so an object may be shared by threads and carried into forked or spawned workers. This is twice as fast
    as h5py (``scripts/benchmark store``).

    Args:
        path: a ``.h5`` file in the layout that :class:`TokenFileWriter` writes; other layouts of the same datasets
            (contiguous, compressed) are read too, more slowly.
        is_centered: tokens are read less :attr:`center`; missing ones stay as they are stored, zeros.
        verify: when what is read is compared with its checksum, and looked through for NaN: ``first``, the header now
            and each region when this process reads it first; ``always``, at each read; ``never``. Files of before
            there were checksums are read as well.

    Attributes:
        header: see :class:`TokenHeader`.
        coords: int64 [R, 2], level-0 pixel (x, y) of each region's top-left corner.
        mask: bool [R, P, P], the patch holds tissue.

    Raises:
        BundleError: the file is missing, cut short, damaged, or not a token file; reading regions raises it for one
            that is damaged.
    """

    def __init__(self, path: str | Path, is_centered: bool = False, verify: str = "first") -> None:
        self.path, self.is_centered, verify = Path(path), is_centered, checked_verify(verify)
        if not self.path.is_file():
            raise BundleError(f"token file {self.path} does not exist.")
        try:
            self._version = _version_of(self.path)
            with h5py.File(self.path, "r", locking=False) as file:
                self.header = _read_header(file, self.path)
                self.coords: NDArray[np.int64] = file["coords"][:].astype(np.int64)
                self.mask: NDArray[np.bool_] = file["mask"][:].astype(bool)
                self._offsets = _region_offsets(file["features"], self._version[0])
                self._checks = self._read_checksums(file, verify)
        except DAMAGED_FILE as error:
            raise BundleError(
                f"token file {self.path} cannot be read ({error}); it is damaged or was copied only in part. "
                "Delete it and tokenize the slide again, or copy it again."
            ) from error

    def __len__(self) -> int:
        return self.header.n_regions

    def verify(self) -> None:
        """Read every region and compare it with its checksum.

        Raises:
            BundleError: one is damaged, or cannot be read.
        """
        side, dim = self.header.region_patches, self.header.dim
        grid, handle = np.empty((1, side, side, dim), self.header.dtype), None if self._offsets is None else self.open()
        for region in range(len(self)):
            self._copy_into([region], grid, [0], handle)

    def _read_checksums(self, file: h5py.File, verify: str) -> RegionChecks:
        """Compare the header with its checksum, and get those of the regions ready."""
        stored = self.header.attributes.pop(HEADER, None)
        if verify == "never":
            return RegionChecks(self.path, None, len(self), verify)
        checksums = None
        if REGION_CHECKSUMS in file:
            dataset = own_dataset(file, REGION_CHECKSUMS, self.path, "u")
            if dataset.shape != (len(self),):  # before memory is taken for it
                raise damaged_header(self.path)
            checksums = dataset[:]
        if stored is not None or checksums is not None:
            # copies that other tools make of what they know are good; a name with a changed letter is not
            is_copy = checksums is None and set(file) == {"features", "coords", "mask"}
            is_whole = is_copy or checksums is not None
            if not is_whole or stored != token_header_checksum(
                self.header.attributes, file["features"], self.coords, self.mask
            ):
                raise damaged_header(self.path)
        return RegionChecks(self.path, checksums, len(self), verify)

    @property
    def present(self) -> NDArray[np.bool_]:
        """Patches that have a token, bool [R, P, P]: those with tissue, or all where background was encoded, too."""
        is_dense = bool(self.header.attributes.get("encode_background", False))
        return np.ones_like(self.mask) if is_dense else self.mask

    @cached_property
    def center(self) -> NDArray[np.float32]:
        """Mean over the slide's tissue tokens, [D], 0 without any; the file is read once for it."""
        total = np.zeros(self.header.dim)
        for start in range(0, len(self), _AT_ONCE):
            regions = range(start, min(start + _AT_ONCE, len(self)))
            side = self.header.region_patches
            grids = np.empty((len(regions), side, side, self.header.dim), self.header.dtype)
            self._copy_into(regions, grids, range(len(regions)))
            total += grids[self.mask[start : regions.stop]].sum(0, dtype=np.float64)
        return (total / max(int(self.mask.sum()), 1)).astype(np.float32)

    def offset(self, region: int) -> int | None:
        """First byte of a region in the file; None where regions are not plain bytes in one piece."""
        return None if self._offsets is None else int(self._offsets[region])

    def open(self) -> Any:
        """A handle for :meth:`read_into`; it closes itself when nobody holds it anymore."""
        try:
            handle = open(self.path, "rb", buffering=0)
        except OSError as error:
            raise BundleError(f"token file {self.path} cannot be opened anymore: {error.strerror}.") from error
        found = os.fstat(handle.fileno())
        if (found.st_size, found.st_mtime_ns) != self._version:
            raise BundleError(f"token file {self.path} was replaced while it was in use; start the run again.")
        return handle

    def request(self, regions: Sequence[int], handle: Any) -> None:
        """Ask the system to fetch the regions that are not in memory, without waiting for them."""
        if self._offsets is None or not hasattr(os, "posix_fadvise"):  # macOS has none
            return
        header, number = self.header, handle.fileno()
        size = header.region_patches**2 * header.dim * header.dtype.itemsize
        for offset in self._offsets[regions].tolist():
            if not _is_in_memory(number, offset):
                os.posix_fadvise(number, offset, size, os.POSIX_FADV_WILLNEED)

    def read_into(self, regions: Sequence[int], out: NDArray[Any], rows: Sequence[int], handle: Any = None) -> None:
        """Copy ``regions`` to ``out[rows]``; ``out`` is C-contiguous [n, P, P, D] of any float type."""
        if not self.is_centered:
            self._copy_into(regions, out, rows, handle)
            return
        # apart: ``out`` may be memory that processes share, in which nobody may find a region before it is centered
        present, apart = self.present, np.empty((1, *out.shape[1:]), np.float32)
        handle = self.open() if handle is None and self._offsets is not None else handle
        for region, row in zip(regions, rows, strict=True):
            self._copy_into([region], apart, [0], handle)
            apart[0][present[region]] -= self.center
            out[row] = apart[0]

    def _copy_into(self, regions: Sequence[int], out: NDArray[Any], rows: Sequence[int], handle: Any = None) -> None:
        """The stored tokens."""
        if self._offsets is None:
            self._read_through_hdf5(regions, out, rows)
            return
        handle = handle or self.open()
        if out.dtype == self.header.dtype:
            for region, row in zip(regions, rows, strict=True):
                self._pread(handle, out[row], region)
                self._checks(region, out[row])
            return
        buffer = np.empty(out.shape[1:], self.header.dtype)
        for region, row in zip(regions, rows, strict=True):
            self._pread(handle, buffer, region)
            self._checks(region, buffer)
            out[row] = buffer

    def read(self, regions: Sequence[int] | None = None) -> NDArray[Any]:
        """Regions [n, P, P, D] in the file's dtype; all of them, in order, where ``regions`` is None."""
        chosen = range(len(self)) if regions is None else regions
        side = self.header.region_patches
        out = np.empty((len(chosen), side, side, self.header.dim), self.header.dtype)
        self.read_into(chosen, out, range(len(chosen)))
        return out

    def _pread(self, handle: Any, target: NDArray[Any], region: int) -> None:
        assert self._offsets is not None
        view, offset = target.data.cast("B"), int(self._offsets[region])
        try:
            while view:
                n_read = os.preadv(handle.fileno(), [view], offset)
                if n_read == 0:
                    raise OSError("the file ends early")
                view, offset = view[n_read:], offset + n_read
        except OSError as error:
            raise BundleError(f"region {region} of token file {self.path} cannot be read: {error}.") from error

    def _read_through_hdf5(self, regions: Sequence[int], out: NDArray[Any], rows: Sequence[int]) -> None:
        try:
            with h5py.File(self.path, "r", locking=False) as file:
                features = own_dataset(file, "features", self.path, "f")
                for region, row in zip(regions, rows, strict=True):
                    stored = features[int(region)].astype(self.header.dtype.newbyteorder("="), copy=False)
                    self._checks(region, stored)
                    out[row] = stored
        except DAMAGED_FILE as error:
            raise BundleError(f"regions of token file {self.path} cannot be read: {error}.") from error


def read_token_header(path: str | Path, verify: str = "first") -> TokenHeader:
    """The header of one token file, compared with its checksum unless ``verify`` is ``never``.

    Raises:
        BundleError: the file is missing, cut short, or not a token file.
    """
    return TokenFile(path, verify=verify).header


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


def _region_offsets(features: h5py.Dataset, file_size: int) -> NDArray[np.int64] | None:
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


def _is_in_memory(handle_number: int, offset: int) -> bool:
    """Whether nothing waits for the disk, False where the system does not tell: this costs a fifth of a request."""
    try:
        return bool(_NO_WAIT) and os.preadv(handle_number, [bytearray(1)], offset, _NO_WAIT) == 1
    except OSError:  # not in memory, or a flag that the file system does not know; a real error comes again
        return False


def _version_of(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns
