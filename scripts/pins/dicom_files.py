"""Whole-slide images in DICOM, as small as the standard lets them be, for tests and for the table of formats."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Picture = NDArray[np.uint8]
WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
EXPLICIT, IMPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
_JPEG = "1.2.840.10008.1.2.4.50"
_LONG = ("OB", "SQ", "UN")
UNDEFINED = 0xFFFFFFFF


def element(
    group: int,
    number: int,
    kind: str,
    value: bytes | str | int | float,
    *,
    order: str = "<",
    implicit: bool = False,
    length: int | None = None,
) -> bytes:
    """One element; text is padded, numbers are packed, ``bytes`` are taken as they are."""
    if isinstance(value, int):
        value = struct.pack(order + {"US": "H", "UL": "I"}[kind], value)
    elif isinstance(value, float):
        value = struct.pack(order + {"FL": "f", "FD": "d"}[kind], value)
    elif isinstance(value, str):
        value = value.encode() + (b"\0" if kind == "UI" else b" ") * (len(value) % 2)
    length = len(value) if length is None else length
    tag = struct.pack(order + "HH", group, number)
    if implicit:
        return tag + struct.pack(order + "I", length) + value
    size = struct.pack(order + "xxI", length) if kind in _LONG else struct.pack(order + "H", length)
    return tag + kind.encode() + size + value


def item(*elements: bytes, order: str = "<") -> bytes:
    """An item of a sequence, of a length that is given."""
    content = b"".join(elements)
    return struct.pack(order + "HHI", 0xFFFE, 0xE000, len(content)) + content


def write_dicom(path: Path, elements: list[bytes], syntax: str = EXPLICIT) -> Path:
    """A file of any elements."""
    meta = element(2, 2, "UI", WHOLE_SLIDE) + element(2, 3, "UI", "1.2.3") + element(2, 0x10, "UI", syntax)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(128) + b"DICM" + element(2, 0, "UL", len(meta)) + meta + b"".join(elements))
    return path


def write_wsi(
    path: Path,
    picture: Picture,
    series: str,
    *,
    mpp: float = 0.5,
    tile: int = 128,
    number: int = 1,
    kind: str = "VOLUME",
) -> Path:
    """A level of a slide, RGB [h, w, 3], in tiles of JPEG."""
    height, width = picture.shape[:2]
    padded = np.pad(picture, ((0, -height % tile), (0, -width % tile), (0, 0)), "edge")
    corners = [(y, x) for y in range(0, height, tile) for x in range(0, width, tile)]
    frames = [_jpeg(padded[y : y + tile, x : x + tile]) for y, x in corners]
    spacing = item(element(0x28, 0x30, "DS", f"{mpp / 1000}\\{mpp / 1000}"))
    measures = item(element(0x28, 0x9110, "SQ", spacing))
    return write_dicom(
        path,
        [
            *_what_it_is(series, number, kind),
            *_how_it_is_stored(len(frames), tile),
            element(0x48, 6, "UL", width),
            element(0x48, 7, "UL", height),
            element(0x48, 0x105, "SQ", item(element(0x48, 0x106, "SH", "1"))),
            element(0x48, 0x302, "UL", 1),
            element(0x48, 0x303, "UL", 1),
            element(0x5200, 0x9229, "SQ", measures),
            element(0x7FE0, 0x10, "OB", _encapsulated(frames), length=UNDEFINED),
        ],
        _JPEG,
    )


def _what_it_is(series: str, number: int, kind: str) -> list[bytes]:
    origin, way = ("ORIGINAL", "NONE") if number == 1 else ("DERIVED", "RESAMPLED")
    return [
        element(8, 8, "CS", f"{origin}\\PRIMARY\\{kind}\\{way}"),
        element(8, 0x16, "UI", WHOLE_SLIDE),
        element(8, 0x18, "UI", f"{series}.{number}"),
        element(8, 0x60, "CS", "SM"),
        element(0x20, 0x0D, "UI", "1.2.3.4"),
        element(0x20, 0x0E, "UI", series),
        element(0x20, 0x13, "IS", str(number)),
        element(0x20, 0x9311, "CS", "TILED_FULL"),
    ]


def _how_it_is_stored(n_frames: int, tile: int) -> list[bytes]:
    numbers = {0x10: tile, 0x11: tile, 0x100: 8, 0x101: 8, 0x102: 7, 0x103: 0}
    return [
        element(0x28, 2, "US", 3),
        element(0x28, 4, "CS", "YBR_FULL_422"),
        element(0x28, 6, "US", 0),
        element(0x28, 8, "IS", str(n_frames)),
        *(element(0x28, number, "US", value) for number, value in numbers.items()),
    ]


def _jpeg(picture: Picture) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue() + b"\0" * (file.tell() % 2)


def _encapsulated(frames: list[bytes]) -> bytes:
    starts = np.cumsum([0] + [len(frame) + 8 for frame in frames[:-1]])
    items = [item(struct.pack(f"<{len(frames)}I", *starts)), *map(item, frames)]
    return b"".join(items) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
