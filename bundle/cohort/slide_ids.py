"""Which slides there are, and what each is called."""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ..core import BundleError, files_below, readable
from .dicom_series import dicom_instance
from .slide_names import SLIDE_SUFFIXES, twin_key
from .slide_table import SlideTable

_log = logging.getLogger(__name__)
Known = Callable[[str], tuple[str, int] | None]  # name and bytes of the file that an id stood for before
Sections = Callable[[Sequence[Path]], Mapping[Path, int]]  # how many slides a file holds, of those that hold several
_DICOM = ".dcm"
_OTHER_DICOM = (".dicom", ".dic", ".ima")  # and none at all, or a number: names of instances are UIDs, too
_NOT_READ = {".vsi": "Olympus VSI", ".isyntax": "Philips iSyntax"}


class SlideRef(NamedTuple):
    """One slide: its id, its file (for DICOM: one file of the series), its path relative to the searched folder.

    ``section``: which of the slides in this file, None where it holds one.
    """

    slide_id: str
    path: Path
    relative: str
    section: int | None = None


def is_file_name(slide_id: str) -> bool:
    """Whether an id that a file records can name a file: no folder in it, nothing that leads out of one."""
    return slide_id not in ("", ".", "..") and not any(part in slide_id for part in ("/", "\\", "\0"))


def find_slides(
    dataset_dir: str | Path,
    table: SlideTable | None = None,
    suffixes: Sequence[str] = SLIDE_SUFFIXES,
    apart_from: Sequence[Path] = (),
    known: Known | None = None,
    sections: Sections | None = None,
) -> list[SlideRef]:
    """All slides below a folder, sorted by relative path; a single file is allowed.

    The id is the file name without its last suffix; where two files would share one, both get their relative path
    joined by ``__``, and a warning, but for one that is known under the plain name. A series of DICOM files is one
    slide, named after its folder; where a folder holds several, after the first file of each, too. Links are followed;
    one that leads nowhere is a slide that cannot be opened. Bytes of a name that are no UTF-8 are %FC and the like in
    the id.

    Args:
        dataset_dir: folder or file.
        table: slide table; its rows are matched to the slides, and what does not match is warned about.
        suffixes: by which files are slides; ``(".h5",)`` finds token files and names them in the same way.
        apart_from: absolute folders whose files are no slides, such as those that a run writes to.
        known: gives name and bytes of the file that an id stood for in an earlier run, if there was one.
        sections: counts the slides in files; each is a slide, ``<id>__section0`` and so on. None: a file is a slide.

    Raises:
        BundleError: there is no such folder, no slide in it, or two slides would have one id; a row of the table may
            be meant for several slides.
    """
    root = Path(dataset_dir)
    if not root.exists():
        raise BundleError(f"{root} does not exist: give the folder that holds the slides, or one slide file.")
    files = [root] if root.is_file() else _files(root, suffixes)
    files = [p for p in files if not any(p.resolve().is_relative_to(folder) for folder in apart_from)]
    if not files:
        raise BundleError(
            f"no slide found in {root}: looked in depth for {', '.join(suffixes)}; {_what_is_there(root)}."
        )
    base = root.parent if root.is_file() else root
    found = _named(_one_a_series(files, base), known)
    if sections is not None and _DICOM in suffixes:
        found = _with_sections(found, sections([ref.path for ref in found]), known)
    _insist_on_distinct(found)
    if table is not None:
        table.match([slide.slide_id for slide in found], [slide.path for slide in found], base)
    return found


def _files(root: Path, suffixes: Sequence[str]) -> list[Path]:
    """Files with the suffixes of slides, and instances of slides in DICOM that have no suffix which says so."""
    files = files_below(root, suffixes, dead=True)
    if _DICOM not in suffixes:
        return files
    others = files_below(root, is_quiet=True)
    for suffix, name in _NOT_READ.items():
        if n := sum(path.suffix.lower() == suffix for path in others):
            _log.warning("%s: %d files are %s, which is not read here (docs/slides.md)", root, n, name)
    instances = [path for path in others if _may_be_instance(path) and _is_of_slide(path)]
    return sorted([*files, *instances])


def _may_be_instance(path: Path) -> bool:
    suffix = path.suffix.lower()
    return not suffix or suffix in _OTHER_DICOM or suffix[1:].isdigit()


def _is_of_slide(path: Path) -> bool:
    instance = dicom_instance(path)
    return instance is not None and instance.is_slide


def _one_a_series(files: Iterable[Path], base: Path) -> list[tuple[str, Path, Path]]:
    """Id, file, and the relative path whose parts tell duplicates apart; of a series the first file."""
    slides, folders = list[tuple[str, Path, Path]](), defaultdict[Path, list[Path]](list)
    for path in files:
        if path.suffix.lower() == _DICOM or _may_be_instance(path):
            folders[path.parent].append(path)
        else:
            slides.append((path.stem, path, path.relative_to(base).with_suffix("")))
    for folder, instances in folders.items():
        place = folder.relative_to(base)
        series = _first_of_each_series(instances)
        for path in series:
            is_alone = len(series) == 1 and place.parts
            own = place if is_alone else place / _without_dicom_suffix(path)
            slides.append((place.name if place.parts else own.name, path, own))
    return sorted(slides, key=lambda slide: slide[1])


def _first_of_each_series(instances: Sequence[Path]) -> list[Path]:
    """One file of each slide in a folder; where none is known to be of a slide, one for all."""
    first, scanned = dict[str, Path](), set[str]()
    for path in instances:
        instance = dicom_instance(path)
        if instance is not None and instance.is_slide:
            first.setdefault(instance.series, path)
            scanned |= {instance.series} if instance.is_volume else set()
    return [path for series, path in first.items() if series in scanned] or [instances[0]]


def _without_dicom_suffix(path: Path) -> str:
    """Numbers at the end of a UID are no suffix."""
    return path.stem if path.suffix.lower() in (_DICOM, *_OTHER_DICOM) else path.name


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
    return refs


def _with_sections(refs: list[SlideRef], n_sections: Mapping[Path, int], known: Known | None) -> list[SlideRef]:
    """Each section of a file as a slide of its own."""
    found = []
    for ref in refs:
        n = n_sections.get(ref.path, 1)
        if n == 1:
            found.append(ref)
            continue
        if known is not None and known(ref.slide_id) is not None:
            text = "slide %s was read as one before; its %d sections are slides now, and what is stored as %s is of one"
            _log.warning(text, ref.slide_id, n, ref.slide_id)
        found += [ref._replace(slide_id=f"{ref.slide_id}__section{i}", section=i) for i in range(n)]
    return found


def _keeper(name: str, slides: list[tuple[Path, Path]], known: Known) -> Path | None:
    """Which of several namesakes had the plain name when it was alone, and keeps it; None: none that is known.

    Raises:
        BundleError: one of them had it, and it cannot be told which.
    """
    before = _known_file(readable(name), known)
    if before is None:
        return None
    like = []
    for path, place in slides:
        joined = "__".join(place.parts)
        later = {joined, joined + path.suffix.replace(".", "__")} - {name}  # as it is called since a namesake came
        if (readable(path.name), _bytes_of(path)) == before and not any(
            _known_file(readable(each), known) for each in later
        ):
            like.append(path)
    if len(like) > 1:
        raise BundleError(
            f"slide {readable(name)} has been read before, and {' and '.join(readable(str(p)) for p in like[:3])} may "
            "each be the one: rename those that it was not, or choose another folder for the results."
        )
    if like:
        _log.warning("%s is slide %s as before", readable(str(like[0])), readable(name))
    return like[0] if like else None


def _known_file(name: str, known: Known) -> tuple[str, int] | None:
    """What an id stood for before, as one slide or as several sections."""
    return known(name) or known(f"{name}__section0")


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
