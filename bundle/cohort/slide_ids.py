"""Which slides there are, and what each is called."""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ..core import BundleError, files_below, readable
from .slide_names import SLIDE_SUFFIXES, twin_key
from .slide_table import SlideTable

_log = logging.getLogger(__name__)
Known = Callable[[str], tuple[str, int] | None]  # name and bytes of the file that an id stood for before


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
    known: Known | None = None,
) -> list[SlideRef]:
    """All slides below a folder, sorted by relative path; a single file is allowed.

    The id is the file name without its last suffix; where two files would share one, both get their relative path
    joined by ``__``, and a warning, but for one that is known under the plain name. The files of a folder of DICOM
    files are one slide, named after the folder. Links are followed; one that leads nowhere is a slide that cannot be
    opened. Bytes of a name that are no UTF-8 are %FC and the like in the id.

    Args:
        dataset_dir: folder or file.
        table: slide table; its rows are matched to the slides, and what does not match is warned about.
        suffixes: by which files are slides; ``(".h5",)`` finds token files and names them in the same way.
        apart_from: absolute folders whose files are no slides, such as those that a run writes to.
        known: gives name and bytes of the file that an id stood for in an earlier run, if there was one.

    Raises:
        BundleError: there is no such folder, no slide in it, or two slides would have one id; a row of the table may
            be meant for several slides.
    """
    root = Path(dataset_dir)
    if not root.exists():
        raise BundleError(f"{root} does not exist: give the folder that holds the slides, or one slide file.")
    files = [root] if root.is_file() else files_below(root, suffixes, dead=True)
    files = [p for p in files if not any(p.resolve().is_relative_to(folder) for folder in apart_from)]
    if not files:
        raise BundleError(
            f"no slide found in {root}: looked in depth for {', '.join(suffixes)}; {_what_is_there(root)}."
        )
    base = root.parent if root.is_file() else root
    found = _named([_one_a_series(p, base) for p in _without_further_dicom_files(files)], known)
    if table is not None:
        table.match([slide.slide_id for slide in found], [slide.path for slide in found], base)
    return found


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


def _named(slides: list[tuple[str, Path, Path]], known: Known | None) -> list[SlideRef]:
    counts = Counter(name for name, _, _ in slides)
    doubles = sorted(name for name, n in counts.items() if n > 1)
    if doubles:
        _log.warning(
            "%d slide ids stand for several files (%s): these are called by their relative path, joined by __",
            len(doubles),
            ", ".join(readable(name) for name in doubles[:3]),
        )
    groups = defaultdict[str, list[tuple[Path, Path]]](list)
    for name, path, place in slides:
        groups[name].append((path, place))
    keeping = set() if known is None else {_keeper(name, groups[name], known) for name in doubles}
    named = []
    for name, path, place in slides:
        slide_id = "__".join(place.parts) if counts[name] > 1 and path not in keeping else name
        named.append((slide_id, path, place))
    again = Counter(name for name, _, _ in named)
    refs = [
        SlideRef(
            readable(f"{name}{path.suffix.replace('.', '__')}" if again[name] > 1 and path not in keeping else name),
            path,
            readable(str(place)),
        )
        for name, path, place in named
    ]
    _insist_on_distinct(refs)
    return refs


def _keeper(name: str, slides: list[tuple[Path, Path]], known: Known) -> Path | None:
    """Which of several namesakes had the plain name when it was alone, and keeps it; None: none that is known.

    Raises:
        BundleError: one of them had it, and it cannot be told which.
    """
    before = known(readable(name))
    if before is None:
        return None
    like = []
    for path, place in slides:
        joined = "__".join(place.parts)
        later = {joined, joined + path.suffix.replace(".", "__")} - {name}  # as it is called since a namesake came
        if (readable(path.name), _bytes_of(path)) == before and not any(known(readable(each)) for each in later):
            like.append(path)
    if len(like) > 1:
        raise BundleError(
            f"slide {readable(name)} has been read before, and {' and '.join(readable(str(p)) for p in like[:3])} may "
            "each be the one: rename those that it was not, or choose another folder for the results."
        )
    if like:
        _log.warning("%s is slide %s as before", readable(str(like[0])), readable(name))
    return like[0] if like else None


def _bytes_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # a link that leads nowhere
        return -1


def _insist_on_distinct(refs: Iterable[SlideRef]) -> None:
    """Two slides never share an id; ids that look the same are warned about.

    Raises:
        BundleError: two do; the paths of both are named.
    """
    paths, alike = dict[str, Path](), defaultdict[str, list[str]](list)
    for ref in refs:
        other = paths.setdefault(ref.slide_id, ref.path)
        if other is not ref.path:
            raise BundleError(
                f"two slides would have the id {ref.slide_id}, {readable(str(other))} and {readable(str(ref.path))}: "
                "rename one of the files, or give the folders of both as a dataset_dir of their own."
            )
        alike[twin_key(ref.slide_id)].append(ref.slide_id)
    for twins in [ids for ids in alike.values() if len(ids) > 1][:3]:
        _log.warning("slides %s have names that differ only in capitals or in how accents are written", twins)


def _what_is_there(root: Path) -> str:
    suffixes = Counter(path.suffix.lower() or "no suffix" for path in files_below(root, is_quiet=True))
    if not suffixes:
        return "it holds no file at all"
    return "it holds " + ", ".join(f"{n} x {suffix}" for suffix, n in suffixes.most_common(4))
