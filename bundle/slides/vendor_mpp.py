"""um/px as scanners and programs write it into slides: every field that says any, the most trustworthy first."""

import math
import re
from collections.abc import Iterator, Mapping
from html import unescape
from typing import Any
from xml.etree import ElementTree as Xml

from .backend import MAX_MPP, Scale

_UM_PER_TIFF_UNIT = {"INCH": 25400.0, "CENTIMETER": 10000.0, "MILLIMETER": 1000.0, "MICROMETER": 1.0}
_UM_PER_OME_UNIT = {
    "m": 1e6, "dm": 1e5, "cm": 1e4, "mm": 1e3, "\u00b5m": 1.0, "\u03bcm": 1.0, "um": 1.0, "micron": 1.0, "nm": 1e-3,
    "pm": 1e-6, "\u00c5": 1e-4, "\u212b": 1e-4, "angstrom": 1e-4, "in": 25400.0, "inch": 25400.0,
}  # fmt: skip
_TAGS = "XResolution"
_NUMBER = r"([-+0-9.,eE]+)"  # some systems write a decimal comma


def scales_of_page(page: Any, ome: str | None = None) -> list[Scale]:
    """What a TIFF says of a page's um/px, vendors' own fields before TIFF's tags.

    Args:
        page: ``tifffile.TiffPage``, the finest of its image.
        ome: the file's OME-XML, or its part on this image; the first image counts.

    Returns:
        One a field; where its unit is no length, its numbers are nan.
    """
    description = str(page.description or "")
    ome = ome or (description if "<OME" in description else None)
    packet = page.tags.get("XMP")
    packet = "" if packet is None else packet.value
    packet = packet.decode("utf-8", "replace") if isinstance(packet, bytes) else str(packet)
    found = [
        _aperio(description),
        _ome(ome) if ome else None,
        _philips(description) if "DICOM_PIXEL_SPACING" in description else None,
        _ventana(packet) or _ventana(description),
        _tags(page.tags),
    ]
    return [scale for scale in found if scale is not None]


def scales_of_openslide(properties: Mapping[str, str]) -> list[Scale]:
    """What OpenSlide makes of Hamamatsu's, Leica's, Ventana's, 3DHISTECH's, DICOM's and others' fields."""
    x, y = (_number(properties.get(f"openslide.mpp-{axis}", "")) for axis in "xy")
    if x is None or y is None:
        return []
    is_of_a_screen = properties.get("openslide.vendor") == "generic-tiff" and max(x, y) > MAX_MPP
    return [] if is_of_a_screen else [Scale("openslide.mpp", x, y)]


def together(vendors: list[Scale], openslides: list[Scale]) -> list[Scale]:
    """What a TIFF and OpenSlide say of one file; TIFF's tags, which OpenSlide may repeat, come last."""
    of_tags = [scale for scale in vendors if scale.field == _TAGS]
    return [*(scale for scale in vendors if scale.field != _TAGS), *openslides, *of_tags]


def _aperio(description: str) -> Scale | None:
    found = re.search(rf"\bMPP\s*=\s*{_NUMBER}", description)
    return _scale("MPP", _number(found[1]), _number(found[1])) if found else None


def _ventana(text: str) -> Scale | None:
    found = re.search(rf'\bScanRes="{_NUMBER}"', text)
    return _scale("ScanRes", _number(found[1]), _number(found[1])) if found else None


def _philips(description: str) -> Scale | None:
    """DICOM's spacing in mm: of rows (y) first, then of columns; the slide's own, not that of its label."""
    text = next(_philips_spacings(description), "")
    numbers = [_number(number) for number in re.findall(_NUMBER, text)]
    if len(numbers) != 2 or None in numbers:
        return None
    y, x = numbers
    return _scale("DICOM_PIXEL_SPACING", x, y, 1000.0)


def _philips_spacings(description: str) -> Iterator[str]:
    for image in _elements(description, "DataObject"):
        said = {item.get("Name"): item.text or "" for item in image if _local(item) == "Attribute"}
        is_slide = image.get("ObjectType") == "DPScannedImage" and said.get("PIM_DP_IMAGE_TYPE", "").strip() == "WSI"
        if is_slide and said.get("DICOM_PIXEL_SPACING", "").strip():
            yield said["DICOM_PIXEL_SPACING"]
    yield from re.findall(r'Name="DICOM_PIXEL_SPACING"[^>]*>([^<]*)<', description)  # of no known image, or no XML


def _ome(xml: str) -> Scale | None:
    """PhysicalSizeX and PhysicalSizeY; each may have a unit of its own, else the other's, else um."""
    pixels = _elements(xml, "Pixels")
    said: Mapping[str, str] = pixels[0].attrib if pixels else _attributes(xml)
    axes = [axis for axis in "XY" if f"PhysicalSize{axis}" in said]
    if not axes:
        return None
    either = next((said[name] for name in ("PhysicalSizeXUnit", "PhysicalSizeYUnit") if name in said), "\u00b5m")
    units = {axis: said.get(f"PhysicalSize{axis}Unit", either) for axis in axes}
    unknown = [unit for unit in units.values() if _um_of(unit) is None]
    if unknown:
        return Scale(f"PhysicalSizeX in {unknown[0]!r}", math.nan, math.nan)
    um = [(_number(said[f"PhysicalSize{axis}"]) or math.nan) * (_um_of(units[axis]) or math.nan) for axis in axes]
    return _scale("PhysicalSizeX", um[0], um[-1])


def _um_of(unit: str) -> float | None:
    return _UM_PER_OME_UNIT.get(unit, _UM_PER_OME_UNIT.get(unit.lower()))


def _attributes(xml: str) -> dict[str, str]:
    """Those of the first Pixels, where the OME-XML is cut up or none."""
    found = re.search(r"<(?:\w+:)?Pixels\b([^>]*)>", xml)
    return {name: unescape(value) for name, value in re.findall(r'(\w+)="([^"]*)"', found[1])} if found else {}


def _elements(xml: str, name: str) -> list[Xml.Element]:
    try:
        return [item for item in Xml.fromstring(xml.encode()).iter() if _local(item) == name]
    except (Xml.ParseError, ValueError):
        return []


def _local(element: Xml.Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _tags(tags: Any) -> Scale | None:
    """TIFF's own, where they are those of a microscope and not of a screen or printer (72, 96, 300 dpi)."""
    unit = tags.get("ResolutionUnit")
    pair = [tags.get(name) for name in ("XResolution", "YResolution")]
    if unit is None or None in pair:
        return None
    um = _UM_PER_TIFF_UNIT.get(getattr(unit.value, "name", str(unit.value)))
    rates = [tag.value[0] / tag.value[1] if tag.value[1] else 0.0 for tag in pair]
    if um is None or min(rates) <= 0:
        return None
    x, y = um / rates[0], um / rates[1]
    return Scale(_TAGS, x, y) if max(x, y) <= MAX_MPP else None


def _scale(field: str, x: float | None, y: float | None, um: float = 1.0) -> Scale | None:
    return None if x is None or y is None or math.isnan(x + y) else Scale(field, x * um, y * um)


def _number(text: str) -> float | None:
    try:
        return float(text.strip().rstrip(",").replace(",", "."))
    except ValueError:  # none, or one with thousands set off
        return None
