"""The format of a slide file, by its content; a name decides only between formats that begin alike."""

from pathlib import Path

from . import formats
from .first_page import first_page
from .formats import Format
from .images import RefusedFileError

_HEAD_BYTES = 512
_TIFF_STARTS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_STARTS = (
    (b"ZISRAWFILE", formats.CZI),
    (b"SQLite format 3\x00", formats.SVSLIDE),
    (b"\x00\x00\x00\x0cjP  ", formats.JPEG2000),
    (b"\x89PNG", formats.PNG),
    (b"PK\x03\x04", formats.PACKED),
    (b"\x1f\x8b", formats.PACKED),
    (b'<DataObject ObjectType="DPUfsImport"', formats.ISYNTAX),
)
_JPEG_START = b"\xff\xd8\xff"
# what a TIFF of these names must be: one that lacks its vendor's marks is damaged, and would pass for a plain TIFF
_PROMISED = {".ndpi": formats.NDPI, ".scn": formats.SCN, ".bif": formats.BIF}
_NDPI_TAG = 65420


def recognized(path: Path) -> Format:
    """The format of a file.

    Raises:
        RefusedFileError: the file is not what its name says, or a part of the slide is not beside it.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    suffix = path.suffix.lower()
    if head[128:132] == b"DICM":
        return formats.DICOM
    if head.startswith(_TIFF_STARTS):
        return formats.VSI if suffix == ".vsi" else _as_promised(_kind_of_tiff(path), suffix)
    if head.startswith(_JPEG_START):
        return _mirax(path) if suffix == ".mrxs" else formats.JPEG
    if b"Virtual Microscope Specimen]" in head:
        return formats.VMS
    return next((kind for start, kind in _STARTS if head.startswith(start)), formats.UNKNOWN)


def _kind_of_tiff(path: Path) -> Format:
    """Whose TIFF it is, by what its first page says; where it makes no sense, the readers say what is wrong."""
    page = first_page(path)
    if page is None:
        return formats.TIFF
    if _NDPI_TAG in page.tags:
        return formats.NDPI
    if page.description.startswith("Aperio "):
        return formats.SVS
    if "www.leica-microsystems.com/scn" in page.description:
        return formats.SCN
    if "<iScan" in page.xmp:
        return formats.BIF
    if page.software.startswith("Philips") and page.description.rstrip().endswith("</DataObject>"):
        return formats.PHILIPS
    if page.software.startswith("PerkinElmer-QPI"):
        return formats.QPTIFF
    if page.software.startswith("MedScan"):
        return formats.TRESTLE
    return formats.OME if page.is_ome else formats.TIFF


def _as_promised(found: Format, suffix: str) -> Format:
    promised = _PROMISED.get(suffix)
    if promised is not None and found is not promised:
        raise RefusedFileError(f"by its name it is {promised.name}, and it has none of that format's marks")
    return found


def _mirax(path: Path) -> Format:
    folder = path.with_suffix("")
    if not (folder / "Slidedat.ini").is_file():
        raise RefusedFileError(
            f"its folder {folder.name} with Slidedat.ini, in which all of its pixels lie, is not beside it"
        )
    return formats.MIRAX
