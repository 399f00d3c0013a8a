"""Small slides as scanners and programs write them, each of the same painted picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from scripts.pins.dicom_files import write_wsi

Picture = NDArray[np.uint8]
_WIDTH, _HEIGHT, _MPP = 640, 480, 0.5
_TILED = {"tile": (128, 128), "photometric": "rgb", "metadata": None}
_SCALE: dict[str, Any] = {"resolution": (1e4 / _MPP,) * 2, "resolutionunit": "CENTIMETER"}
_JPEG = {**_TILED, "compression": "jpeg", "compressionargs": {"level": 95}}
_APERIO = f"Aperio Image Library v11.2.1\r\n{_WIDTH}x{_HEIGHT} (128x128) JPEG/RGB Q=95|AppMag = 20|MPP = {_MPP}"
_SCN = "http:" + "//www.leica-microsystems.com/scn/2010/10/01"  # the name of its XML, no address


class SmallFile(NamedTuple):
    """One of them.

    Attributes:
        what: format, and what is special.
        path: the file.
        picture: what its slide shows, RGB [h, w, 3].
        section: which of several.
    """

    what: str
    path: Path
    picture: Picture
    section: int | None = None


def write_small_files(folder: Path) -> list[SmallFile]:
    """Write all into an empty folder."""
    found = []
    for what, (name, write) in _KINDS.items():
        path = folder / name
        path.parent.mkdir()
        found.append(SmallFile(what, path, painted(0)))
        write(path)
    two = folder / "sections" / "a.ome.tif"
    two.parent.mkdir()
    _ome(two, [(painted(0), _MPP, 0), (painted(1), _MPP, 0)])
    return [*found, SmallFile("OME-TIFF, the second of two sections", two, painted(1), 1)]


def painted(seed: int) -> Picture:
    """Smooth stains, RGB [480, 640, 3], so that what differs by more than a codec's noise shows."""
    coarse = np.random.default_rng(seed).integers(90, 220, (_HEIGHT // 40, _WIDTH // 40, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((_WIDTH, _HEIGHT), Image.Resampling.BICUBIC))


def _reduced(picture: Picture, factor: int) -> Picture:
    return picture if factor == 1 else np.asarray(Image.fromarray(picture).reduce(factor))


def _levels(path: Path, how: dict[str, Any] = _JPEG) -> None:
    """Three levels as pages, the finest with um/px."""
    with tifffile.TiffWriter(path) as file:
        for factor in (1, 2, 4):
            tags = _SCALE if factor == 1 else {}
            file.write(_reduced(painted(0), factor), subfiletype=int(factor > 1), **how, **tags)


def _strips(path: Path) -> None:
    tifffile.imwrite(path, painted(0), photometric="rgb", rowsperstrip=16, compression="zlib", metadata=None, **_SCALE)


def _ome(path: Path, images: list[tuple[Picture, float | None, int]]) -> None:
    """Images with um/px and a number of levels in SubIFDs."""
    how = {name: value for name, value in _JPEG.items() if name != "metadata"}
    with tifffile.TiffWriter(path, ome=True) as file:
        for picture, mpp, n_levels in images:
            scale = {} if mpp is None else {"PhysicalSizeX": mpp, "PhysicalSizeY": mpp}
            file.write(picture, subifds=n_levels, metadata={"axes": "YXS", **scale}, **how)
            for level in range(1, n_levels + 1):
                file.write(_reduced(picture, 2**level), subfiletype=1, **how)


def _svs(path: Path, how: dict[str, Any]) -> None:
    """As Aperio: the slide, a thumbnail in strips, a level, label, macro."""
    strips = {"photometric": "rgb", "metadata": None, "compression": "jpeg", "rowsperstrip": 16}
    picture = painted(0)
    with tifffile.TiffWriter(path) as file:
        file.write(picture, description=_APERIO, **how)
        file.write(_reduced(picture, 5), description=f"{_APERIO} thumbnail", **strips)
        file.write(_reduced(picture, 4), description=_APERIO, **how)
        file.write(picture[:120, :100].copy(), subfiletype=1, description="Aperio v11\r\nlabel 100x120", **strips)
        file.write(picture[:80, :300].copy(), subfiletype=9, description="Aperio v11\r\nmacro 300x80", **strips)


def _philips(path: Path) -> None:
    """Its levels are padded to whole tiles, and only its XML says um/px."""
    spacing = "".join(
        '<DataObject ObjectType="PixelDataRepresentation"><Attribute Name="DICOM_PIXEL_SPACING" PMSVR="IDoubleArray">'
        f'"{factor * _MPP / 1e3}" "{factor * _MPP / 1e3}"</Attribute></DataObject>'
        for factor in (1, 2, 4)
    )
    xml = (
        '<?xml version="1.0" encoding="UTF-8" ?><DataObject ObjectType="DPUfsImport">'
        '<Attribute Name="PIM_DP_SCANNED_IMAGES" PMSVR="IDataObjectArray"><Array>'
        '<DataObject ObjectType="DPScannedImage"><Attribute Name="PIM_DP_IMAGE_TYPE" PMSVR="IString">WSI</Attribute>'
        f'<Attribute Name="DICOM_PIXEL_SPACING" PMSVR="IDoubleArray">"{_MPP / 1e3}" "{_MPP / 1e3}"</Attribute>'
        '<Attribute Name="PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE" PMSVR="IDataObjectArray"><Array>'
        f"{spacing}</Array></Attribute></DataObject></Array></Attribute></DataObject>"
    )
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for factor in (1, 2, 4):
            level = _reduced(painted(0), factor)
            beyond = ((0, -level.shape[0] % 128), (0, -level.shape[1] % 128), (0, 0))
            tags = {"description": xml} if factor == 1 else {}
            level = np.pad(level, beyond, constant_values=255)
            file.write(level, subfiletype=int(factor > 1), software="Philips DP v1.0", **_JPEG, **tags)


def _ndpi(path: Path) -> None:
    """Each level is one JPEG; tags of Hamamatsu's own tell slide and macro apart by the lens."""
    picture = painted(0)
    with tifffile.TiffWriter(path) as file:
        for lens, image in ((20.0, picture), (5.0, _reduced(picture, 4)), (-1.0, picture[:100, :200].copy())):
            numbers = [(number, 9, 1, 0, True) for number in (65422, 65423, 65424)]
            own = [(271, 2, 10, "Hamamatsu", True), (65420, 4, 1, 1, True), (65421, 11, 1, lens, True), *numbers]
            rate = 1e4 / _MPP * lens / 20 if lens > 0 else 100.0
            file.write(
                image,
                rowsperstrip=image.shape[0],
                extratags=own,
                resolution=(rate, rate),
                resolutionunit="CENTIMETER",
                **{name: value for name, value in _JPEG.items() if name != "tile"},
            )


def _scn(path: Path) -> None:
    """A macro comes first; an XML says where on the glass each image lies, in nm."""
    nm, picture = int(1e3 * _MPP), painted(0)
    glass = f'sizeX="{_WIDTH * nm * 3 // 2}" sizeY="{_HEIGHT * nm * 3 // 2}"'
    common = '<device model="Leica SCN400" version="1"/>'
    settings = (
        "<scanSettings><objectiveSettings><objective>20</objective></objectiveSettings><illuminationSettings>"
        "<numericalAperture>0.4</numericalAperture><illuminationSource>brightfield</illuminationSource>"
        "</illuminationSettings></scanSettings>"
    )
    where = 'offsetX="0" offsetY="0" spacingZ="0"'
    xml = (
        f'<?xml version="1.0"?><scn xmlns="{_SCN}" uuid="urn:uuid:1"><collection name="c" uuid="c" {glass}>'
        f'<barcode>x</barcode><image name="macro" uuid="m"><creationDate>2010</creationDate>{common}'
        f'<pixels sizeX="160" sizeY="480"><dimension sizeX="160" sizeY="480" r="0" ifd="0"/></pixels>'
        f"<view {glass} {where}/>{settings}</image>"
        f'<image name="slide" uuid="s"><creationDate>2010</creationDate>{common}'
        f'<pixels sizeX="{_WIDTH}" sizeY="{_HEIGHT}"><dimension sizeX="{_WIDTH}" sizeY="{_HEIGHT}" r="0" ifd="1"/>'
        f'<dimension sizeX="{_WIDTH // 4}" sizeY="{_HEIGHT // 4}" r="1" ifd="2"/></pixels>'
        f'<view sizeX="{_WIDTH * nm}" sizeY="{_HEIGHT * nm}" {where}/>{settings}</image></collection></scn>'
    )
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for index, image in enumerate((picture[:, :160].copy(), picture, _reduced(picture, 4))):
            rate = 100.0 if index == 0 else 1e4 / _MPP
            tags = {"description": xml} if index == 0 else {}
            file.write(image, resolution=(rate, rate), resolutionunit="CENTIMETER", **_JPEG, **tags)


def _trestle(path: Path) -> None:
    """um/px where TIFF has px an inch, and how far tiles overlap in the description: here by nothing."""
    how = {"software": "MedScan", "resolution": (_MPP, _MPP), "resolutionunit": "NONE"}
    with tifffile.TiffWriter(path) as file:
        file.write(painted(0), description="Objective Power=20;OverlapsXY=0 0 0 0", **_JPEG, **how)
        file.write(_reduced(painted(0), 2), **_JPEG, **how)


def _dicom(path: Path) -> None:
    write_wsi(path, painted(0), "1.2.3", mpp=_MPP)
    write_wsi(path.with_name("b.dcm"), _reduced(painted(0), 4), "1.2.3", mpp=4 * _MPP, number=2)


def _picture(path: Path) -> None:
    Image.fromarray(painted(0)).save(path, "JPEG")


_KINDS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "TIFF, JPEG": ("jpeg/a.tif", _levels),
    "TIFF, deflate": ("deflate/a.tif", lambda path: _levels(path, {**_TILED, "compression": "zlib"})),
    "TIFF, in strips": ("strips/a.tif", _strips),
    "OME-TIFF, levels in SubIFDs": ("ome/a.ome.tif", lambda path: _ome(path, [(painted(0), _MPP, 2)])),
    "OME-TIFF, a thumbnail comes first": (
        "first/a.ome.tif",
        lambda path: _ome(path, [(_reduced(painted(1), 4), None, 0), (painted(0), _MPP, 2)]),
    ),
    "Aperio SVS, JPEG": ("svs/a.svs", lambda path: _svs(path, _JPEG)),
    "Aperio SVS, JPEG 2000 (33005)": ("svs_j2k/a.svs", lambda path: _svs(path, {**_TILED, "compression": 33005})),
    "Philips TIFF": ("philips/a.tiff", _philips),
    "Hamamatsu NDPI": ("ndpi/a.ndpi", _ndpi),
    "Leica SCN": ("scn/a.scn", _scn),
    "Trestle TIFF": ("trestle/a.tif", _trestle),
    "DICOM": ("dicom/a.dcm", _dicom),
    "MIRAX without its folder": ("mirax/a.mrxs", _picture),
    "Olympus VSI": ("vsi/a.vsi", _levels),
    "JPEG picture": ("picture/a.jpg", _picture),
}
