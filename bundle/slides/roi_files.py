"""Files of annotations: GeoJSON (QuPath's and others'), ASAP's XML, HALO's and Aperio's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from ..core import BundleError, parsed_json, read_small

_IGNORED = "ignore*"  # QuPath's class of what is to be left out
_ELLIPSE_POINTS = 128
_LINES = {"pointset", "dot", "measurement", "ruler", "pin", "arrow", "4", "5"}  # no areas; numbers are Aperio's


class Area(NamedTuple):
    """One drawn area, in level-0 px.

    Attributes:
        rings: [exterior, hole, ...], each [n, 2].
        name: class, where GeoJSON names one.
        is_outside: it is drawn to be left out.
        is_cropped: QuPath drew it, whose corner is that of what the scanner has scanned.
    """

    rings: list[NDArray[np.float64]]
    name: str = ""
    is_outside: bool = False
    is_cropped: bool = False


def read_areas(path: str | Path) -> list[Area]:
    """All areas of a file; lines and points are passed over.

    Raises:
        BundleError: no such file, or none of these formats; the message names what was found.
    """
    try:
        content = read_small(Path(path))
        if content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
            return list(_areas_of_xml(content))
        return list(_areas_of_json(parsed_json(content.decode("utf-8-sig"), _no_number)))
    except (
        OSError,
        TypeError,
        ValueError,
        KeyError,
        AttributeError,
        ArithmeticError,
        RecursionError,
        ElementTree.ParseError,
    ) as error:
        raise BundleError(
            f"the region of interest {path} cannot be read ({type(error).__name__}: {error}): give QuPath's GeoJSON, "
            "ASAP's XML or HALO's annotations, with areas in pixels of the full resolution."
        ) from error


def _no_number(word: str) -> float:
    raise ValueError(f"{word} among the coordinates")


def _ring(points: Any) -> NDArray[np.float64]:
    ring = np.asarray([point[:2] for point in points], float).reshape(-1, 2)
    if not np.isfinite(ring).all():
        raise ValueError("NaN or infinity among the coordinates")
    return ring


def _areas_of_json(node: Any, name: str = "", is_cropped: bool = False) -> Iterator[Area]:
    """Polygons below a GeoJSON node."""
    if isinstance(node, list):
        for item in node:
            yield from _areas_of_json(item, name, is_cropped)
        return
    kind = node["type"]
    if kind == "FeatureCollection":
        yield from _areas_of_json(node["features"])
    elif kind == "Feature" and node.get("geometry"):
        properties = node.get("properties") or {}
        yield from _areas_of_json(node["geometry"], _class_name(properties), "objectType" in properties)
    elif kind == "GeometryCollection":
        yield from _areas_of_json(node["geometries"], name, is_cropped)
    elif kind in ("Polygon", "MultiPolygon"):
        for rings in [node["coordinates"]] if kind == "Polygon" else node["coordinates"]:
            found = [ring for ring in map(_ring, rings) if len(ring)]
            if found:
                yield Area(found, name, name.lower() == _IGNORED, is_cropped)


def _class_name(properties: dict[str, Any]) -> str:
    found = properties.get("classification") or ""
    return str(found.get("name", "") if isinstance(found, dict) else found)


def _areas_of_xml(content: bytes) -> Iterator[Area]:
    """Areas of ASAP (Coordinate), HALO (V) and Aperio (Vertex)."""
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise ValueError("it declares entities, which no program for slides does")
    root = ElementTree.fromstring(content)
    if root.tag == "ASAP_Annotations":
        for drawn in root.iter("Annotation"):
            corners = sorted(drawn.iter("Coordinate"), key=lambda point: float(point.get("Order", 0)))
            ring = _ring([(_number(point, "X"), _number(point, "Y")) for point in corners])
            if len(ring) and drawn.get("Type", "Polygon").lower() not in _LINES:
                yield Area(
                    [ring], is_outside=drawn.get("PartOfGroup", "").lower() in ("exclusion", "exclude", _IGNORED)
                )
    elif root.tag == "Annotations":
        for layer in root.iter("Annotation"):
            is_ignored = layer.get("Name", "").lower() == _IGNORED
            for region in layer.iter("Region"):
                corners = [point for tag in ("V", "Vertex") for point in region.iter(tag)]
                ring = _ring([(_number(point, "X"), _number(point, "Y")) for point in corners])
                kind = region.get("Type", "Polygon").lower()
                if len(ring) and kind not in _LINES:
                    is_outside = is_ignored or region.get("NegativeROA", "0") in ("1", "true")
                    yield Area([_shape(kind, ring)], is_outside=is_outside)
    else:
        raise ValueError(f"XML of {root.tag}")


def _number(point: ElementTree.Element, name: str) -> float:
    return float(point.attrib[name].replace(",", "."))  # some systems write a decimal comma


def _shape(kind: str, ring: NDArray[np.float64]) -> NDArray[np.float64]:
    """The outline: rectangles and ellipses are often stored as two opposite corners."""
    if kind in ("rectangle", "ellipse", "1", "2") and len(ring) in (2, 4):
        (left, top), (right, bottom) = ring.min(0), ring.max(0)
        if kind in ("rectangle", "1"):
            return ring if len(ring) == 4 else np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
        angle = np.linspace(0, 2 * np.pi, _ELLIPSE_POINTS, endpoint=False)
        middle, radius = (ring.min(0) + ring.max(0)) / 2, (ring.max(0) - ring.min(0)) / 2
        return middle + radius * np.stack([np.cos(angle), np.sin(angle)], 1)
    return ring
