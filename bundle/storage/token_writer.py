"""Writing one token file: under a temporary name, flushed, then renamed; a file that has its name is complete."""

import errno
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import __version__
from ..core import BundleError, Replacement, plain_value
from .checksums import HEADER, checksum
from .token_header import FORMAT_VERSION, REGION_CHECKSUMS, REQUIRED_ATTRIBUTES, region_offsets, token_header_checksum

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CANNOT_RESERVE = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}


class TokenFileWriter:
    """Context manager that writes one slide's token grids.

    The disk space of all regions is reserved on entry, so a full disk is known before anything is encoded. On a clean
    exit the file is flushed to disk and renamed to ``path``; on an error nothing remains.

    Args:
        path: final name, ``<slide_id>.h5``; the folder is made.
        region_patches: patches P on a region's side.
        dim: length D of a token.
        dtype: ``float16`` or ``float32``.
        coords: integers [R, 2], level-0 pixel (x, y) of each region's top-left corner.
        mask: bool [R, P, P], the patch holds tissue.
        attributes: must have ``slide_id``, ``encoder`` and ``mpp`` (um/px); everything in it is recorded.
            ``format_version`` and ``bundle_version`` are added.

    Raises:
        BundleError: the disk is full or not writable, or tokens do not fit into ``dtype``.
        ValueError: shapes do not agree, or a region was written twice or never.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        region_patches: int,
        dim: int,
        dtype: str | np.dtype = "float16",
        coords: ArrayLike,
        mask: ArrayLike,
        attributes: Mapping[str, Any],
    ) -> None:
        self.path = Path(path)
        self.dtype = np.dtype(dtype)
        self._coords = np.asarray(coords, dtype=np.int64)
        self._mask = np.asarray(mask, dtype=bool)
        n_regions = len(self._coords)
        self._shape = (n_regions, region_patches, region_patches, dim)
        if n_regions == 0 or self._coords.shape != (n_regions, 2) or self._mask.shape != self._shape[:3]:
            raise ValueError(
                f"coords {self._coords.shape} and mask {self._mask.shape} do not make R > 0 regions of "
                f"{region_patches} x {region_patches} patches."
            )
        if self.dtype not in (np.dtype("float16"), np.dtype("float32")):
            raise BundleError(f"tokens cannot be stored as {dtype}; choose float16 or float32.")
        versions = {"format_version": FORMAT_VERSION, "bundle_version": __version__}
        self._attributes = {**versions, **attributes}
        missing = sorted(set(REQUIRED_ATTRIBUTES) - set(self._attributes))
        if missing:
            raise ValueError(f"attributes lack {', '.join(missing)}.")
        self._replacement = Replacement(self.path, flush=True)
        self._is_written = np.zeros(n_regions, dtype=bool)
        self._checksums = np.zeros(n_regions, np.uint32)
        self._file: Any = None

    def __enter__(self) -> "TokenFileWriter":
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._replacement.__enter__()
            self._offsets = self._lay_out()
            self._file = open(self._replacement.part, "r+b", buffering=0)
            _reserve(self._file.fileno(), os.fstat(self._file.fileno()).st_size)
        except (OSError, RuntimeError) as error:
            self.abort()
            raise self._as_bundle_error(error) from error
        return self

    def write(self, region: int, features: NDArray[Any]) -> None:
        """Write one region's token grid [P, P, D]."""
        if features.shape != self._shape[1:]:
            raise ValueError(f"a region of {self.path.name} is {self._shape[1:]}, got {features.shape}.")
        if self._is_written[region]:
            raise ValueError(f"region {region} of {self.path.name} was written before.")
        with np.errstate(over="ignore"):
            stored = np.ascontiguousarray(features, dtype=self.dtype)
        if not np.isfinite(stored).all():
            raise BundleError(
                f"tokens of region {region} of {self.path.name} are not finite as {self.dtype} (largest absolute value "
                f"{np.abs(features).max():.3g}); store float32, or check the patch encoder's weights."
            )
        try:
            self._pwrite(stored.data.cast("B"), int(self._offsets[region]))
        except OSError as error:
            raise self._as_bundle_error(error) from error
        self._checksums[region] = checksum(stored)
        self._is_written[region] = True

    @property
    def is_complete(self) -> bool:
        """Every region has been written."""
        return bool(self._is_written.all())

    def commit(self) -> None:
        """Flush to disk and give the file its name."""
        if not self.is_complete:
            self.abort()
            raise ValueError(f"{int((~self._is_written).sum())} regions of {self.path.name} were never written.")
        try:
            self._pwrite(self._checksums.data.cast("B"), self._checksums_at)
            self._file.close()
            self._replacement.commit()
        except OSError as error:
            self.abort()
            raise self._as_bundle_error(error) from error

    def abort(self) -> None:
        """Remove what was written."""
        if self._file is not None:
            self._file.close()
        self._replacement.discard()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()
        else:
            self.abort()

    def _lay_out(self) -> NDArray[np.int64]:
        """Write everything except the tokens and their checksums; give each region its byte offset."""
        self._check_room()
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((1, *self._shape[1:]))
        properties.set_obj_track_times(False)  # the same tokens are the same file
        properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        # nobody else knows the temporary name; and some file systems have no locks (NFS, Lustre)
        with h5py.File(self._replacement.part, "w", locking=False) as file:
            file.attrs.update(self._attributes)
            file["coords"], file["mask"] = self._coords, self._mask
            kind, space = h5py.h5t.py_create(self.dtype), h5py.h5s.create_simple(self._shape)
            features = h5py.Dataset(h5py.h5d.create(file.id, b"features", kind, space, dcpl=properties))
            offsets = region_offsets(features, 1 << 62)
            checksums = file.create_dataset(REGION_CHECKSUMS, data=self._checksums)
            self._checksums_at = checksums.id.get_offset()
            recorded = {name: plain_value(value) for name, value in file.attrs.items()}
            file.attrs[HEADER] = np.uint32(token_header_checksum(recorded, features, self._coords, self._mask))
        if offsets is None:
            raise RuntimeError("HDF5 did not place the regions")
        return offsets

    def _check_room(self) -> None:
        # HDF5 does not recover from a full disk, so it is not let run into one
        needed = (
            int(np.prod(self._shape)) * self.dtype.itemsize
            + self._mask.nbytes
            + self._coords.nbytes
            + self._checksums.nbytes
        )
        if shutil.disk_usage(self.path.parent).free < needed + (1 << 20):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with self._replacement.part.open("wb") as file:  # a quota shows only when the space is asked for
            _reserve(file.fileno(), needed + (1 << 14))

    def _pwrite(self, view: memoryview, offset: int) -> None:
        while view:
            n_written = os.pwrite(self._file.fileno(), view, offset)
            view, offset = view[n_written:], offset + n_written

    def _as_bundle_error(self, error: Exception) -> BundleError:
        needed = int(np.prod(self._shape)) * self.dtype.itemsize / 1e6
        if getattr(error, "errno", None) in _NO_ROOM or "No space left" in str(error):
            return NoRoomError(
                f"no room to write {self.path} ({max(needed, 0.1):.1f} MB needed): the disk is full or a quota is "
                "reached. What was written of it is removed and finished slides are kept; make room or choose another "
                "folder, then run again."
            )
        return BundleError(f"token file {self.path} cannot be written: {error}.")


def _reserve(handle: int, n_bytes: int) -> None:
    """Make the file system promise the space, where it can."""
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    try:
        os.posix_fallocate(handle, 0, n_bytes)
    except OSError as error:
        if error.errno not in _CANNOT_RESERVE:
            raise


class NoRoomError(BundleError):
    """The disk is full: the next slide would not fit either."""
