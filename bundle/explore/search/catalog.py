"""Which slides an index holds, and what is known of each: its table of contents, ``index.json``."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ... import __version__
from ...core import BundleError, read_json_file, write_text
from ...storage import Provenance

_KIND = "slide_search_index"
_VERSION = 1
CATALOG = "index.json"


class Entry(NamedTuple):
    """One slide.

    ``file``: name of its embedding file without suffix; ``stamp``: that file's size (bytes) and time of change (ns);
    ``values``: its row of the slide table; ``slide_path``: name of the slide's file, by which the table may know it;
    empty where it is not known.
    """

    slide_id: str
    file: str
    stamp: tuple[int, int]
    values: dict[str, str]
    slide_path: str = ""

    @property
    def patient(self) -> str:
        """The slide itself where no patient is known."""
        return self.values.get("patient") or self.slide_id


@dataclass
class Catalog:
    """The table of contents.

    Attributes:
        provenance: what all slides share; None before the first.
        parts: names of the files that hold arrays, in the order of rows.
        entries: one a row; None where a slide was replaced or removed.
        has_regions: whether regions are searchable.
        n_examples: example regions of each prototype.
    """

    provenance: Provenance | None = None
    parts: list[str] = field(default_factory=list)
    entries: list[Entry | None] = field(default_factory=list)
    has_regions: bool = True
    n_examples: int = 4

    @property
    def rows(self) -> dict[str, int]:
        """Row of each slide."""
        return {entry.slide_id: row for row, entry in enumerate(self.entries) if entry is not None}

    def write(self, folder: Path) -> None:
        """Write ``index.json``; a reader sees the old one or the new one.

        Raises:
            OSError: it cannot be written.
        """
        plain = asdict(self) | {"kind": _KIND, "index_version": _VERSION, "bundle_version": __version__}
        plain["provenance"] = self.provenance and self.provenance._asdict()
        plain["entries"] = [entry and entry._asdict() for entry in self.entries]
        write_text(folder / CATALOG, json.dumps(plain, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Catalog:
        """What :meth:`write` wrote.

        Raises:
            BundleError: there is none, it is damaged, or a later version wrote it.
        """
        path = folder / CATALOG
        try:
            plain: dict[str, Any] = read_json_file(path)
            if plain["kind"] != _KIND:
                raise ValueError("it is of another kind")
            if plain["index_version"] > _VERSION:
                raise BundleError(
                    f"the search index {folder} has version {plain['index_version']}; this version of the bundle reads "
                    f"up to {_VERSION}. Update the bundle, or index again into another folder."
                )
            provenance = plain["provenance"] and Provenance(**plain["provenance"])
            entries = [None if e is None else _entry(e) for e in plain["entries"]]
            if not all(isinstance(part, str) for part in plain["parts"]) or type(plain["n_examples"]) is not int:
                raise ValueError(f"its parts are {str(plain['parts'])[:200]}, n_examples {plain['n_examples']!r:.60}")
            return cls(provenance, plain["parts"], entries, plain["has_regions"], plain["n_examples"])
        except FileNotFoundError as error:
            raise BundleError(
                f"there is no search index in {folder} ({CATALOG} is missing): make one with "
                f"slpd search --dataset_dir EMBEDDINGS --index_dir {folder} (slpd infer makes embeddings)."
            ) from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BundleError(
                f"the search index is damaged: {path} cannot be read ({error}). Remove {folder} and index again."
            ) from error


def _entry(plain: dict[str, Any]) -> Entry:
    slide_path = plain.get("slide_path", "")  # the first indexes lack it
    if not isinstance(plain["values"], dict) or not isinstance(plain["file"], str) or not isinstance(slide_path, str):
        raise ValueError(f"an entry is {str(plain)[:200]}")
    return Entry(str(plain["slide_id"]), plain["file"], tuple(plain["stamp"]), plain["values"], slide_path)
