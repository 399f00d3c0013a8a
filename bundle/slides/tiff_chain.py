"""The chain of a TIFF's pages, followed by its pointers alone before a library reads page after page of it."""

import struct
from collections.abc import Iterator
from typing import Any

import tifffile

from .images import RefusedFileError

_MOST_PAGES = 1 << 20  # images with focal planes and channels have thousands
_MOST_TAGS = 4096  # tifffile's own limit


def insist_on_end(file: tifffile.TiffFile) -> None:
    """Make sure that following the pages comes to an end.

    Args:
        file: open; NDPI, whose offsets are of its own kind, is passed over.

    Raises:
        RefusedFileError: a page is followed by one that was there before, or there are too many.
    """
    if file.is_ndpi:
        return
    seen: set[int] = set()
    for offset in _offsets(file):
        if offset in seen:
            raise RefusedFileError(f"its pages lead in a circle, back to byte {offset}: copy it again, or leave it out")
        seen.add(offset)
        if len(seen) > _MOST_PAGES:
            raise RefusedFileError(f"it has more than {_MOST_PAGES:,} pages: copy it again, or leave it out")


def _offsets(file: tifffile.TiffFile) -> Iterator[int]:
    """Places of the pages; where one makes no sense, the chain ends."""
    handle, tiff = file.filehandle, file.tiff
    first: Any = file.pages.first.offset
    at = int(first)
    while 0 < at < handle.size:
        yield at
        try:
            handle.seek(at)
            n_tags = struct.unpack(tiff.tagnoformat, handle.read(tiff.tagnosize))[0]
            if n_tags > _MOST_TAGS:
                return
            handle.seek(at + tiff.tagnosize + n_tags * tiff.tagsize)
            at = struct.unpack(tiff.offsetformat, handle.read(tiff.offsetsize))[0]
        except (struct.error, OSError, ValueError):
            return
