"""Reading one token file: header, coordinates, masks, and regions straight from their place in the file."""

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..core import DAMAGED_FILE, BundleError
from .checksums import RegionChecks, checked_verify
from .hdf5 import own_dataset
from .token_header import TokenHeader, TokenLayout, read_layout, unpacked_masks

_AT_ONCE = 64  # regions
_NO_WAIT = getattr(os, "RWF_NOWAIT", 0)  # Linux


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
        layout: what was read of this very file before, and compared with its checksum then; None: it is read now.

    Attributes:
        header: see :class:`TokenHeader`.
        coords: int64 [R, 2], level-0 pixel (x, y) of each region's top-left corner.
        mask: bool [R, P, P], the patch holds tissue.

    Raises:
        BundleError: the file is missing, cut short, damaged, or not a token file; reading regions raises it for one
            that is damaged.
    """

    def __init__(
        self, path: str | Path, is_centered: bool = False, verify: str = "first", layout: TokenLayout | None = None
    ) -> None:
        self.path = path if isinstance(path, Path) else Path(path)  # to take it apart again takes longer
        self.is_centered, verify = is_centered, checked_verify(verify)
        layout = read_layout(self.path, verify) if layout is None else layout
        self.layout, self.header, self.coords = layout, layout.header, layout.coords
        self._version, self._offsets = layout.version, layout.offsets
        self._checks = RegionChecks(self.path, layout.checksums, len(self), verify)

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

    @property
    def mask(self) -> NDArray[np.bool_]:
        """See the class; it is unpacked each time."""
        return unpacked_masks(self.layout.bits, self.header.region_patches)

    @property
    def present(self) -> NDArray[np.bool_]:
        """Patches that have a token, bool [R, P, P]: those with tissue, or all where background was encoded, too."""
        return np.ones_like(self.mask) if self.is_dense else self.mask

    @property
    def is_dense(self) -> bool:
        """Background was encoded, too."""
        return bool(self.header.attributes.get("encode_background", False))

    @cached_property
    def center(self) -> NDArray[np.float32]:
        """Mean over the slide's tissue tokens, [D], 0 without any; the file is read once for it."""
        total, mask = np.zeros(self.header.dim), self.mask
        for start in range(0, len(self), _AT_ONCE):
            regions = range(start, min(start + _AT_ONCE, len(self)))
            side = self.header.region_patches
            grids = np.empty((len(regions), side, side, self.header.dim), self.header.dtype)
            self._copy_into(regions, grids, range(len(regions)))
            total += grids[mask[start : regions.stop]].sum(0, dtype=np.float64)
        return (total / max(int(mask.sum()), 1)).astype(np.float32)

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


def _is_in_memory(handle_number: int, offset: int) -> bool:
    """Whether nothing waits for the disk, False where the system does not tell: this costs a fifth of a request."""
    try:
        return bool(_NO_WAIT) and os.preadv(handle_number, [bytearray(1)], offset, _NO_WAIT) == 1
    except OSError:  # not in memory, or a flag that the file system does not know; a real error comes again
        return False
