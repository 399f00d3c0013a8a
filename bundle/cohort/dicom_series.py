"""Which series a DICOM file belongs to. Of a file only the beginning of its header is read, and nothing else of DICOM
is needed for that."""

import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

_MARK_AT, _MARK = 128, b"DICM"
_SYNTAX, _IMAGE_TYPE, _CLASS, _SERIES = (0x0002, 0x0010), (0x0008, 0x0008), (0x0008, 0x0016), (0x0020, 0x000E)
_WHOLE_SLIDE_IMAGE = "1.2.840.10008.5.1.4.1.1.77.1.6"
_IMPLICIT, _BIG_ENDIAN, _DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
_NO_SCAN = {"LABEL", "OVERVIEW"}
_LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
_MOST_BYTES = 1 << 16  # of a value that is read


class DicomInstance(NamedTuple):
    """One DICOM file.

    Attributes:
        series: UID of its series.
        is_slide: it is an image of a whole slide, maybe of its label.
        is_volume: it is a level of the scan.
    """

    series: str
    is_slide: bool
    is_volume: bool


def dicom_instance(path: Path) -> DicomInstance | None:
    """What a file says of itself; None where it is no DICOM, cannot be read, or does not say its series."""
    try:
        with path.open("rb") as file:
            file.seek(_MARK_AT)
            if file.read(len(_MARK)) != _MARK:
                return None
            found = _Header(file).values()
    except (OSError, struct.error, ValueError, RecursionError):
        return None
    series = found.get(_SERIES)
    if series is None:
        return None
    is_slide, kinds = found.get(_CLASS) == _WHOLE_SLIDE_IMAGE, found.get(_IMAGE_TYPE, "").split("\\")
    return DicomInstance(series, is_slide, is_slide and not _NO_SCAN.intersection(kinds))


class _Element(NamedTuple):
    tag: tuple[int, int]
    kind: bytes
    length: int


class _Header:
    """The elements of a file from the one after the mark on, in the order in which the standard puts them."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._order, self._is_implicit = file, "<", False

    def values(self) -> dict[tuple[int, int], str]:
        """Class, kind of image and series, as far as the file says them."""
        found: dict[tuple[int, int], str] = {}
        is_in_data = False
        while True:
            place = self._file.tell()
            element = self._next()
            if not is_in_data and element.tag[0] != _SYNTAX[0]:  # here the file's own way of writing begins
                is_in_data = True
                self._turn_to(found.get(_SYNTAX, ""))
                self._file.seek(place)
                continue
            if element.tag > _SERIES:
                return found
            if element.tag in (_SYNTAX, _IMAGE_TYPE, _CLASS, _SERIES):
                found[element.tag] = self._file.read(min(element.length, _MOST_BYTES)).decode("ascii").strip("\0 ")
                if element.tag == _SERIES:
                    return found
            else:
                self._skip(element)

    def _turn_to(self, syntax: str) -> None:
        if syntax == _DEFLATED:
            raise ValueError("it is deflated")
        self._is_implicit, self._order = syntax == _IMPLICIT, ">" if syntax == _BIG_ENDIAN else "<"

    def _next(self) -> _Element:
        group, element = struct.unpack(f"{self._order}HH", self._file.read(4))
        if self._is_implicit or group == _ITEM[0]:
            return _Element((group, element), b"", struct.unpack(f"{self._order}I", self._file.read(4))[0])
        kind = self._file.read(2)
        if kind in _LONG:
            return _Element((group, element), kind, struct.unpack(f"{self._order}xxI", self._file.read(6))[0])
        return _Element((group, element), kind, struct.unpack(f"{self._order}H", self._file.read(2))[0])

    def _skip(self, element: _Element) -> None:
        """Go to the element after this one; sequences may end by a mark in place of a length."""
        if element.length != _UNDEFINED:
            self._file.seek(element.length, 1)
            return
        end = _ITEM_END if element.tag == _ITEM else _SEQUENCE_END
        while (inner := self._next()).tag != end:
            self._skip(inner)
