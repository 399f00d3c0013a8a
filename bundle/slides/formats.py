"""Which formats of slide files there are, which readers may read each, and what readers are known to get wrong."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

CUCIM, OPENSLIDE, TIFFFILE = "cucim", "openslide", "tifffile"
_NOTHING: Mapping[str, str] = MappingProxyType({})
_AGAIN = "copy it again, or leave it out"
_CONVERT = "convert it to OME-TIFF with bioformats2raw and raw2ometiff, or in QuPath"
_NO_SLIDE = "it is a picture and no slide; `vips tiffsave --tile --pyramid` makes a TIFF of it"
_FIRST_IMAGE = "reads the first image alone, and sees no levels in SubIFDs"
_JPEG_ALONE = "is not asked for tiles in other codecs than JPEG and JPEG 2000: damaged ones end its process"


class Format(NamedTuple):
    """A format of slide files.

    Attributes:
        name: what people call it.
        readers: those that may read it, in the order in which they are asked; none: it is not read here.
        own: the reader that knows the format. A file that it refuses is refused, and nobody else is asked; empty: the
            format is plain enough for all of them.
        wrong: what readers are known to get wrong; for one that is not among ``readers``, why it may not.
        advice: what to do about a file that is not read.
    """

    name: str
    readers: tuple[str, ...] = ()
    own: str = ""
    wrong: Mapping[str, str] = _NOTHING
    advice: str = _AGAIN


def _by_openslide(name: str, others: str, advice: str = _AGAIN) -> Format:
    return Format(name, (OPENSLIDE,), OPENSLIDE, {CUCIM: others, TIFFFILE: others}, advice)


_ALL = (CUCIM, OPENSLIDE, TIFFFILE)
TIFF = Format("TIFF", _ALL, wrong={CUCIM: _JPEG_ALONE, OPENSLIDE: "does not read strips"})
OME = Format("OME-TIFF", (CUCIM, TIFFFILE, OPENSLIDE), wrong=dict.fromkeys((CUCIM, OPENSLIDE), _FIRST_IMAGE))
SVS = Format("Aperio SVS", _ALL, OPENSLIDE, {CUCIM: _JPEG_ALONE})
PHILIPS = Format("Philips TIFF", _ALL, OPENSLIDE, {CUCIM: _JPEG_ALONE})
QPTIFF = Format("Akoya QPTIFF", (TIFFFILE,), wrong=dict.fromkeys(_ALL[:2], "takes its thumbnail for a level"))
NDPI = _by_openslide("Hamamatsu NDPI", "does not read its offsets and its JPEG in strips")
SCN = _by_openslide("Leica SCN", "takes its overview for the slide")
BIF = _by_openslide("Ventana BIF", "does not know where its overlapping tiles belong")
TRESTLE = _by_openslide("Trestle TIFF", "does not know where its overlapping tiles belong")
MIRAX = _by_openslide("MIRAX", "reads TIFF alone", "copy the .mrxs and its folder side by side")
VMS = _by_openslide("Hamamatsu VMS", "reads TIFF alone", "copy the index and the files that it names side by side")
SVSLIDE = _by_openslide("Sakura SVSLIDE", "reads TIFF alone")
CZI = _by_openslide("Zeiss CZI", "reads TIFF alone", _CONVERT)
DICOM = _by_openslide("DICOM", "reads TIFF alone", "copy all instances of its series into one folder, or leave it out")
VSI = Format("Olympus VSI", advice=f"{_CONVERT}; its pixels lie in the folder beside it")
ISYNTAX = Format("Philips iSyntax", advice="export it as TIFF or DICOM from the scanner's software")
JPEG2000 = Format("JPEG 2000", advice=_NO_SLIDE)
JPEG = Format("JPEG", advice=_NO_SLIDE)
PNG = Format("PNG", advice=_NO_SLIDE)
PACKED = Format("a packed archive", advice="unpack it")
UNKNOWN = Format("unknown", advice=f"it is damaged, cut short or no slide: {_AGAIN}")
