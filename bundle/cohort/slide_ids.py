"""Which slides there are, and what each is called."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ..core import BundleError
from .slide_table import SlideTable

SLIDE_SUFFIXES = (
    ".svs", ".tif", ".tiff", ".btf", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".svslide", ".czi", ".dcm",
)  # fmt: skip
_log = logging.getLogger(__name__)


class SlideRef(NamedTuple):
    """One slide: its id, its file (for DICOM: one file of the series), its path relative to the searched folder."""

    slide_id: str
    path: Path
    relative: str


def is_file_name(slide_id: str) -> bool:
    """Whether an id that a file records can name a file: no folder in it, nothing that leads out of one."""
    return slide_id not in ("", ".", "..") and not any(part in slide_id for part in ("/", "\\", "\0"))


def find_slides(
    dataset_dir: str | Path,
    table: SlideTable | None = None,
    suffixes: Sequence[str] = SLIDE_SUFFIXES,
    apart_from: Sequence[Path] = (),
) -> list[SlideRef]:
    """All slides below a folder, sorted by relative path; a single file is allowed.

    The id is the file name without its last suffix; where two files would share one, both get their relative path
    joined by ``__``, and a warning. The files of a folder of DICOM files are one slide, named after the folder.

    Args:
        dataset_dir: folder or file.
        table: slide table; a row that matches no slide is warned about.
        suffixes: by which files are slides; ``(".h5",)`` finds token files and names them in the same way.
        apart_from: absolute folders whose files are no slides, such as those that a run writes to.

    Raises:
        BundleError: there is no such folder, or no slide in it.
    """
    root = Path(dataset_dir)
    if not root.exists():
        raise BundleError(f"{root} does not exist: give the folder that holds the slides, or one slide file.")
    files = [root] if root.is_file() else sorted(p for p in root.rglob("*") if _is_slide(p, suffixes))
    files = [p for p in files if not any(p.resolve().is_relative_to(folder) for folder in apart_from)]
    if not files:
        raise BundleError(
            f"no slide found in {root}: looked in depth for {', '.join(suffixes)}; {_what_is_there(root)}."
        )
    base = root.parent if root.is_file() else root
    found = _named([_one_a_series(p, base) for p in _without_further_dicom_files(files)])
    if table is not None:
        table.warn_of_strangers([slide.slide_id for slide in found], [slide.path for slide in found])
    return found


def _is_slide(path: Path, suffixes: Sequence[str]) -> bool:
    return path.suffix.lower() in suffixes and path.is_file() and not path.name.startswith(".")


def _without_further_dicom_files(files: Iterable[Path]) -> list[Path]:
    """Of each folder's DICOM files only the first: a series is one slide."""
    kept, series = [], set()
    for path in files:
        if path.suffix.lower() == ".dcm":
            if path.parent in series:
                continue
            series.add(path.parent)
        kept.append(path)
    return kept


def _one_a_series(path: Path, base: Path) -> tuple[str, Path, Path]:
    """Id, file, and the relative path whose parts tell duplicates apart."""
    relative = path.relative_to(base)
    if path.suffix.lower() == ".dcm" and relative.parent != Path("."):
        return relative.parent.name, path, relative.parent
    return path.stem, path, relative.with_suffix("")


def _named(slides: list[tuple[str, Path, Path]]) -> list[SlideRef]:
    counts = Counter(name for name, _, _ in slides)
    doubles = sorted(name for name, n in counts.items() if n > 1)
    if doubles:
        _log.warning(
            "%d slide ids stand for several files (%s): these are called by their relative path, joined by __",
            len(doubles),
            ", ".join(doubles[:3]),
        )
    named = []
    for name, path, place in slides:
        slide_id = "__".join(place.parts) if counts[name] > 1 else name
        named.append((slide_id, path, place))
    again = Counter(name for name, _, _ in named)
    return [
        SlideRef(f"{name}{path.suffix.replace('.', '__')}" if again[name] > 1 else name, path, str(place))
        for name, path, place in named
    ]


def _what_is_there(root: Path) -> str:
    suffixes = Counter(p.suffix.lower() or "no suffix" for p in root.rglob("*") if p.is_file())
    if not suffixes:
        return "it holds no file at all"
    return "it holds " + ", ".join(f"{n} x {suffix}" for suffix, n in suffixes.most_common(4))
