"""Tables as spreadsheets and scripts write them: what separates cells, how letters are stored, what means nothing."""

from __future__ import annotations

import codecs
import csv
import io
import logging
import re
import zipfile
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..core import BundleError, insist_on_unpacked, read_small, readable

_SEPARATORS = (",", ";", "\t")
_MISSING = {
    "", "na", "n/a", "n.a.", "#n/a", "<na>", "nan", "none", "null", "--", "?", "missing", "unknown",
    "not available", "not applicable", "not reported", "not evaluated",
}  # fmt: skip
_UTF_16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_ZIP, _MOST = b"PK\x03\x04", 1 << 30  # bytes; a table of a million slides has a few hundred million
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TextTable:
    """A table's cells as text, without spaces around them.

    Attributes:
        columns: names, in their order.
        rows: the number of each row's line, and its cells by column; rows without any cell are left out.
        has_decimal_comma: commas are free for numbers, as something else separates cells.
    """

    columns: list[str]
    rows: list[tuple[int, dict[str, str]]]
    has_decimal_comma: bool = False

    def number(self, text: str) -> float:
        """A cell's number.

        Raises:
            ValueError: it is none.
        """
        is_comma = self.has_decimal_comma and re.fullmatch(r"[-+]?\d+,\d+", text)
        return float(text.replace(",", ".") if is_comma else text)


def read_table(path: Path, what: str, keys: Sequence[str]) -> TextTable:
    """Read a table in UTF-8 or UTF-16, separated by commas, semicolons or tabs; a zip archive of one such file, too.

    Args:
        path: the file.
        what: it is called in messages.
        keys: columns of which one is needed; that tells what separates.

    Raises:
        BundleError: there is no such file, it is no text, or a row has more cells than there are columns. That a
            column is missing is for the caller to say.
    """
    try:
        text = _text(_contents(path))
        separator, text, n_skipped = _separator(text, keys)
        lines = _lines(text, separator)
    except (OSError, ValueError, csv.Error) as error:
        raise BundleError(
            f"the {what} {readable(str(path))} cannot be read ({error}): give a CSV file, in UTF-8 or UTF-16."
        ) from error
    lines = [(line + n_skipped, cells) for line, cells in lines if any(cells)]
    if not lines:
        return TextTable([], [])
    (_, columns), *rest = lines
    for line, cells in rest:
        if any(cells[len(columns) :]):
            raise BundleError(
                f"{path}, line {line}: {len(cells)} cells, but {len(columns)} columns: put a cell that holds "
                f"{'a comma' if separator == ',' else 'the separator'} in quotation marks."
            )
    twice = sorted(name for name, n in Counter(columns).items() if name and n > 1)
    if twice:
        _log.warning("%s has two columns %s: the last of them counts", path, ", ".join(twice))
    rows = [(line, {name: "" for name in columns} | dict(zip(columns, cells, strict=False))) for line, cells in rest]
    return TextTable(columns, rows, separator != ",")


def with_slide_column(table: TextTable) -> TextTable:
    """A table of CLAM's kind with columns ``slide`` and ``patient`` besides its own; any other one as it is."""
    if "slide" in table.columns or "slide_id" not in table.columns:
        return table
    own = {"slide": "slide_id", "patient": "case_id"}
    own = {name: theirs for name, theirs in own.items() if theirs in table.columns and name not in table.columns}
    rows = [(line, row | {name: row[theirs] for name, theirs in own.items()}) for line, row in table.rows]
    return replace(table, columns=[*table.columns, *own], rows=rows)


def is_missing(text: str) -> bool:
    """Whether a cell says that a value is not known, in one of the words that tables use for it."""
    return text.strip().removeprefix("[").removesuffix("]").strip("' ").lower() in _MISSING


def as_written_once(values: Iterable[str], prefers: Collection[str] = ()) -> dict[str, str]:
    """What each text stands for where ``0`` and ``0.0`` are one: tables of spreadsheets and pandas write both.

    Args:
        values: texts.
        prefers: of one number's texts the one that counts; else the shortest.
    """
    groups: dict[str, list[str]] = {}
    for text in sorted({*values, *prefers}):
        groups.setdefault(re.sub(r"^([-+]?\d+)\.0+$", r"\1", text), []).append(text)
    chosen = {text: min(texts, key=lambda t: (t not in prefers, len(t))) for texts in groups.values() for text in texts}
    return chosen


def _lines(text: str, separator: str) -> list[tuple[int, list[str]]]:
    """Numbers of lines and their cells.

    Raises:
        csv.Error: a quotation mark is never closed, so that the rest of the table would be one cell.
    """
    found: list[tuple[int, list[str]]] = []
    for is_strict in (True, False):
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=is_strict)
        try:
            found = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
            break
        except csv.Error as error:
            if not is_strict or "unexpected end" in str(error):
                raise csv.Error(f"line {reader.line_num}: {error}") from error
    return found


def _contents(path: Path) -> bytes:
    """The file's bytes, or those of the one file that it packs: cohorts publish tables as ``.csv.zip``.

    Raises:
        ValueError: it is very large, or an archive of several files, or one that cannot be unpacked.
    """
    contents = read_small(path, _MOST)
    if not contents.startswith(_ZIP):
        return contents
    insist_on_unpacked(path, _MOST)
    try:
        with zipfile.ZipFile(io.BytesIO(contents)) as archive:
            names = [member.filename for member in archive.infolist() if not member.is_dir()]
            found = archive.read(names[0]) if len(names) == 1 else None
    except Exception as error:  # damaged archives fail in many ways, in zipfile, zlib, bz2 and lzma
        raise ValueError(f"it is an archive that cannot be unpacked: {error}") from error
    if found is None:
        raise ValueError(f"it is an archive of several files ({len(names)})")
    return found


def _text(contents: bytes) -> str:
    """The file's text.

    Raises:
        UnicodeError: it is in neither encoding.
    """
    for mark, encoding in _UTF_16.items():
        if contents.startswith(mark):
            return _checked(contents[len(mark) :].decode(encoding))
    if contents[1:2] == b"\0":
        return _checked(contents.decode("utf-16-le"))
    if contents[:1] == b"\0":
        return _checked(contents.decode("utf-16-be"))
    return _checked(contents.decode("utf-8-sig"))


def _checked(text: str) -> str:
    if "\0" in text or (text.strip() and not any(char.isascii() for char in text)):
        raise UnicodeError("it is no text")
    return text


def _separator(text: str, keys: Sequence[str]) -> tuple[str, str, int]:
    """What separates cells, the text of the table, and how many lines stand before it."""
    said = re.match(r"\s*sep=(.)\r?\n", text)  # a line that Excel reads and writes
    if said:
        return said[1], text[said.end() :], text[: said.end()].count("\n")
    head = next((line for line in text.splitlines() if line.strip()), "")
    found = []
    for separator in _SEPARATORS:
        columns = [cell.strip() for cell in next(csv.reader([head], delimiter=separator), [])]
        found.append((any(key in columns for key in keys), len(columns), separator))
    return max(found, key=lambda each: each[:2])[2], text, 0
