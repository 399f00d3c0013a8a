"""What every layout offers: the slides of a folder, and of each what its file says, its coordinates, its features."""

from __future__ import annotations

import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from ....core import DAMAGED_FILE, BundleError, SlideError, files_below
from ....storage import insist_on_size, own_dataset, read_token_header

FOREIGN_DAMAGE = (*DAMAGED_FILE, AttributeError, ArithmeticError, EOFError, LookupError, zipfile.BadZipFile, zlib.error)
# what files of others answer with where they are damaged or hold something else than their layout says
N_SAMPLES = 8  # files of a folder that are opened to know whose they are


class Said(NamedTuple):
    """What a file says of its features; None or empty: nothing.

    Attributes:
        n_rows: features N.
        dim: length D of each.
        dtype: of the features.
        encoder: its name, as the tool calls it.
        patch_px: px on the side of an encoded patch.
        patch_level0: the same in level-0 px.
        pitch_level0: level-0 px from patch to patch.
        level0_mpp: um/px of level 0.
        mpp: um/px of the encoded pixels, where it is said without level 0.
        size: level-0 px (width, height) of the slide.
        is_um: coordinates are in um, not in level-0 px.
        region_patches: rows come as whole regions of so many patches on a side, row by row, and coordinates are those
            of the regions; 0: each row has coordinates of its own.
    """

    n_rows: int
    dim: int
    dtype: str
    encoder: str = ""
    patch_px: float | None = None
    patch_level0: float | None = None
    pitch_level0: float | None = None
    level0_mpp: float | None = None
    mpp: float | None = None
    size: tuple[int, int] | None = None
    is_um: bool = False
    region_patches: int = 0


class FeatureFile(ABC):
    """The features of one slide; everything raises :class:`SlideError` where the file is at fault.

    Args:
        slide_id: id.
        path: the file.
        places: for what the file does not say.
    """

    def __init__(self, slide_id: str, path: Path, places: Places) -> None:
        self.slide_id, self.path, self.places = slide_id, path, places

    @abstractmethod
    def say(self) -> Said:
        """What the file says; reads no features."""

    @abstractmethod
    def coords(self) -> NDArray[np.float64]:
        """(x, y) of each row's top-left corner [N, 2], or of each region's [N / P**2, 2]."""

    @abstractmethod
    def features(self) -> AbstractContextManager[Any]:
        """Features [N, D], read where they are sliced."""


class Places(NamedTuple):
    """Where things are, and what files do not say.

    Attributes:
        root: the folder or file that was given.
        coords_dir: folder of coordinates that lie elsewhere; None: beside the features.
        encoder: its name; chooses where there are several, tells where nothing is said.
        patch_px: px on the side of an encoded patch, where nothing is said.
        tokens_dir: where token files go; those are no features, wherever the folder lies.
        apart_from: folders that a run writes to; below ``root`` they hold no features.
    """

    root: Path
    coords_dir: Path | None = None
    encoder: str = ""
    patch_px: float | None = None
    tokens_dir: Path | None = None
    apart_from: tuple[Path, ...] = ()

    def files(self, *suffixes: str) -> list[Path]:
        """Files of these suffixes, in capitals or not, in depth and sorted; the given file itself.

        Hidden files, zarr stores, the token files of an earlier run and what runs have written are left out.
        """
        if self.root.is_file():
            return [self.root] if self.root.suffix.lower() in suffixes else []
        found = files_below(self.root, suffixes, is_quiet=True) if self.root.is_dir() else []
        made_in = None if self.tokens_dir is None else self.tokens_dir.resolve()
        written = self.written()
        return sorted(
            path
            for path in found
            if not _is_hidden(path.relative_to(self.root))
            and not any(folder in path.parents for folder in written)
            and not (made_in is not None and path.parent.resolve() == made_in and is_token_file(path))
        )

    def written(self) -> list[Path]:
        """Those of ``apart_from`` that lie below ``root``, as paths that begin with it."""
        inside = self.root.resolve()
        folders = [folder.resolve() for folder in self.apart_from]
        return [self.root / folder.relative_to(inside) for folder in folders if inside in folder.parents]


class Rows:
    """Rows [N, D] of an HDF5 data set, with or without a leading axis of one, or of its regions [R, T, D]."""

    def __init__(self, stored: Any) -> None:
        self._stored = stored
        self._is_wrapped = stored.ndim == 3 and stored.shape[0] == 1
        self.shape = (int(np.prod(stored.shape[:-1])), stored.shape[-1])
        if stored.ndim not in (2, 3) or (stored.ndim == 3 and not self._is_wrapped):
            raise ValueError(f"features are {stored.shape}, not [N, D]")
        if stored.dtype.kind not in "fiu":
            raise ValueError(f"features are {stored.dtype}, not real numbers")

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        return self._stored[0, rows] if self._is_wrapped else self._stored[rows]


@contextmanager
def opened_h5(path: Path, name: str) -> Iterator[h5py.File]:
    """An HDF5 file to read from, its damages as :class:`SlideError`.

    Raises:
        SlideError: it is cut short, still being written, or lacks what was looked for.
    """
    if path.with_name(path.name + ".lock").exists():
        raise SlideError(
            f"slide {name}: {path} is being written ({path.name}.lock is there); import it when it is done."
        )
    try:
        with h5py.File(path, "r", locking="best-effort") as file:
            yield file
    except BundleError:
        raise
    except BlockingIOError as error:
        raise SlideError(
            f"slide {name}: {path} is being written by another process; import it when it is done."
        ) from error
    except FOREIGN_DAMAGE as error:
        raise SlideError(
            f"slide {name}: {path} cannot be read ({error}). It is cut short, still being written or of another "
            "layout: copy it again or make it anew, then run again."
        ) from error


def stored_in(file: h5py.File, name: str, path: Path) -> h5py.Dataset:
    """A data set of a file of strangers, of whatever kind; its values lie in the file.

    Raises:
        BundleError: they do not, or a row has more bytes than fit into memory.
        KeyError: there is none of this name.
    """
    found = own_dataset(file, name, path, "biufcSUOVMm")
    insist_on_size(path, name, found.shape[-1:], found.dtype.itemsize)
    return found


def whole(file: h5py.File, name: str, path: Path) -> NDArray[Any]:
    """The values of a small data set: coordinates.

    Raises:
        BundleError: they do not lie in the file, or are more than any slide has.
        KeyError: there is none of this name.
    """
    found = stored_in(file, name, path)
    insist_on_size(path, name, found.shape, found.dtype.itemsize)
    values: NDArray[Any] = found[()]
    return values


def is_token_file(path: Path) -> bool:
    """Whether a file is one that this bundle wrote; False where it cannot be read."""
    try:
        read_token_header(path)
    except BundleError:
        return False
    return True


def is_of_this_bundle(path: Path) -> bool | None:
    """Whether a file is of tokens or embeddings of this bundle, by a mask in it; None where it cannot be read."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            return "mask" in file
    except DAMAGED_FILE:
        return None


def spread(paths: Sequence[Path]) -> Iterator[Path]:
    """All paths, the first few of them from everywhere."""
    step = max(1, len(paths) // N_SAMPLES)
    return (path for first in range(step) for path in paths[first::step])


def as_xy(found: Any, n_wanted: int | None, name: str, path: Path) -> NDArray[np.float64]:
    """Coordinates as float64 [N, 2]; further columns (read sizes, levels) are dropped.

    Raises:
        SlideError: not as many as features, or some are no finite number.
    """
    xy = np.asarray(found, np.float64)
    xy = xy[0] if xy.ndim == 3 and xy.shape[0] == 1 else xy
    if xy.ndim != 2 or xy.shape[1] < 2 or (n_wanted is not None and len(xy) != n_wanted):
        raise SlideError(
            f"slide {name}: {n_wanted} features but coordinates {list(xy.shape)} in {path}: they are not of one run. "
            "Make both anew, together."
        )
    if not np.isfinite(xy[:, :2]).all():
        raise SlideError(f"slide {name}: some coordinates in {path} are no finite numbers; make them anew.")
    return xy[:, :2]


def texts(attributes: Any) -> dict[str, Any]:
    """Attributes of an HDF5 object as Python's own values; a list of one is that one, empty ones are left out."""
    found = {}
    for name, value in attributes.items():
        if isinstance(value, h5py.Empty):
            continue
        plain = value.tolist() if hasattr(value, "tolist") else value
        plain = plain[0] if isinstance(plain, list) and len(plain) == 1 else plain
        found[name] = plain.decode() if isinstance(plain, bytes) else plain
    return found


def as_positive(value: Any) -> float | None:
    """A number above zero, or None."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) and number > 0 else None


def slide_name(path: Path) -> str:
    """A slide's id by its feature file: without the suffixes that tools and slides bring along."""
    return path.name.removesuffix(path.suffix).removesuffix("_patches").removesuffix("_features")


def stated_pitch(patch: float | None, patch_level0: float | None, overlap: Any) -> float | None:
    """Level-0 px from patch to patch, of a patch's two sizes and the overlap in px of the patch."""
    if patch is None or patch_level0 is None:
        return None
    return patch_level0 - round((as_positive(overlap) or 0.0) * patch_level0 / patch)


def slide_size(found: dict[str, Any]) -> tuple[int, int] | None:
    """Width and height of the slide, level-0 px, where attributes say them."""
    width, height = as_positive(found.get("level0_width")), as_positive(found.get("level0_height"))
    return None if width is None or height is None else (int(width), int(height))


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") or part.endswith(".zarr") for part in path.parts)
