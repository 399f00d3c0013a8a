"""Regions of interest drawn in QuPath."""

import json

import numpy as np
import pytest

from bundle.core import BundleError
from bundle.slides.roi import roi_mask


def square(left, top, size):
    """A closed ring."""
    return [[left, top], [left + size, top], [left + size, top + size], [left, top + size], [left, top]]


def feature(kind, coordinates, **properties):
    """A GeoJSON feature as QuPath writes it."""
    return {
        "type": "Feature",
        "geometry": {"type": kind, "coordinates": coordinates},
        "properties": {"objectType": "annotation", **properties},
    }


def mask_of(tmp_path, content, width=50, height=40, downsample=10.0):
    """What a GeoJSON of this content gives."""
    path = tmp_path / "roi.geojson"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return roi_mask(path, width, height, downsample)


@pytest.mark.parametrize("wrap", ["collection", "list", "feature", "geometry"])
def test_polygon_in_any_wrapping(tmp_path, wrap):
    """FeatureCollection, list of features, feature or bare geometry: level-0 px become mask px."""
    one = feature("Polygon", [square(100, 50, 200)])
    content = {
        "collection": {"type": "FeatureCollection", "features": [one]},
        "list": [one],
        "feature": one,
        "geometry": one["geometry"],
    }[wrap]
    found = mask_of(tmp_path, content)
    assert found.shape == (40, 50) and found.dtype == bool
    assert found[6:24, 11:29].all() and abs(found.sum() - 400) <= 2 * 20 + 1
    assert not found[:4].any() and not found[27:].any()


def test_holes_and_several_polygons(tmp_path):
    """A hole is out, unless another polygon covers it; MultiPolygon and GeometryCollection hold several."""
    ringed = [square(0, 0, 300), square(100, 100, 100)]
    found = mask_of(tmp_path, feature("MultiPolygon", [ringed, [square(400, 300, 60)]]))
    assert found[5, 5] and not found[12:18, 12:18].any() and found[32, 43]
    island = {
        "type": "GeometryCollection",
        "geometries": [feature("Polygon", ringed)["geometry"], feature("Polygon", [square(130, 130, 40)])["geometry"]],
    }
    found = mask_of(tmp_path, island)
    assert found[15, 15] and not found[11, 11]


def test_beyond_the_slide(tmp_path, caplog):
    """A polygon may reach over the border, with a warning; one without an area inside is refused with both sizes."""
    assert mask_of(tmp_path, feature("Polygon", [square(-500, -500, 5000)])).all()
    assert "from (-500, -500) to (4500, 4500), the slide has 500 x 400 px" in caplog.text
    with pytest.raises(BundleError, match=r"roi.geojson lies beyond the slide: .*\(9000, 9000\) .* 500 x 400 px"):
        mask_of(tmp_path, feature("Polygon", [square(9000, 9000, 100)]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json", "JSONDecodeError"),
        ('{"type": "FeatureCollection", "features": []}', "holds no Polygon"),
        ('{"type": "LineString", "coordinates": [[0, 0], [1, 1]]}', "draw an area, not a line"),
        ('{"features": []}', "KeyError"),
        ('{"type": "Polygon", "coordinates": 7}', "TypeError"),
        ('{"type": "Polygon", "coordinates": [[["a", 1], [2, 3], [4, 5]]]}', "ValueError"),
        ("3", "TypeError"),
    ],
)
def test_other_content_is_refused(tmp_path, content, message):
    """The error names the file and what is wrong with it."""
    with pytest.raises(BundleError, match=rf"roi.geojson .*{message}"):
        mask_of(tmp_path, content)
    with pytest.raises(BundleError, match="gone.geojson cannot be read"):
        roi_mask(tmp_path / "gone.geojson", 5, 5, 1.0)


def classified(name, ring):
    """A feature of a class of QuPath."""
    return feature("Polygon", [ring], classification={"name": name})


def test_what_qupath_ignores_is_left_out(tmp_path):
    """The class Ignore* is cut out of other areas and alone is no area; Region* is an ordinary class."""
    found = mask_of(tmp_path, [classified("Region*", square(0, 0, 300)), classified("Ignore*", square(100, 100, 100))])
    assert found[5, 5] and not found[12:18, 12:18].any() and found[25, 25]
    with pytest.raises(BundleError, match="holds no Polygon"):
        mask_of(tmp_path, [classified("Ignore*", square(0, 0, 300))])


def test_a_byte_order_mark_and_numbers_that_are_none(tmp_path):
    """Windows programs begin UTF-8 with a mark; NaN and infinity are no coordinates."""
    content = json.dumps(feature("Polygon", [square(0, 0, 100)]))
    assert mask_of(tmp_path, "\ufeff" + content)[5, 5]
    for word in ("NaN", "Infinity", "-Infinity", "1e999"):
        with pytest.raises(BundleError, match="among the coordinates"):
            mask_of(tmp_path, content.replace("[100, 100]", f"[100, {word}]"))


def test_a_ring_that_crosses_itself(tmp_path):
    """A bow tie is its two triangles; what is gone around twice is outside, as even and odd have it."""
    found = mask_of(tmp_path, feature("Polygon", [[[100, 100], [300, 300], [300, 100], [100, 300], [100, 100]]]))
    assert found[20, 12] and found[20, 28] and not found[12, 20] and not found[28, 20]


def test_qupath_counts_from_where_the_scan_begins(tmp_path):
    """QuPath crops MRXS to what was scanned, and counts from there; others count from the file's corner."""
    drawn = classified("Tumor", square(0, 0, 100))
    path = tmp_path / "roi.geojson"
    path.write_text(json.dumps(drawn))
    moved = roi_mask(path, 50, 40, 10.0, origin=(200, 100))
    assert moved[11:19, 21:29].all() and not moved[:9].any()
    del drawn["properties"]["objectType"]
    path.write_text(json.dumps(drawn))
    assert roi_mask(path, 50, 40, 10.0, origin=(200, 100))[1:9, 1:9].all()


ASAP = """<?xml version="1.0"?>
<ASAP_Annotations><Annotations>
 <Annotation Name="a" Type="Polygon" PartOfGroup="Tumor" Color="#F4FA58"><Coordinates>
  <Coordinate Order="2" X="300" Y="300"/><Coordinate Order="0" X="0" Y="0"/>
  <Coordinate Order="1" X="300" Y="0"/><Coordinate Order="3" X="0,0" Y="300,0"/></Coordinates></Annotation>
 <Annotation Name="b" Type="Rectangle" PartOfGroup="Exclusion"><Coordinates>
  <Coordinate Order="0" X="100" Y="100"/><Coordinate Order="1" X="200" Y="100"/>
  <Coordinate Order="2" X="200" Y="200"/><Coordinate Order="3" X="100" Y="200"/></Coordinates></Annotation>
 <Annotation Name="c" Type="Dot" PartOfGroup="None"><Coordinates>
  <Coordinate Order="0" X="400" Y="390"/></Coordinates></Annotation>
</Annotations><AnnotationGroups><Group Name="Tumor"/></AnnotationGroups></ASAP_Annotations>"""

HALO = """<Annotations><Annotation LineColor="255" Name="Layer 1" Visible="True"><Regions>
 <Region Type="Polygon" HasEndcaps="0" NegativeROA="0"><Vertices>
  <V X="0" Y="0"/><V X="300" Y="0"/><V X="300" Y="300"/><V X="0" Y="300"/></Vertices></Region>
 <Region Type="Rectangle" HasEndcaps="0" NegativeROA="1"><Vertices>
  <V X="100" Y="100"/><V X="200" Y="200"/></Vertices></Region>
 <Region Type="Ellipse" HasEndcaps="0" NegativeROA="0"><Vertices>
  <V X="400" Y="300"/><V X="480" Y="380"/></Vertices></Region>
 <Region Type="Ruler" HasEndcaps="0" NegativeROA="0"><Vertices>
  <V X="400" Y="0"/><V X="480" Y="90"/></Vertices></Region>
</Regions></Annotation></Annotations>"""


@pytest.mark.parametrize("content", [ASAP, HALO, HALO.replace("<V ", "<Vertex "), "\ufeff" + HALO])
def test_annotations_of_other_programs(tmp_path, content):
    """ASAP's XML (corners in their order, an excluded group), HALO's and Aperio's (negative regions, corners of
    rectangles and ellipses); dots and rulers are no areas."""
    found = mask_of(tmp_path, content)
    assert found[5, 5] and found[25, 25] and not found[12:18, 12:18].any() and not found[:28, 33:].any()
    assert found[34, 44] == ("Ellipse" in content) and not found[29, 40]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<Annotations", "ParseError"),
        ("<svg/>", "XML of svg"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><Annotations/>', "declares entities"),
        ("<Annotations/>", "holds no Polygon"),
        (ASAP.replace('X="300"', 'X="far"'), "ValueError"),
        (HALO.replace('Y="300"', 'Y="nan"'), "NaN"),
    ],
)
def test_other_xml_is_refused(tmp_path, content, message):
    """The error names the file and what is wrong with it."""
    with pytest.raises(BundleError, match=rf"roi.geojson .*{message}"):
        mask_of(tmp_path, content)


def test_the_mask_is_writable(tmp_path):
    """It may be combined in place with a tissue mask."""
    found = mask_of(tmp_path, feature("Polygon", [square(0, 0, 100)]))
    found &= np.zeros_like(found)
    assert not found.any()
