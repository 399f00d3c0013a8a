"""What became of each slide of a run: one kind of row, one way to a CSV file, back, and onto the console."""

from __future__ import annotations

import contextlib
import csv
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core import BundleError, write_text
from ..pages import csv_text

_SHOWN = {"failed": 0, "waiting": 1, "done": 2, "skipped": 3}  # on the console, in this order
_READ: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("regions", "patches", "missing_tiles", "prototypes"), int),
    "seconds": float,
    "mpp": lambda text: float(text or "nan"),
}
_LATER = {"missing_tiles"}  # tables of before do not have these columns
_SHOW: dict[str, Callable[[Any], str]] = {
    **dict.fromkeys(("regions", "patches", "missing_tiles", "prototypes"), "{:,}".format),
    "seconds": "{:.1f}".format,
    "mpp": lambda mpp: "" if math.isnan(mpp) else f"{mpp:.3g}",
}


@dataclass(frozen=True)
class SlideOutcome:
    """A slide's line; a table shows the columns that are its own.

    Attributes:
        slide: its id.
        status: done, skipped (what was wanted was there), failed, or waiting (the run was stopped before).
        regions, patches, prototypes: how many; 0 where unknown.
        seconds: spent on it.
        reader: what opened it.
        mpp: of level 0, um/px; nan where unknown.
        maps: names of its maps, between semicolons.
        file: of its embeddings; empty where there is none.
        error: why it failed.
        values: what the slide table says of it, by column.
        missing_tiles: of the slide's file, which are background as no level shows them.
    """

    slide: str
    status: str
    regions: int = 0
    patches: int = 0
    prototypes: int = 0
    seconds: float = 0.0
    reader: str = ""
    mpp: float = math.nan
    maps: str = ""
    file: str = ""
    error: str = ""
    values: Mapping[str, str] = field(default_factory=dict)
    missing_tiles: int = 0


@dataclass(frozen=True)
class OutcomeTable:
    """A table of such lines as CSV, sorted by slide.

    Args:
        name: what messages call it.
        maker: the config that writes it.
        columns: attributes of :class:`SlideOutcome`; columns of the slide table follow them where rows have any.
    """

    name: str
    maker: str
    columns: tuple[str, ...]

    def write(self, rows: Sequence[SlideOutcome], path: str | Path, *, keeps_others: bool = False) -> None:
        """Write the CSV; a reader sees the old file or the new one, nothing between.

        Args:
            rows: a line each.
            path: the file; its folder is made.
            keeps_others: slides of an earlier run that are not among these keep their lines.

        Raises:
            BundleError: the folder cannot be written.
        """
        path = Path(path)
        earlier: list[SlideOutcome] = []
        with contextlib.suppress(BundleError):  # none there, or none of ours
            earlier = self.read(path) if keeps_others else []
        lines = {row.slide: row for row in [*earlier, *rows]}
        extra = list(dict.fromkeys(name for row in lines.values() for name in row.values if name not in self.columns))
        cells = [
            [*(_cell(name, getattr(row, name)) for name in self.columns), *(row.values.get(name, "") for name in extra)]
            for _, row in sorted(lines.items())
        ]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, csv_text([*self.columns, *extra], cells))
        except OSError as error:
            raise BundleError(f"the {self.name} {path} cannot be written: {error.strerror}.") from error

    def read(self, path: str | Path) -> list[SlideOutcome]:
        """The rows of :meth:`write`.

        Raises:
            BundleError: there is no such file, or it is not one of this kind.
        """
        path = Path(path)
        try:
            with path.open(newline="", encoding="utf-8") as file:
                return [self._row(line) for line in csv.DictReader(file)]
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            raise BundleError(f"{path} is no {self.name} ({error!r}); {self.maker} writes one.") from error

    def text(self, rows: Sequence[SlideOutcome], max_rows: int = 30) -> str:
        """For the console: counts first, then slides, failed ones first, at most ``max_rows`` of them."""
        counts = Counter(row.status for row in rows)
        shown = sorted(rows, key=lambda row: (_SHOWN.get(row.status, 9), row.slide))[:max_rows]
        names = [name for name in self.columns if name not in ("file", "error")]
        cells = [names, *([_SHOW.get(name, str)(getattr(row, name)) for name in names] for row in shown)]
        widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
        lines = ["  ".join(c.ljust(width) for c, width in zip(line, widths, strict=True)).rstrip() for line in cells]
        for i, row in enumerate(shown, start=1):
            lines[i] += "  " + " ".join(row.error.split()) if row.error else ""
        if len(rows) > len(shown):
            lines.append(f"... and {len(rows) - len(shown)} more")
        summary = ", ".join(f"{counts[status]} {status}" for status in sorted(counts, key=lambda s: _SHOWN.get(s, 9)))
        return "\n".join([f"{len(rows)} slides: {summary}", *lines])

    def _row(self, line: Mapping[str, str]) -> SlideOutcome:
        own: dict[str, Any] = {
            name: _READ.get(name, str)(line[name]) for name in self.columns if name in line or name not in _LATER
        }
        return SlideOutcome(**own, values={name: value for name, value in line.items() if name not in self.columns})


def _cell(name: str, value: Any) -> Any:
    if name == "mpp":
        return "" if math.isnan(value) else f"{value:.6g}"
    return str(round(value, 2)) if name == "seconds" else value


TOKENIZED = OutcomeTable(
    "table of slides",
    "configs/tokenize.yaml",
    ("slide", "status", "regions", "patches", "missing_tiles", "seconds", "reader", "mpp", "error"),
)
EMBEDDED = OutcomeTable(
    "index of slides", "configs/inference.yaml", ("slide", "status", "regions", "prototypes", "mpp", "file", "error")
)
MAPPED = OutcomeTable(
    "index of maps",
    "configs/maps.yaml",
    ("slide", "status", "regions", "prototypes", "seconds", "maps", "file", "error"),
)
