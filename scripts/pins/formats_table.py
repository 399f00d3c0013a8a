"""Which reader opens which format, with which um/px, levels and colors: tried on small files and on slides at hand."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bundle.core import ROOT, SlideError
from bundle.slides import open_slide
from bundle.slides.formats import Format
from bundle.slides.recognizing import recognized
from scripts.pins.format_files import SmallFile, write_small_files

PAGE = ROOT / "docs" / "slides.md"
BEGIN, END = "<!-- made by scripts/formats -->", "<!-- end -->"
READERS = ("auto", "cucim", "openslide", "tifffile")
_HEADER = ("file", "reader", "opened", "um/px", "levels", "colors", "known to be odd")
_SAID_OF_ALL = r"^slide a[^:]*: (a\.[a-z.]+ )?(\([^)]*\) )?(cannot be opened(: | \())?([a-z]+: )?"
_SIDE = 512  # px of level 0 that real slides are compared in


class Trial(NamedTuple):
    """What a reader makes of a file: what it is called, um/px, levels, px of a part; or why it does not open it."""

    reader: str
    mpp: float = 0.0
    levels: tuple[int, ...] = ()
    picture: NDArray[np.uint8] | None = None
    reason: str = ""


def trial(path: Path, reader: str, size: tuple[int, int], section: int | None, mpp: float | None = None) -> Trial:
    """Open a file and read a part of level 0, (width, height) px from its middle, or from its corner if that is all."""
    try:
        with open_slide(path, reader=reader, section=section, default_mpp=mpp) as slide:
            x, y = (max(0, (whole - part) // 2) for whole, part in zip((slide.width, slide.height), size, strict=True))
            x, y = (0, 0) if max(slide.width, slide.height) < 2 * max(size) else (x, y)
            levels = tuple(round(factor) for factor in slide.level_downsamples)
            return Trial(slide.reader, slide.mpp, levels, slide.read(x, y, *size, slide.mpp)[0])
    except SlideError as error:
        reason = re.sub(_SAID_OF_ALL, "", str(error))
        return Trial(reader, reason=re.split(r": choose the reader|\): try the reader", reason)[0].rstrip("."))


def small_rows() -> list[tuple[str, ...]]:
    """Rows of the table of small files; colors are the mean difference from what was painted, of 255."""
    rows = []
    with TemporaryDirectory(prefix="formats-") as folder:
        for file in write_small_files(Path(folder)):
            rows += _rows(file)
    return rows


def real_rows(what: str, paths: Sequence[Path], mpp: float | None = None) -> list[tuple[str, ...]]:
    """A row a reader of several slides of a kind; colors are the largest difference from those of ``auto``."""
    by_reader = {reader: [trial(path, reader, (_SIDE, _SIDE), None, mpp) for path in paths] for reader in READERS}
    rows: list[tuple[str, ...]] = []
    for reader, trials in by_reader.items():
        opened = [one for one in trials if one.picture is not None]
        differences = [
            int(np.abs(one.picture.astype(int) - first.picture).max())
            for one, first in zip(trials, by_reader[READERS[0]], strict=True)
            if one.picture is not None and first.picture is not None
        ]
        readers = sorted({one.reader for one in opened})
        rows.append(
            (
                what,
                f"auto: {', '.join(readers)}" if reader == "auto" else reader,
                f"{len(opened)} of {len(paths)}",
                _range(f"{one.mpp:.4g}" for one in opened) + (" (given)" if mpp else ""),
                _range(str(len(one.levels)) for one in opened),
                f"at most {max(differences)} apart from auto's" if differences else "",
                "; ".join(sorted({one.reason for one in trials if one.reason}))[:160],
            )
        )
    return rows


def _range(values: Iterable[str]) -> str:
    found = sorted(set(values), key=float)
    return found[0] if len(found) == 1 else f"{found[0]} to {found[-1]}" if found else ""


def _kind(path: Path) -> Format | None:
    try:
        return recognized(path)
    except Exception:  # named by what opening it says
        return None


def _rows(file: SmallFile) -> list[tuple[str, ...]]:
    """A row a reader; readers that refuse a file for one reason share it."""
    what, kind, (height, width) = file.what, _kind(file.path), file.picture.shape[:2]
    reasons: dict[str, list[str]] = {}
    rows: list[tuple[str, ...]] = []
    for asked in READERS:
        one = trial(file.path, asked, (width, height), file.section)
        if one.picture is None:
            reasons.setdefault(one.reason, []).append(asked)
            continue
        name = f"auto: {one.reader}" if asked == "auto" else asked
        odd = "" if kind is None or asked == "auto" else kind.wrong.get(asked, "")
        levels = ", ".join(map(str, one.levels))
        colors = f"{np.abs(one.picture.astype(int) - file.picture).mean():.1f}"
        rows.append((what, name, "yes", f"{one.mpp:.4g}", levels, colors, odd))
    rows += [(what, ", ".join(names), "no", "", "", "", reason) for reason, names in reasons.items()]
    return rows


def as_table(rows: Iterable[tuple[str, ...]]) -> str:
    """Markdown."""
    lines = [_HEADER, ("---",) * len(_HEADER), *rows]
    return "".join(
        f"| {' | '.join(cell.replace('|', '/').replace(chr(10), ' ') for cell in line)} |\n" for line in lines
    )


def write_page(table: str, page: Path = PAGE) -> None:
    """Put the table in its place."""
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(f"{BEGIN}\n")
    page.write_text(f"{before}{BEGIN}\n{table}{END}{rest.split(END)[1]}", encoding="utf-8")


def main() -> None:
    """The command line: see ``scripts/formats --help``."""
    parser = argparse.ArgumentParser(prog="scripts/formats", description="Which reader opens which format, and how.")
    beside = Path(os.environ.get("SLIDES_DIR", ROOT.parent / "shared" / "slides"))
    parser.add_argument("--slides", type=Path, default=beside, help="folder with OpenSlide's CMU-1-Small-Region.svs")
    parser.add_argument("--atlas", type=Path, default=ROOT.parent / "shared" / "atlas", help="folder of other slides")
    parser.add_argument("--atlas_mpp", type=float, help="um/px of those where their files do not say it")
    parser.add_argument("--write", action="store_true", help="into docs/slides.md, in place of onto the console")
    options = parser.parse_args()
    rows = small_rows()
    real = options.slides / "CMU-1-Small-Region.svs"
    rows += real_rows("a real Aperio slide (CMU-1-Small-Region.svs)", [real]) if real.is_file() else []
    atlas = sorted(options.atlas.rglob("*.tif"))
    rows += real_rows(f"{len(atlas)} TIFFs of the Pathology Atlas", atlas, options.atlas_mpp) if atlas else []
    if options.write:
        write_page(as_table(rows))
    else:
        print(as_table(rows), end="")


if __name__ == "__main__":
    main()
