"""Opening a slide: which library reads it, and what its resolution is."""

import logging
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..core import SlideError
from .backend import MAX_MPP, Backend, DamagedFileError, KnownLimitError, Scale, WrongReaderError, checked_mpp
from .colors import RefusedColorsError
from .cucim_backend import CucimBackend
from .formats import UNKNOWN, Format
from .images import MACRO, RefusedFileError, is_large_beside
from .oblong import squared
from .openslide_backend import OpenslideBackend
from .recognizing import recognized
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
    section: int | None = None,
) -> Slide:
    """Open a slide with a reader of its format; see docs/slides.md.

    Args:
        path: the file.
        reader: ``auto`` (of cuCIM, OpenSlide and tifffile the first that may read the format and sees all levels of the
            slide's image), or one of them.
        mpp: um/px of level 0, whatever the file says.
        default_mpp: um/px where the file says nothing.
        slide_id: name in messages; the file's stem if None.
        section: which of several sections of one file, counted from 0.

    Raises:
        SlideError: no reader opens it, it has several sections and none is named, its colors are not those of a slide,
            or its resolution is unknown or impossible.
    """
    path = Path(path)
    name = slide_id or path.stem
    backend = _open_backend(path, reader, name, section)
    try:
        _say_what_is_not_read(backend, name)
        x, y, source = _mpp_of(backend, name, mpp, default_mpp)
        backend, side = squared(backend, x, y, name)
        return Slide(backend, path, name, side, source)
    except SlideError:
        backend.close()
        raise


def _open_backend(path: Path, reader: str, name: str, section: int | None) -> Backend:
    if reader != "auto" and reader not in _BACKENDS:
        raise SlideError(f"there is no reader {reader!r}: choose auto, {', '.join(_BACKENDS)}.")
    if not path.is_file():
        raise SlideError(f"slide {name}: {path} is no file.")
    if path.stat().st_size == 0:
        raise SlideError(f"slide {name}: {path.name} is empty (0 bytes); copy it again, or leave it out.")
    kind = UNKNOWN
    try:
        kind = recognized(path)
        return _first_that_reads(path, kind, _readers_of(kind, reader), section)
    except DamagedFileError as error:
        raise SlideError(f"slide {name}: {path.name} is cut short ({error}); copy it again.") from error
    except RefusedColorsError as error:
        raise SlideError(f"slide {name}: {path.name} is not read: {error}.") from error
    except RefusedFileError as error:
        raise SlideError(f"slide {name}: {path.name} cannot be opened: {error}.") from error
    except (WrongReaderError, OSError) as error:
        advice = kind.advice if reader == "auto" or not kind.readers else "try the reader auto"
        raise SlideError(f"slide {name}: {path.name} ({kind.name}) cannot be opened ({error}): {advice}.") from error


def _readers_of(kind: Format, reader: str) -> tuple[str, ...]:
    """Who is asked to read a file.

    Raises:
        RefusedFileError: its format is not read, or not by this reader.
    """
    if kind is UNKNOWN:
        raise RefusedFileError(f"it has no format that is known here; {kind.advice}")
    if not kind.readers:
        raise RefusedFileError(f"it is {kind.name}, which is not read here: {kind.advice}")
    if reader == "auto":
        return kind.readers
    if reader not in kind.readers:
        others = " or ".join(("auto", *kind.readers))
        raise RefusedFileError(f"it is {kind.name}, and {reader} {kind.wrong[reader]}: choose the reader {others}")
    return (reader,)


def _first_that_reads(path: Path, kind: Format, readers: Sequence[str], section: int | None) -> Backend:
    """The first reader that sees all levels of the slide's image, or of those that open the file the first.

    Raises:
        WrongReaderError: none opens it; what each said.
        DamagedFileError, RefusedFileError, RefusedColorsError: nobody is asked any further.
    """
    reasons: list[str] = []
    opened: list[Backend] = []
    for reader in readers:
        try:
            opened.append(_BACKENDS[reader](path, section))
        except (DamagedFileError, RefusedFileError, RefusedColorsError):
            _close(opened)
            raise
        except (WrongReaderError, OSError) as error:
            reasons.append(f"{reader}: {error}")
            if reader == kind.own and not isinstance(error, KnownLimitError):
                break
        else:
            if len(opened[-1].level_sizes) >= len(opened[-1].image.levels):
                _close(opened[:-1])
                return opened[-1]
    if not opened:
        raise WrongReaderError("; ".join(reasons))
    _close(opened[1:])
    return opened[0]


def _close(backends: Iterable[Backend]) -> None:
    for backend in backends:
        backend.close()


def _say_what_is_not_read(backend: Backend, name: str) -> None:
    """Warn of focal planes and large images that are left out."""
    image = backend.image
    if image.z > 1:
        _log.warning("slide %s has %d planes of one size: the first is read", name, image.z)
    for other in backend.images:
        if other.role == MACRO and not other.name and is_large_beside(image, other):
            _log.warning("slide %s: its file also holds %s; it is not read", name, other)


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
