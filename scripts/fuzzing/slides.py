"""Slides: TIFF of several vendors, DICOM, and beginnings of other formats."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from hypothesis import strategies as st

from bundle.cohort.dicom_series import dicom_instance
from bundle.slides import open_slide
from bundle.slides.finding import sections_of
from bundle.slides.first_page import first_page
from scripts.pins.dicom_files import WHOLE_SLIDE, data_set, write_dicom

from .changes import changed_bytes, changed_tags, odd_texts
from .drawing import Target

_OME = (
    '<?xml version="1.0"?><OME xmlns="http:/'
    '/www.openmicroscopy.org/Schemas/OME/2016-06">'
    '<Image ID="Image:0" Name="{name}">'
    '<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="{x}" SizeY="96" SizeC="3" SizeZ="1" SizeT="1" '
    'PhysicalSizeX="{mpp}" PhysicalSizeXUnit="µm"><Channel ID="Channel:0:0" SamplesPerPixel="3"/><TiffData IFD="0" '
    'PlaneCount="1"/></Pixels></Image></OME>'
)
_PHILIPS = (
    '<DataObject ObjectType="DPUfsImport"><Attribute Name="PIM_DP_SCANNED_IMAGES"><Array>'
    '<DataObject ObjectType="DPScannedImage">'
    '<Attribute Name="PIM_DP_IMAGE_TYPE">WSI</Attribute><Attribute Name="DICOM_PIXEL_SPACING">"{mpp}" "{x}"</Attribute>'
    "</DataObject></Array></Attribute></DataObject>"
)
_TEXTS = {
    "plain TIFF": "",
    "Aperio": "Aperio Image Library v1\r\n96x96 [0,0 96x96] (32x32) JPEG/RGB Q=70|AppMag = 20|MPP = {mpp}|Left = {x}|"
    "ScanScope = {name}",
    "OME": _OME,
    "Philips": _PHILIPS,
    "Leica": '<scn xmlns="http:/'
    '/www.leica-microsystems.com/scn/2010/10/01"><collection name="{name}" sizeX="{x}">'
    "<image/></collection></scn>",
    "Ventana": '<iScan Magnification="20" ScanRes="{mpp}" UnitNumber="{name}"><AOI0 Left="{x}"/></iScan>',
    "ImageJ": "ImageJ=1.11a\nimages={x}\nslices={name}\nunit=um\nspacing={mpp}",
    "ScanImage or JSON": '{{"shape": [{x}, {mpp}], "axes": "{name}"}}',
}
_BEGINNINGS = [
    b"ZISRAWFILE" + bytes(90), b"SQLite format 3\0" + bytes(90), b"\x89PNG\r\n\x1a\n" + bytes(40),
    b"\xff\xd8\xff\xe0" + bytes(60),
    b"PK\x03\x04" + bytes(60), b"\x1f\x8b" + bytes(60), b"[Virtual Microscope Specimen]\nNoLayers=1\nImageFile=x\n",
    b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40), b"not a slide",
]  # fmt: skip


def slide_targets(folder: Path) -> Iterator[Target]:
    """Openers of slides; ``folder`` is theirs."""
    names = st.sampled_from(["a", "label", "macro", "thumbnail"]) | odd_texts
    sizes = st.sampled_from(["96", "0", "-1", "4294967296", "99999999999999999999", "nan", "x"])
    mpps = st.sampled_from(["0.5", "0,5", "0", "-1", "nan", "inf", "1e999", "1e-320", "5 0", ""]) | odd_texts
    for title, text in _TEXTS.items():
        compression = "jpeg" if title in ("plain TIFF", "Aperio") else "deflate"
        files = [_tiff(text.format(mpp="0.5", x="96", name="a"), compression)]
        worded = st.builds(
            lambda n, x, m, t=text, c=compression: _tiff(t.format(mpp=m, x=x, name=n), c), names, sizes, mpps
        )
        contents = (
            changed_bytes(files) | changed_tags(files) | changed_tags(files) | (worded if text else changed_tags(files))
        )
        yield Target(title, ".tif", contents, _read)
    untiled = [_tiff("", None, tile=None), _tiff("", "lzw", tile=None)]
    yield Target("TIFF in strips", ".tif", changed_tags(untiled) | changed_bytes(untiled), _read)
    yield Target("TIFF by tifffile", ".tif", changed_tags([_tiff("", "jpeg")]), partial(_read, reader="tifffile"))
    wholes = [_dicom(folder / "a.dcm", nested) for nested in (False, True)]
    yield Target("DICOM", ".dcm", changed_bytes(wholes) | _deep_dicom(wholes[0]), _read_dicom)
    yield Target("other slides", ".bin", changed_bytes(_BEGINNINGS), _read)
    yield Target("named as slides", ".mrxs", changed_bytes(_BEGINNINGS), _read)


def _read(path: Path, reader: str = "auto") -> None:
    first_page(path), sections_of([path])
    with open_slide(path, reader=reader, default_mpp=0.5) as slide:
        if max(slide.width, slide.height) < 4096:
            slide.thumbnail(max_px=64)
            slide.nowhere(slide.mpp, (8, 8))
        slide.read(0, 0, 32, 32, slide.mpp)


def _read_dicom(path: Path) -> None:
    dicom_instance(path)
    _read(path)


def _tiff(description: str, compression: str | None, tile: tuple[int, int] | None = (32, 32)) -> bytes:
    picture = np.random.default_rng(0).integers(0, 255, (96, 96, 3), np.uint8)
    packed = io.BytesIO()
    with tifffile.TiffWriter(packed) as file:
        for step in (1, 2):
            options: dict[str, Any] = (
                {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"} if step == 1 else {"subfiletype": 1}
            )
            if step == 1 and description:
                options["extratags"] = [(270, 2, 0, description.encode("utf-8", "replace") + b"\0", True)]
            file.write(
                picture[::step, ::step], tile=tile, photometric="rgb", compression=compression, metadata=None, **options
            )
    return packed.getvalue()


def _dicom(path: Path, nested: bool) -> bytes:
    """A file of a slide without pixels, in it a sequence without end."""
    inner = data_set(SOPClassUID=WHOLE_SLIDE)
    inner.is_undefined_length_sequence_item = True
    ends: dict[str, Any] = {"ReferencedImageSequence": inner} if nested else {}
    kind = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    return write_dicom(path, open_ended=list(ends), ImageType=kind, SeriesInstanceUID="1.2.3", **ends).read_bytes()


def _deep_dicom(whole: bytes) -> st.SearchStrategy[bytes]:
    """Sequences within sequences, more than anybody reads by calling himself."""
    start = whole[: whole.index(struct.pack("<HH2s", 8, 8, b"CS"))]
    level = struct.pack("<HH2sxxI", 8, 0x10, b"SQ", 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    return st.sampled_from([10, 1000, 100_000]).map(lambda n: start + level * n)
