"""Opening a slide: which library reads it, and what its resolution is."""

import logging
import math
from pathlib import Path

from ..core import SlideError
from .backend import MAX_MPP, Backend, DamagedFileError, Scale, WrongReaderError, checked_mpp
from .colors import RefusedColorsError
from .cucim_backend import CucimBackend
from .oblong import squared
from .openslide_backend import OpenslideBackend
from .slide import Slide
from .tifffile_backend import TifffileBackend

_BACKENDS: dict[str, type] = {"cucim": CucimBackend, "openslide": OpenslideBackend, "tifffile": TifffileBackend}
READERS = ("auto", *_BACKENDS)
MPP_FROM_TABLE, MPP_FROM_FILE, MPP_FROM_DEFAULT = "slide table", "file", "default_mpp"
_SAME_MPP = 0.01
_log = logging.getLogger(__name__)


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
        SlideError: no reader opens it, its colors are none of a slide, or its resolution is unknown or impossible.
    """
    path = Path(path)
    name = slide_id or path.stem
    backend = _open_backend(path, reader, name)
    try:
        x, y, source = _mpp_of(backend, name, mpp, default_mpp)
        backend, side = squared(backend, x, y, name)
        return Slide(backend, path, name, side, source)
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
    reasons, refused = [], ""
    for kind, backend in _BACKENDS.items():
        if reader in ("auto", kind):
            try:
                return backend(path)
            except DamagedFileError as error:
                raise SlideError(f"slide {name}: {path.name} is cut short ({error}); copy it again.") from error
            except (WrongReaderError, OSError) as error:
                refused = refused or (str(error) if isinstance(error, RefusedColorsError) else "")
                reasons.append(f"{kind}: {error}")
    if refused:
        raise SlideError(f"slide {name}: {path.name} is not read: {refused}.")
    if reader != "auto":
        raise SlideError(f"slide {name}: {path.name} cannot be read ({'; '.join(reasons)}): try the reader auto.")
    raise SlideError(
        f"slide {name}: {path.name} cannot be opened ({'; '.join(reasons)}). It is damaged, cut short or no slide: "
        "copy it again, or leave it out."
    )


def _mpp_of(backend: Backend, name: str, mpp: float | None, default_mpp: float | None) -> tuple[float, float, str]:
    """um/px of level 0 in x and y, and who says so."""
    if mpp is not None:
        mpp = checked_mpp(mpp, name, "the slide table")
        return mpp, mpp, MPP_FROM_TABLE
    if backend.mpp is not None:
        _warn_of_others(backend.scales, name)
        x, y = (checked_mpp(axis, name, "its file") for axis in backend.mpp)
        return x, y, MPP_FROM_FILE
    if default_mpp is not None:
        default_mpp = checked_mpp(default_mpp, name, "default_mpp")
        return default_mpp, default_mpp, MPP_FROM_DEFAULT
    unknown = "".join(f" ({scale.field} is no length)" for scale in backend.scales)
    raise SlideError(
        f"slide {name}: its file does not say its resolution{unknown}, or says one beyond {MAX_MPP:g} um/px, as a "
        "screen or printer has. Pass --default_mpp (um/px, for all slides that do not say), or give it in the column "
        "mpp of the slide table."
    )


def _warn_of_others(scales: list[Scale], name: str) -> None:
    """Name a field of the file that says another um/px than the one that is believed."""
    first, *others = (scale for scale in scales if math.isfinite(scale.x + scale.y))
    for other in others:
        if not all(math.isclose(*pair, rel_tol=_SAME_MPP) for pair in zip(first[1:], other[1:], strict=True)):
            _log.warning(
                "slide %s: its file says %g x %g um/px in %s and %g x %g in %s: the first is believed; the column mpp "
                "of the slide table may say another",
                name, first.x, first.y, first.field, other.x, other.y, other.field,
            )  # fmt: skip
