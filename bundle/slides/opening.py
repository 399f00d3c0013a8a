"""Opening a slide: which library reads it, and what its resolution is."""

import logging
from pathlib import Path

from ..core import SlideError
from .backend import MAX_MPP, Backend, DamagedFileError, WrongReaderError, checked_mpp
from .cucim_backend import CucimBackend
from .openslide_backend import OpenslideBackend
from .slide import Slide
from .tifffile_backend import TifffileBackend

_BACKENDS: dict[str, type] = {"cucim": CucimBackend, "openslide": OpenslideBackend, "tifffile": TifffileBackend}
READERS = ("auto", *_BACKENDS)
MPP_FROM_TABLE, MPP_FROM_FILE, MPP_FROM_DEFAULT = "slide table", "file", "default_mpp"
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
        SlideError: no reader opens it, or its resolution is unknown or impossible.
    """
    path = Path(path)
    name = slide_id or path.stem
    backend = _open_backend(path, reader, name)
    try:
        return Slide(backend, path, name, *_mpp_of(backend, name, mpp, default_mpp))
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
            except DamagedFileError as error:
                raise SlideError(f"slide {name}: {path.name} is cut short ({error}); copy it again.") from error
            except (WrongReaderError, OSError) as error:
                reasons.append(f"{kind}: {error}")
    if reader != "auto":
        raise SlideError(f"slide {name}: {path.name} cannot be read ({'; '.join(reasons)}): try the reader auto.")
    raise SlideError(
        f"slide {name}: {path.name} cannot be opened ({'; '.join(reasons)}). It is damaged, cut short or no slide: "
        "copy it again, or leave it out."
    )


def _mpp_of(backend: Backend, name: str, mpp: float | None, default_mpp: float | None) -> tuple[float, str]:
    """um/px of level 0, and who says so."""
    if mpp is not None:
        return checked_mpp(mpp, name, "the slide table"), MPP_FROM_TABLE
    if backend.mpp is not None:
        x, y = backend.mpp
        if abs(x - y) > 0.02 * max(x, y):
            _log.warning("slide %s has oblong pixels, %g x %g um: their mean is used", name, x, y)
        return checked_mpp((x + y) / 2, name, "its file"), MPP_FROM_FILE
    if default_mpp is not None:
        return checked_mpp(default_mpp, name, "default_mpp"), MPP_FROM_DEFAULT
    raise SlideError(
        f"slide {name}: its file does not say its resolution, or says one beyond {MAX_MPP:g} um/px, as a screen or "
        "printer has. Pass --default_mpp (um/px, for all slides that do not say), or give it in the column mpp of the "
        "slide table."
    )
