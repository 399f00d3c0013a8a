"""What the first page of a TIFF says, read by its header alone: a tenth of the time that opening the file takes."""

import os
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

_DESCRIPTION, _SOFTWARE, _XMP = 270, 305, 700
_TEXTS = (_DESCRIPTION, _SOFTWARE, _XMP)
_BYTES_OF_TYPE = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 9: 4, 10: 8, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_MOST_BYTES = 1 << 24
_MOST_TIFF_BYTES = 1 << 32


class FirstPage(NamedTuple):
    """Tags that tell whose file it is.

    Attributes:
        tags: numbers of all that there are.
        description, software, xmp: as text; empty where there is none.
    """

    tags: frozenset[int]
    description: str
    software: str
    xmp: str

    @property
    def is_ome(self) -> bool:
        """Whether the description is an OME-XML."""
        return self.description[-10:].strip().endswith("OME>")


def first_page(path: Path) -> FirstPage | None:
    """Of a TIFF or BigTIFF in either byte order; None where the file's header or its first page makes no sense."""
    try:
        with path.open("rb") as file:
            return _read(file)
    except (OSError, struct.error, KeyError, OverflowError):
        return None


def _read(file: BinaryIO) -> FirstPage | None:
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}[head[:2]]
    is_big = struct.unpack(f"{order}H", head[2:4])[0] == 43
    word, n_word = ("Q", 8) if is_big else ("I", 4)
    if is_big:
        start = struct.unpack(f"{order}Q", head[8:16])[0]
    else:  # a file of this kind with more than 4 GB is NDPI, whose first offset is longer than TIFF's
        is_long = os.fstat(file.fileno()).st_size > _MOST_TIFF_BYTES
        start = struct.unpack(f"{order}Q" if is_long else f"{order}I", head[4 : 12 if is_long else 8])[0]
    file.seek(start)
    n_tags = struct.unpack(f"{order}{'Q' if is_big else 'H'}", file.read(8 if is_big else 2))[0]
    if not 0 < n_tags <= 4096:
        return None
    entry = struct.Struct(f"{order}HH{word}{n_word}s")
    entries = file.read(n_tags * entry.size)
    texts: dict[int, str] = {}
    tags = set()
    for place in range(0, n_tags * entry.size, entry.size):
        tag, kind, count, value = entry.unpack_from(entries, place)
        tags.add(tag)
        if tag in _TEXTS:
            n_bytes = min(count * _BYTES_OF_TYPE.get(kind, 1), _MOST_BYTES)
            texts[tag] = _text(file, value, n_bytes, struct.unpack(f"{order}{word}", value)[0])
    return FirstPage(frozenset(tags), *(texts.get(tag, "") for tag in _TEXTS))


def _text(file: BinaryIO, value: bytes, n_bytes: int, offset: int) -> str:
    """A value lies in its tag where it fits there, else where that points to."""
    if n_bytes > len(value):
        file.seek(offset)
        value = file.read(n_bytes)
    return value[:n_bytes].partition(b"\0")[0].decode("utf-8", "replace")
