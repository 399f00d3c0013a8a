"""One interface to a slide, whoever reads it: any rectangle at any resolution."""

import logging
import math
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..cohort import SlideError
from .backend import Backend, WrongReaderError, checked_mpp
from .cucim_backend import CucimBackend
from .openslide_backend import OpenslideBackend
from .tifffile_backend import TifffileBackend

_BACKENDS: dict[str, type] = {"cucim": CucimBackend, "openslide": OpenslideBackend, "tifffile": TifffileBackend}
_MAX_BLOCK_PX = 4096
_log = logging.getLogger(__name__)


class Slide:
    """A slide at hand. Several threads may call :meth:`read` at once: no reader here keeps state between reads.

    Attributes:
        slide_id, path, reader: its name, file, and the library that reads it.
        width, height: px of level 0.
        mpp: um/px of level 0.
        level_downsamples: level-0 px a px of each level; 1 for the first.
    """

    def __init__(self, backend: Backend, path: Path, slide_id: str, mpp: float) -> None:
        self._backend = backend
        self.path, self.slide_id, self.mpp = path, slide_id, mpp
        self.reader = backend.name
        self.width, self.height = backend.level_sizes[0]
        self.level_downsamples = [self._downsample(size) for size in backend.level_sizes]

    def _downsample(self, size: tuple[int, int]) -> float:
        """Level-0 px a px; a whole number where the level's size is a rounded whole share of level 0."""
        ratio = self.width / size[0] if size[0] > size[1] else self.height / size[1]
        whole = round(ratio)
        spare = max(abs(self.width - whole * size[0]), abs(self.height - whole * size[1]))
        return float(whole) if spare < whole else ratio

    def read(
        self, x: int, y: int, width_px: int, height_px: int, mpp: float, *, mpp_tolerance: float = 0.02
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """A rectangle at a resolution.

        It is read from the coarsest level that is at least as fine, and reduced with an area-weighted filter; a level
        within the tolerance is taken as it is. Where the slide has no such level, its finest is enlarged.

        Args:
            x, y: top-left corner in level-0 px; may lie outside the slide.
            width_px, height_px: size in px of ``mpp``.
            mpp: um/px.
            mpp_tolerance: relative.

        Returns:
            RGB uint8 [height_px, width_px, 3], white outside the slide, and bool [height_px, width_px]: inside it.

        Raises:
            SlideError: the rectangle does not decode.
        """
        level = self._level_for(mpp, mpp_tolerance)
        level_mpp = self.mpp * self.level_downsamples[level]
        if abs(level_mpp / mpp - 1) <= mpp_tolerance:
            mpp = level_mpp
        scale = mpp / self.mpp
        columns, rows = _inside(x, width_px, scale, self.width), _inside(y, height_px, scale, self.height)
        picture = np.full((height_px, width_px, 3), 255, np.uint8)
        inside = np.zeros((height_px, width_px), bool)
        if columns[0] < columns[1] and rows[0] < rows[1]:
            window = slice(*rows), slice(*columns)
            picture[window] = self._read_inside(x, y, columns, rows, scale, level)
            inside[window] = True
        return picture, inside

    def _level_for(self, mpp: float, tolerance: float) -> int:
        fine = [i for i, d in enumerate(self.level_downsamples) if self.mpp * d <= mpp * (1 + tolerance)]
        return max(fine, key=lambda i: self.level_downsamples[i]) if fine else 0

    def _read_inside(
        self, x: int, y: int, columns: tuple[int, int], rows: tuple[int, int], scale: float, level: int
    ) -> NDArray[np.uint8]:
        """Target pixels [rows, columns], all of which have their middle inside the slide."""
        size, downsample = self._backend.level_sizes[level], self.level_downsamples[level]
        size_px = (columns[1] - columns[0], rows[1] - rows[0])
        edges = [
            tuple(np.clip((corner + np.array(span) * scale) / downsample, 0, limit))
            for corner, span, limit in ((x, columns, size[0]), (y, rows, size[1]))
        ]
        if math.isclose(scale, downsample, rel_tol=1e-9):
            left, top = (min(round(edge[0]), limit - n) for edge, limit, n in zip(edges, size, size_px, strict=True))
            if left >= 0 and top >= 0:
                return self._decode(left, top, *size_px, level)
        (x0, x1), (y0, y1) = edges
        left, top = math.floor(x0), math.floor(y0)
        raw = self._decode(left, top, math.ceil(x1) - left, math.ceil(y1) - top, level)
        return _resampled(raw, size_px, (x0 - left, y0 - top, x1 - left, y1 - top))

    def _decode(self, x: int, y: int, width: int, height: int, level: int) -> NDArray[np.uint8]:
        try:
            return self._backend.read(x, y, width, height, level)
        except (RuntimeError, ValueError, OSError, IndexError, MemoryError) as error:
            raise SlideError(
                f"slide {self.slide_id} ({self.path.name}): {self.reader} cannot decode {width} x {height} px at "
                f"({x}, {y}) of level {level}: {error}. The file is damaged there; copy or scan it again, or leave it out."
            ) from error

    def thumbnail(self, mpp: float = 16.0, max_px: int = 4096) -> tuple[NDArray[np.uint8], float]:
        """The whole slide, RGB uint8 [h, w, 3], and its um/px: ``mpp``, or coarser where it would pass ``max_px``.

        Raises:
            SlideError: a part does not decode.
        """
        mpp = max(mpp, self.mpp, max(self.width, self.height) * self.mpp / max_px)
        scale = mpp / self.mpp
        width, height = max(1, round(self.width / scale)), max(1, round(self.height / scale))
        picture = np.full((height, width, 3), 255, np.uint8)
        level_mpp = self.mpp * self.level_downsamples[self._level_for(mpp, 0.0)]
        block = max(16, int(_MAX_BLOCK_PX * level_mpp / mpp))
        for top in range(0, height, block):
            for left in range(0, width, block):
                size = min(block, width - left), min(block, height - top)
                corner = round(left * scale), round(top * scale)
                picture[top : top + size[1], left : left + size[0]] = self.read(*corner, *size, mpp, mpp_tolerance=0)[0]
        return picture, mpp

    def close(self) -> None:
        """Close the file."""
        self._backend.close()

    def __enter__(self) -> "Slide":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _inside(corner: int, n_px: int, scale: float, limit: int) -> tuple[int, int]:
    """First and one-past-last target pixel whose middle lies inside [0, limit) of level 0."""
    first = math.ceil(-corner / scale - 0.5)
    end = math.ceil((limit - corner) / scale - 0.5)
    return min(max(first, 0), n_px), min(max(end, 0), n_px)


def _resampled(
    raw: NDArray[np.uint8], size: tuple[int, int], box: tuple[float, float, float, float]
) -> NDArray[np.uint8]:
    """Pillow's filters widen with the reduction, so nothing aliases; BOX is the exact mean of whole factors."""
    factors = ((box[2] - box[0]) / size[0], (box[3] - box[1]) / size[1])
    is_whole = all(factor >= 1 and abs(factor - round(factor)) < 1e-6 for factor in factors)
    kind = Image.Resampling.BOX if is_whole else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(np.ascontiguousarray(raw)).resize(size, kind, box=box))


def open_slide(
    path: str | Path,
    *,
    reader: str = "auto",
    mpp: float | None = None,
    default_mpp: float | None = None,
    slide_id: str | None = None,
) -> Slide:
    """Open a slide with the first reader that knows its format.

    Args:
        path: the file.
        reader: ``auto`` (cuCIM, then OpenSlide, then tifffile), or one of them.
        mpp: um/px of level 0, whatever the file says.
        default_mpp: um/px where the file says nothing.
        slide_id: name in messages; the file's stem if None.

    Raises:
        SlideError: no reader opens it, or its resolution is unknown or impossible.
    """
    path = Path(path)
    name = slide_id or path.stem
    backend = _open_backend(path, reader, name)
    try:
        return Slide(backend, path, name, _mpp_of(backend, name, mpp, default_mpp))
    except SlideError:
        backend.close()
        raise


def _open_backend(path: Path, reader: str, name: str) -> Backend:
    if reader != "auto" and reader not in _BACKENDS:
        raise SlideError(f"there is no reader {reader!r}: choose auto, {', '.join(_BACKENDS)}.")
    if not path.is_file():
        raise SlideError(f"slide {name}: {path} is no file.")
    if path.stat().st_size == 0:
        raise SlideError(f"slide {name}: {path.name} is empty (0 bytes); copy it again, or leave it out.")
    reasons = []
    for kind, backend in _BACKENDS.items():
        if reader in ("auto", kind):
            try:
                return backend(path)
            except WrongReaderError as error:
                reasons.append(f"{kind}: {error}")
    raise SlideError(
        f"slide {name}: {path.name} cannot be opened ({'; '.join(reasons)}). It is damaged, cut short or no slide: "
        "copy it again, or leave it out."
    )


def _mpp_of(backend: Backend, name: str, mpp: float | None, default_mpp: float | None) -> float:
    if mpp is not None:
        return checked_mpp(mpp, name, "the slide table")
    if backend.mpp is not None:
        x, y = backend.mpp
        if abs(x - y) > 0.02 * max(x, y):
            _log.warning("slide %s has oblong pixels, %g x %g um: their mean is used", name, x, y)
        return checked_mpp((x + y) / 2, name, "its file")
    if default_mpp is not None:
        return checked_mpp(default_mpp, name, "default_mpp")
    raise SlideError(
        f"slide {name}: its file does not say its resolution. Pass --default_mpp (um/px, for all slides that do not "
        "say), or give it in the column mpp of the slide table."
    )
