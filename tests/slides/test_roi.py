"""Regions of interest drawn in QuPath."""

import json

import numpy as np
import pytest

from bundle.core import BundleError
from bundle.slides.roi import roi_mask


def square(left, top, size):
    """A closed ring."""
    return [[left, top], [left + size, top], [left + size, top + size], [left, top + size], [left, top]]


def feature(kind, coordinates):
    """A GeoJSON feature as QuPath writes it."""
    return {
        "type": "Feature",
        "geometry": {"type": kind, "coordinates": coordinates},
        "properties": {"objectType": "annotation"},
    }


def mask_of(tmp_path, content, width=50, height=40, downsample=10.0):
    """What a GeoJSON of this content gives."""
    path = tmp_path / "roi.geojson"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
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


def test_beyond_the_slide(tmp_path):
    """A polygon may reach over the border; without an area inside, the mask is empty."""
    assert mask_of(tmp_path, feature("Polygon", [square(-500, -500, 5000)])).all()
    assert not mask_of(tmp_path, feature("Polygon", [square(9000, 9000, 100)])).any()


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


def test_the_mask_is_writable(tmp_path):
    """It may be combined in place with a tissue mask."""
    found = mask_of(tmp_path, feature("Polygon", [square(0, 0, 100)]))
    found &= np.zeros_like(found)
    assert not found.any()
