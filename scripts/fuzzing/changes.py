"""Files that are nearly right: bytes, JSON, tables and TIFF tags that hypothesis changes."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from typing import Any

from hypothesis import strategies as st

_SIZES = (0, 1, 2, 3, 255, 256, 65535, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)
_WORDS = (b"\0", b"\xff" * 8, b"<", b"]]>", b'"', b"'", b",", b"\n", b"\r", b";", b"nan", b"-1", b"1e999", b"9" * 400)
ODD_TEXTS = (
    "", " ", "nan", "inf", "-1", "1e999", "9" * 400, "0x10", "1_0", "\0", "\ud800", "\u202e", "a" * 5000, "../../x",
    "</script><img src=x onerror=alert(1)>", '"', "'", ",", ";", "\n", "=1+1", "NA", "0", "0.0", "00", "true", "\u0661",
    "/", "\ufeff", "C:\\x", "a\tb", "1,5", "1e308", "%s%n", "{{7*7}}", "\u212b",
)  # fmt: skip
odd_texts = st.sampled_from(ODD_TEXTS) | st.text(max_size=8)
odd_numbers = st.sampled_from([0, 1, -1, 0.5, 1e308, -1e308, 10**30, 10**400, 2**31, 2**63, 2**64, -(2**63)])
odd_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | odd_numbers | odd_texts | st.sampled_from([float("nan"), float("inf"), float("-inf")]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(odd_texts, inner, max_size=3),
    max_leaves=6,
)
_places = st.integers(0, 600) | st.integers(0, 1 << 30)


def changed_bytes(files: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """One of some files with up to six changes: bits, cuts, numbers, words, pieces doubled or taken out."""
    kinds = st.sampled_from(["flip", "cut", "number", "word", "double", "remove"])
    changes = st.lists(st.tuples(kinds, _places, st.integers(0, 1 << 16)), min_size=1, max_size=6)
    return st.builds(_with_changes, st.sampled_from(files), changes)


def _with_changes(whole: bytes, changes: Sequence[tuple[str, int, int]]) -> bytes:
    found = bytearray(whole)
    for kind, place, more in changes:
        at = place % max(1, len(found))
        end = min(len(found), at + 1 + more % 64)
        if kind == "flip" and found:
            found[at] ^= 1 << more % 8
        elif kind == "cut":
            del found[at:]
        elif kind == "number":
            found[at : at + 4] = _SIZES[more % len(_SIZES)].to_bytes(4, "big" if more & 1 else "little")
        elif kind == "word":
            found[at:at] = _WORDS[more % len(_WORDS)]
        elif kind == "double":
            found[at:at] = found[at:end]
        else:
            del found[at:end]
    return bytes(found)


def changed_json(bases: Sequence[Any]) -> st.SearchStrategy[bytes]:
    """One of some JSON values with up to three parts that are others, doubled or left out; or nested without end."""
    changes = st.lists(st.tuples(st.integers(0, 1 << 16), st.sampled_from("sdr"), odd_values), min_size=1, max_size=3)
    deep = st.sampled_from(
        [b"[" * 100_000, b'{"a":' * 100_000, b"1" * 5000, b'"\\ud800"', b"[1e400]", b"\xff", b"", b"{}"]
    )
    made = st.builds(_json_with, st.sampled_from(bases), changes)
    return st.one_of(made, made, made, changed_bytes([json.dumps(base).encode() for base in bases]), deep)


def _json_with(base: Any, changes: Sequence[tuple[int, str, Any]]) -> bytes:
    root = {"": json.loads(json.dumps(base))}
    for number, kind, value in changes:
        spots = list(spots_of(root))
        holder, key = spots[number % len(spots)]
        if kind == "s" or holder is root:
            holder[key] = value
        elif kind == "d":
            del holder[key]
        else:
            holder[key] = [holder[key], holder[key]]
    return json.dumps(root.get("")).encode("utf-8", "surrogatepass")


def spots_of(node: Any) -> Iterator[tuple[Any, Any]]:
    """(holder, key) of every value in dictionaries and lists."""
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        yield node, key
        if isinstance(value, dict | list):
            yield from spots_of(value)


def changed_table(
    columns: Sequence[str], words: Sequence[str], good: Sequence[Sequence[str]] = ()
) -> st.SearchStrategy[bytes]:
    """A table of some of these columns and words among odd ones, written in one of many ways.

    Args:
        columns: names.
        words: what cells may hold.
        good: rows of a table as it should be, of which half of the draws change up to two cells.
    """
    cells = st.sampled_from(words) | st.sampled_from(words) | odd_texts
    names = st.lists(
        st.sampled_from(columns) | st.sampled_from(columns) | odd_texts, min_size=1, max_size=len(columns) + 1
    )
    whole = st.just(list(columns))
    rows = st.lists(st.lists(cells, min_size=1, max_size=len(columns) + 1), max_size=6)
    form = st.tuples(st.sampled_from(",;\t|"), st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
    codings = st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-be", "latin-1", "utf-32"])
    made = st.builds(_table, whole | names, rows, form, codings)
    if good:
        cell_changes = st.lists(st.tuples(st.integers(0, 99), odd_texts | st.sampled_from(words)), max_size=2)
        nearly = st.builds(_with_cells, st.just(good), cell_changes)
        made = made | st.builds(_table, whole, nearly, form, codings)
    kinds = st.sampled_from(["flip", "cut", "word", "double", "remove"])
    return made | st.builds(
        _with_changes, made, st.lists(st.tuples(kinds, _places, st.integers(0, 1 << 16)), max_size=3)
    )


def _with_cells(good: Sequence[Sequence[str]], changes: Sequence[tuple[int, str]]) -> list[list[str]]:
    found = [list(row) for row in good]
    for number, text in changes:
        row = found[number % len(found)]
        row[number // len(found) % len(row)] = text
    return found


def _table(columns: list[str], rows: list[list[str]], form: tuple[str, str, bool], coding: str) -> bytes:
    separator, end, quotes = form

    def cell(text: str) -> str:
        return '"' + text.replace('"', '""') + '"' if quotes or separator in text else text

    text = "".join(separator.join(map(cell, row)) + end for row in [columns, *rows])
    return text.encode(coding, "replace" if coding == "latin-1" else "surrogatepass")


def changed_tags(files: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """One of some classic little-endian TIFFs with odd types, counts and values in its directories, or in a circle."""
    changes = st.lists(
        st.tuples(st.integers(0, 1 << 16), st.sampled_from("tcvn"), st.integers(0, 1 << 16)), min_size=1, max_size=4
    )
    return st.builds(_with_tags, st.sampled_from(files), changes)


def _with_tags(whole: bytes, changes: Sequence[tuple[int, str, int]]) -> bytes:
    found = bytearray(whole)
    entries, nexts = _directories(whole)
    for number, kind, value in changes:
        entry, size = entries[number % len(entries)], _SIZES[value % len(_SIZES)]
        if kind == "t":
            struct.pack_into("<H", found, entry + 2, value % 20)
        elif kind == "c":
            struct.pack_into("<I", found, entry + 4, size)
        elif kind == "v":
            struct.pack_into("<I", found, entry + 8, value if value & 1 else size)
        else:
            place = nexts[number % len(nexts)]
            struct.pack_into("<I", found, place, struct.unpack_from("<I", whole, 4)[0] if value & 1 else value)
    return bytes(found)


def _directories(whole: bytes) -> tuple[list[int], list[int]]:
    """Places of all entries, and of all pointers to a further directory."""
    entries, nexts, at = [], [], struct.unpack_from("<I", whole, 4)[0]
    while at:
        count = struct.unpack_from("<H", whole, at)[0]
        entries += [at + 2 + 12 * i for i in range(count)]
        nexts.append(at + 2 + 12 * count)
        at = struct.unpack_from("<I", whole, nexts[-1])[0]
    return entries, nexts
