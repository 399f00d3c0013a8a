"""What tables call slides: the one way in which a name in a table finds its slide."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ..core import BundleError, readable

SLIDE_SUFFIXES = (
    ".svs", ".tif", ".tiff", ".btf", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".svslide", ".czi", ".dcm",
)  # fmt: skip
# what else tables name slides by: formats that are read once they are converted, and files of features
_OTHER_SUFFIXES = (
    ".vsi", ".qptiff", ".isyntax", ".jp2", ".jpg", ".jpeg", ".png",
    ".h5", ".hdf5", ".pt", ".pth", ".npy", ".npz", ".zarr", ".parquet",
)  # fmt: skip
BY_ID, BY_NAME, BY_PATH = "by id", "by file name", "by path"
_WITH_SUFFIX, _WITHOUT, _OTHER_SUFFIX = 3, 2, 1  # how well a file's name is met
# folders that are met, the file's name, whether the slide's id says the same, and whether accents are written alike
_Rank = tuple[int, int, bool, bool]

_BEST: _Rank = (1 << 30, 0, True, True)


class Found(NamedTuple):
    """A name of a table that is a slide's, how it was found, and how well it fits."""

    name: str
    how: str
    rank: _Rank = (0, 0, False, False)


class TableNames:
    """Names of a table, looked up slide by slide.

    A slide's row is that of its id; else that of its file's name or path, as much of it as the table gives, with its
    suffix, without, or with another one where nothing else has that name. Suffixes are those of slides and of features:
    any other ``.2`` is part of a name. The row that names most of the path counts. Accents may be written either way.

    Args:
        names: of the rows, each once.
        source: of the table, for messages.
    """

    def __init__(self, names: Collection[str], source: str) -> None:
        self.source = source
        self._exact, self._names = set(names), {_plain(name): name for name in names}
        self._by_stem = defaultdict[str, list[str]](list)
        self._by_joined = defaultdict[str, list[str]](list)
        for name in names:
            if parts := _parts(name):
                self._by_stem[without_suffix(parts[-1])].append(name)
                if len(parts) > 1 and _is_instance(parts[-1]):
                    self._by_stem[parts[-2]].append(name)
                self._by_joined["__".join([*parts[:-1], without_suffix(parts[-1])])].append(name)
        self._ids: set[str] = set()
        self._owners: dict[str, set[str]] = {}
        self._files: set[str] = set()
        self._tails: Counter[str] = Counter()

    def own(self, slides: Iterable[tuple[str, str]], *, are_whole: bool = False) -> None:
        """Tell of a cohort: a row with the id of one of its slides, or its whole path, is not that of another.

        Args:
            slides: ids and paths, "" where they are not known.
            are_whole: paths are those from the cohort's folder on, and not only names.
        """
        slides = list(slides)
        self._ids = {slide_id for slide_id, _ in slides}
        slides = [(_plain(slide_id), "/".join(_parts(path))) for slide_id, path in slides]
        owners = defaultdict[str, set[str]](set)  # a file with several sections is several slides
        for slide_id, path in slides:
            if path and are_whole:
                owners[path].add(slide_id)
        self._owners = {**owners, **{slide_id: {slide_id} for slide_id, _ in slides}}
        self._files = {path.rpartition("/")[2] for _, path in slides if path}
        self._tails = Counter(_tail(slide_id) for slide_id, path in slides if not _is_slide(path))

    def find(self, slide_id: str, path: str | Path | None = None) -> Found | None:
        """The row of a slide.

        Args:
            slide_id: its id.
            path: its file, as much of the path as is known.

        Raises:
            BundleError: two rows may be meant for it.
        """
        given = slide_id
        exact = given if given in self._exact else self._names.get(_plain(given))
        if exact is not None and (exact == given or exact not in self._ids):
            return Found(exact, BY_ID, _BEST)
        slide_id, own = _plain(given), () if path is None else _parts(readable(str(path)))
        if own and not _is_slide(own[-1]):
            own = own[-1:]  # made from the slide; where it lies says nothing
        if len(own) > 1 and _is_instance(own[-1]) and without_suffix(own[-1]) != slide_id:
            own = own[:-1]  # instances of many series are called alike
        names = {*self._by_stem.get(slide_id, []), *self._by_joined.get(slide_id, [])}
        names |= set(self._by_stem.get(without_suffix(own[-1]), [])) if own else set()
        written = (given, "" if path is None else without_suffix(readable(Path(path).name)))
        ranks: dict[str, _Rank] = {}
        for name in names:
            rank = self._rank(name, slide_id, own) if self._may_have(name, given) else None
            if rank is not None:
                ranks[name] = *rank, any(text in name for text in written if text)
        highest = max(ranks.values(), default=None)
        best = [name for name, rank in ranks.items() if rank == highest]
        if len(own) < 2 and highest and highest[0]:  # x/a and q/x/a both spell x__a
            best = [name for name, rank in ranks.items() if rank[0] and rank[1:3] == highest[1:3]]
        if len(best) > 1:
            raise BundleError(
                f"{self.source}: the rows {' and '.join(map(repr, sorted(best)[:3]))} may each be that of slide "
                f"{slide_id}; keep one, or call the slide by its id."
            )
        return Found(best[0], BY_PATH if highest[0] else BY_NAME, highest) if highest else None

    def find_all(self, slides: Sequence[tuple[str, str | Path | None]]) -> dict[str, Found | None]:
        """The rows of a cohort by id. A row is that of the slide which it fits best, or of several that it fits alike.

        Args:
            slides: ids and files.

        Raises:
            BundleError: two rows may be meant for one slide.
        """
        found = {slide_id: self.find(slide_id, path) for slide_id, path in slides}
        best: dict[str, _Rank] = {}
        for hit in found.values():
            if hit is not None:
                best[hit.name] = max(hit.rank, best.get(hit.name, hit.rank))
        return {i: hit if hit is not None and hit.rank == best[hit.name] else None for i, hit in found.items()}

    def _may_have(self, name: str, slide_id: str) -> bool:
        """Whether a row is no other slide's by its id or its whole path."""
        is_other = name != slide_id and name in self._ids
        owners = self._owners.get("/".join(_parts(name)))
        return not is_other and (owners is None or _plain(slide_id) in owners)

    def _rank(self, name: str, slide_id: str, own: tuple[str, ...]) -> tuple[int, int, bool] | None:
        """How well a row fits; None: not at all."""
        *folders, last = _parts(name)
        if _is_instance(last) and folders and not (own and _is_instance(own[-1])):
            *folders, last = folders
        stem = without_suffix(last)
        suffix = last[len(stem) :].replace(".", "__")
        is_own = slide_id in (stem, stem + suffix)
        ends = ["__".join([*folders[len(folders) - n :], stem]) for n in range(len(folders) + 1)]
        n_joined = next((n for n, end in enumerate(ends) if n and slide_id in (end, end + suffix)), 0)
        met = 0
        if own and last in (own[-1], without_suffix(own[-1])):
            met = _WITH_SUFFIX if last == own[-1] else _WITHOUT
        elif not own or not _is_slide(own[-1]):
            met = _OTHER_SUFFIX if n_joined or (is_own and self._tails[stem] < 2) else 0
        elif is_own and stem == without_suffix(own[-1]) and last not in self._files:
            met = _OTHER_SUFFIX
        if not met:
            return None
        if len(own) < 2:
            is_elsewhere = (
                bool(folders and own)
                and slide_id.removesuffix(suffix).endswith(f"__{without_suffix(own[-1])}")
                and not n_joined
            )
            return None if is_elsewhere else (n_joined, met, is_own)
        n = min(len(folders), len(own) - 1)
        if tuple(folders[len(folders) - n :]) == own[len(own) - 1 - n : -1]:
            return n, met, is_own
        # a whole path may be that of another machine, a relative one is another file's
        return (0, met, is_own) if name.startswith(("/", "\\")) or name[1:2] == ":" else None


def without_suffix(name: str) -> str:
    """A file's name without its suffix, where that is one of slides or features."""
    suffix = next((s for s in SLIDE_SUFFIXES + _OTHER_SUFFIXES if name.lower().endswith(s)), "")
    return name[: len(name) - len(suffix)] or name


def path_from(file: Path | None, base: Path | None) -> str:
    """A file's path from the cohort's folder on, or its name where it lies elsewhere; "" where it is not known."""
    if file is None:
        return ""
    return readable(file.relative_to(base).as_posix() if base and file.is_relative_to(base) else file.name)


def is_name_of(name: str, paths: Iterable[str]) -> bool:
    """Whether a table's name is the file name of every one of these paths, with or without its suffix."""
    last = _parts(name)[-1]
    files = [_parts(path)[-1] if path else "" for path in paths]
    return all(last in (file, without_suffix(file)) for file in files)


def twin_key(slide_id: str) -> str:
    """The same for ids that some file systems take for one name: capitals and ways of writing accents do not count."""
    return _plain(_plain(slide_id).casefold())


def _tail(slide_id: str) -> str:
    """What an id that was joined of a path ends with: the file's own name."""
    parts = slide_id.split("__")
    if len(parts) > 1 and f".{parts[-1]}".lower() in SLIDE_SUFFIXES:
        parts.pop()
    return parts[-1]


def _is_slide(name: str) -> bool:
    return name.lower().endswith(SLIDE_SUFFIXES)


def _is_instance(name: str) -> bool:
    return name.lower().endswith(".dcm")


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _parts(name: str) -> tuple[str, ...]:
    """Parts of a path as it is written on any system."""
    return tuple(part for part in PurePosixPath(_plain(name).replace("\\", "/")).parts if part != "/")
