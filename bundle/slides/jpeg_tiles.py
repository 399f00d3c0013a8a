"""Whether a JPEG tile is whole. Decoders fill what is missing with gray and say nothing, print, or crash."""

import re
from functools import lru_cache

_START, _END = b"\xff\xd8", b"\xff\xd9"
_START_OF_SCAN = 0xDA
_SEQUENTIAL, _PROGRESSIVE = (0xC0, 0xC1), 0xC2
_HUFFMAN = 0xC4
_OTHERS = {0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)}  # tables, restart interval, comment, application data
# within entropy-coded data 0xFF is followed by 0 (it is data), by a restart marker, or by further fill bytes
_OUT_OF_PLACE = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


def jpeg_damage(data: bytes, width: int, height: int) -> str | None:
    """What is wrong with the frame of a JPEG stream, or None.

    It checks the header, the end, and that no marker stands among the data: nearly all of overwritten or missing data
    shows so, at a small part of the time of decoding. Bytes changed to others that can be decoded, such as zeros, do
    not.

    Args:
        data: a tile as it lies in the file, with or without tables.
        width, height: px that the tile must have; cuCIM writes beyond its memory if it has others.
    """
    if not data.startswith(_START):
        return "it does not start as JPEG"
    if not data.rstrip(b"\x00").endswith(_END):
        return "it is cut short"
    scan = data.find(b"\xff\xda")
    wrong, is_progressive = _header(data[: scan + 2], width, height) if scan >= 0 else ("it holds no image", False)
    if wrong is None and not is_progressive:  # progressive: several scans, with markers between them
        stray = _OUT_OF_PLACE.search(data, scan + 2)
        if stray is None or stray.group() != _END or data[stray.end() :].strip(b"\x00"):
            return "a marker stands in the middle of its data"
    return wrong


@lru_cache(maxsize=64)  # the tiles of a level share one header
def _header(header: bytes, width: int, height: int) -> tuple[str | None, bool]:
    """What is wrong with the segments before the scan, and whether the image is progressive."""
    place, frame = 2, 0
    while header[place + 1 : place + 2] != bytes([_START_OF_SCAN]):
        marker, length = header[place + 1 : place + 2], int.from_bytes(header[place + 2 : place + 4], "big")
        segment = header[place + 4 : place + 2 + length]
        if header[place : place + 1] != b"\xff" or not marker or length < 2 or len(segment) != length - 2:
            return "its header makes no sense", False
        if marker[0] in (*_SEQUENTIAL, _PROGRESSIVE):
            frame = marker[0]
            size = int.from_bytes(segment[3:5], "big"), int.from_bytes(segment[1:3], "big")
            if size != (width, height) or segment[:1] != b"\x08":
                return f"it has {size[0]} x {size[1]} px in place of {width} x {height}", False
        elif marker[0] == _HUFFMAN:
            if not _are_huffman_tables(segment):
                return "its tables make no sense", False
        elif marker[0] not in _OTHERS:
            return "its header makes no sense", False
        place += 2 + length
    return (None if frame else "its header makes no sense"), frame == _PROGRESSIVE


def _are_huffman_tables(segment: bytes) -> bool:
    """Whether the numbers of codes of each length fit into a tree and into the segment."""
    while segment:
        counts = segment[1:17]
        codes = sum(counts)
        is_tree = sum(count << (15 - i) for i, count in enumerate(counts)) <= 1 << 16
        if segment[0] & 0xEC or len(counts) < 16 or codes > 256 or len(segment) < 17 + codes or not is_tree:
            return False
        segment = segment[17 + codes :]
    return True
