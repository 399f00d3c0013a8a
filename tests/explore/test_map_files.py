"""Files for viewers: valid by their formats, and at the right place."""

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import nibabel as nib
import numpy as np
import pytest
import tifffile
from monai.transforms import LoadImage
from slide_embeddings import made_up_slide, without_prototypes

from bundle.explore import (
    HeatMapTiff,
    MapRequest,
    NiftiMaps,
    OverlayPng,
    QuPathGeoJson,
    QuPathTokens,
    TokenRaster,
    slide_layers,
)
from bundle.explore.maps.polygons import signed_area
from bundle.slides.roi import roi_mask
from bundle.storage.attention import relative_attention

SCHEMA = json.loads((Path(__file__).parent / "qupath_objects.json").read_text())


def small_biopsy():
    """One region, padded: the slide lies in its middle."""
    slide = made_up_slide(n_regions=1, n_prototypes=1, level0_width=3000, level0_height=5001)
    return replace(slide, coords=np.array([[-2596, -1595]]))


def bare_slide():
    """A slide whose regions have no prototype, and no attention."""
    return without_prototypes(made_up_slide(n_regions=3, has_attention=False))


def clipped_slide():
    """Regions reach beyond the slide's right and lower end."""
    return made_up_slide(n_regions=12, level0_width=30001, level0_height=20077)


SLIDES = {"small": small_biopsy, "bare": bare_slide, "clipped": clipped_slide, "twelve": made_up_slide}


def features_of(slide, folder, **request):
    """The GeoJSON's features, checked by the schema."""
    (path,) = QuPathGeoJson()(slide, MapRequest(**request), folder)
    collection = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.validate(collection, SCHEMA)
    return collection["features"], path


@pytest.mark.parametrize("kind", SLIDES)
def test_geojson_is_what_rfc_7946_and_qupath_want(kind, tmp_path):
    """Rings close, run counter-clockwise outside and clockwise in holes, have an area, and stay on the slide."""
    slide = SLIDES[kind]()
    features, _ = features_of(slide, tmp_path)
    tiles = [f for f in features if f["properties"]["objectType"] == "tile"]
    assert len(tiles) == len(slide) and len({(f["id"], f["properties"]["name"]) for f in features}) == len(features)
    for feature in features:
        geometry = feature["geometry"]
        polygons = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
        for rings in polygons:
            for ring, sign in zip(rings, [1] + [-1] * len(rings), strict=False):
                assert ring[0] == ring[-1] and sign * signed_area(ring) > 0
                assert (np.min(ring, 0) >= 0).all() and (np.max(ring, 0) <= slide.level0_size).all()


def test_positions_are_px_of_the_file_where_these_are_no_squares(tmp_path):
    """Level-0 px were made of oblong ones: QuPath, which shows the file, finds tiles and outlines in its own px."""
    slide, made = made_up_slide(), made_up_slide(pixel_aspect=[1.0, 1.08])
    for name in ("region 4", "prototype 2"):
        as_read, in_file = (
            np.concatenate([np.ravel(ring) for ring in _rings(features_of(each, tmp_path)[0], name)])
            for each in (slide, made)
        )
        np.testing.assert_allclose(in_file[::2], as_read[::2])
        np.testing.assert_allclose(in_file[1::2], as_read[1::2] / 1.08, atol=0.006)


def _rings(features, name):
    geometry = next(f["geometry"] for f in features if f["properties"]["name"] == name)
    polygons = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
    return [ring for rings in polygons for ring in rings]


def test_tiles_carry_what_was_measured(tmp_path):
    """Class, color and numbers of a region are its own."""
    slide = made_up_slide()
    features, _ = features_of(slide, tmp_path)
    tile = next(f for f in features if f["properties"]["name"] == "region 4")
    assert tile["geometry"]["coordinates"][0][0] == slide.coords[4].tolist()
    properties = tile["properties"]
    assert properties["classification"] == {"name": "Prototype 2", "color": [230, 159, 0]}
    measured = properties["measurements"]
    assert measured["Tissue share"] == pytest.approx(slide.mask[4].mean(), abs=1e-4)
    assert measured["Similarity to prototype 3"] == pytest.approx(slide.similarity[4, 2], abs=1e-4)
    assert measured["Prototype share of tissue"] == pytest.approx(
        slide.mask[slide.assignment == 1].sum() / slide.mask.sum(), abs=1e-4
    )
    assert 0 < measured["Attention on tissue"] < 1 < measured["Attention peak"]
    only = features_of(slide, tmp_path, prototype=3, layers=["similarity"])[0]
    assert {n for f in only for n in f["properties"]["measurements"]} == {"Tissue share", "Similarity to prototype 3"}


def test_tokens_are_tiles_with_their_attention(tmp_path):
    """One a token with tissue, where it lies, cut at the slide's border; none for a slide without attention."""
    slide = clipped_slide()
    (path,) = QuPathTokens()(slide, MapRequest(), tmp_path)
    collection = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.validate({**collection, "features": collection["features"][::97]}, SCHEMA)
    tiles = [feature["geometry"]["coordinates"][0] for feature in collection["features"]]
    x, y = TokenRaster.of(slide).edges()
    rows, columns = np.nonzero(np.isfinite(slide_layers(slide, TokenRaster.of(slide))[0].values))
    assert len(tiles) == (TokenRaster.of(slide).within()[rows, columns]).sum()
    region, row, column = np.argwhere(slide.mask)[400].tolist()
    corner = (slide.coords[region] + slide.patch_level0 * np.array([column, row])).tolist()
    (tile,) = (f for f in collection["features"] if f["geometry"]["coordinates"][0][0] == corner)
    heads = relative_attention(slide.attention, slide.mask)[region, :, row, column]
    measured = tile["properties"]["measurements"]
    assert measured["Attention"] == pytest.approx(heads.mean(), abs=1e-3)
    assert measured["Attention head 6"] == pytest.approx(heads[5], abs=1e-3)
    assert np.max(tiles, (0, 1)).tolist() == [x[-1], y[-1]] == [30001, 20077]
    assert QuPathTokens()(bare_slide(), MapRequest(), tmp_path) == []


def test_a_prototypes_annotation_encloses_its_tissue(tmp_path):
    """Read back by the reader of regions of interest, it covers the tokens of its regions and nothing else."""
    slide = clipped_slide()
    features, path = features_of(slide, tmp_path)
    annotations = [f for f in features if f["properties"]["objectType"] == "annotation"]
    assert [f["properties"]["classification"]["name"] for f in annotations] == [f"Prototype {k}" for k in (1, 2, 3)]
    assert sum(f["properties"]["measurements"]["Share of tissue"] for f in annotations) == pytest.approx(1, abs=1e-3)
    path.write_text(json.dumps(annotations[1]))
    raster = TokenRaster.of(slide)
    width, height = slide.level0_size
    drawn = roi_mask(path, round(width / 64), round(height / 64), 64)[4::8, 4::8]  # a token is 8 px there
    wanted = raster.paint(slide.assignment + 1.0) == 2
    np.testing.assert_array_equal(drawn, wanted[: drawn.shape[0], : drawn.shape[1]])


@pytest.mark.parametrize("kind", SLIDES)
def test_a_heat_map_is_a_pyramidal_ome_tiff(kind, tmp_path):
    """A named channel a layer with its values, um a px at every level, and the corner's place on the slide."""
    slide = SLIDES[kind]()
    raster = TokenRaster.of(slide)
    layers = slide_layers(slide, raster)
    (path,) = HeatMapTiff()(slide, MapRequest(), tmp_path)
    with tifffile.TiffFile(path) as file:
        assert file.is_ome and all(page.is_tiled for page in file.pages)
        image = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
        levels = file.series[0].levels
        first = file.series[0].asarray().reshape(-1, *raster.shape)
        um = [1e4 / float(np.divide(*level.pages[0].tags["XResolution"].value)) for level in levels]
        sizes = [level.shape[-2:] for level in levels]
        half = levels[1].asarray().reshape(len(layers), *sizes[1]) if len(levels) > 1 else None
    channels = image["Channel"] if isinstance(image["Channel"], list) else [image["Channel"]]
    assert [channel["Name"] for channel in channels] == [layer.title for layer in layers]
    assert image["PhysicalSizeX"] == image["PhysicalSizeY"] == 128 and image["PhysicalSizeXUnit"] == "µm"
    planes = image["Plane"] if isinstance(image["Plane"], list) else [image["Plane"]]
    assert {(p["PositionX"], p["PositionY"]) for p in planes} == {(raster.origin[0] / 4, raster.origin[1] / 4)}
    for values, layer in zip(first, layers, strict=True):
        np.testing.assert_array_equal(values, layer.values)
    np.testing.assert_allclose(um, 128.0 * 2 ** np.arange(len(levels)), rtol=1e-6)
    assert max(sizes[-1]) <= 64 and sizes == [tuple(-(-n // 2**i) for n in raster.shape) for i in range(len(sizes))]
    if half is not None:
        expected = np.nanmean(layers[-1].values[:2, :2])
        np.testing.assert_allclose(half[-1, 0, 0], expected, rtol=1e-6)


def test_coarser_levels_keep_labels_and_average_the_rest(tmp_path):
    """A px of the next level is one of its four labels, and the mean of what is there of other layers."""
    slide = made_up_slide(n_regions=24)
    (path,) = HeatMapTiff()(slide, MapRequest(), tmp_path)
    with tifffile.TiffFile(path) as file:
        fine, coarse = (level.asarray() for level in file.series[0].levels[:2])
    fours = fine.reshape(len(fine), fine.shape[1] // 2, 2, -1, 2).swapaxes(2, 3).reshape(*coarse.shape, 4)
    there = np.isfinite(coarse[0])
    assert (fours[0] == coarse[0][..., None]).any(-1)[there].all() and np.isnan(fours[0][~there]).all()
    np.testing.assert_allclose(coarse[-1][there], np.nanmean(fours[-1][there], -1), rtol=1e-5)


@pytest.mark.parametrize("kind", SLIDES)
def test_volumes_lie_where_the_tokens_do(kind, tmp_path):
    """Voxel (i, j)'s center is, in LPS, the token's center in level-0 px times mm a px; units are mm; values agree."""
    slide = SLIDES[kind]()
    paths = NiftiMaps()(slide, MapRequest(), tmp_path)
    layers = {layer.name: layer for layer in slide_layers(slide, TokenRaster.of(slide))}
    assert [path.name for path in paths] == [f"slide_a.{name}.nii.gz" for name in layers]
    mm = slide.level0_mpp / 1000
    for path, layer in zip(paths, layers.values(), strict=True):
        volume = nib.load(path)
        assert volume.header.get_xyzt_units()[0] == "mm"
        np.testing.assert_allclose(volume.header.get_zooms(), 0.128)
        for affine in (volume.affine, volume.header.get_sform(), volume.header.get_qform()):
            np.testing.assert_allclose(affine, volume.affine, atol=1e-6)
        voxels = np.asarray(volume.dataobj)
        for region in (0, len(slide) - 1):
            for row, column in ((0, 0), (15, 3)):
                center = (slide.coords[region] + (np.array([column, row]) + 0.5) * slide.patch_level0) * mm
                lps = np.array([center[0], center[1], 0])
                i, j, k = np.round(np.linalg.inv(volume.affine) @ [*(lps * [-1, -1, 1]), 1])[:3].astype(int)
                np.testing.assert_allclose((volume.affine @ [i, j, k, 1])[:3] * [-1, -1, 1], lps, atol=1e-6)
                wanted = layer.values[j, i]
                wanted = np.nan_to_num(wanted) if layer.kind == "prototypes" else wanted
                np.testing.assert_array_equal(voxels[i, j, k], wanted)


def test_the_slide_itself_lies_under_its_maps(tmp_path):
    """Its volume covers the slide from 0 to its size in mm, in gray; MONAI reads it and the maps at one place."""
    slide = made_up_slide()
    width, height = (size * slide.level0_mpp / 64 for size in slide.level0_size)
    picture = np.random.default_rng(0).integers(0, 255, (round(height), round(width), 3), np.uint8)
    path = NiftiMaps()(slide, MapRequest(thumbnail=lambda slide_id: (picture, 64.0)), tmp_path)[-1]
    volume = nib.load(path)
    assert path.name == "slide_a.slide.nii.gz"
    ends = [volume.affine @ [-0.5, -0.5, 0, 1], volume.affine @ [width - 0.5, height - 0.5, 0, 1]]
    np.testing.assert_allclose(-ends[0][:2], 0, atol=1e-6)
    np.testing.assert_allclose(-ends[1][:2], np.array(slide.level0_size) * slide.level0_mpp / 1000, rtol=1e-5)
    read = LoadImage(image_only=True)(path)
    assert float(read[5, 7, 0]) == pytest.approx(picture[7, 5] @ [0.299, 0.587, 0.114], abs=1)
    over = LoadImage(image_only=True)(tmp_path / "slide_a.prototypes.nii.gz")
    center = np.linalg.inv(read.affine.numpy()) @ over.affine.numpy() @ [20, 3, 0, 1]
    np.testing.assert_allclose(center[:2], [20.5 * 2 - 0.5, 3.5 * 2 - 0.5], atol=1e-5)  # two px a token


@pytest.mark.parametrize("writer", [QuPathGeoJson, HeatMapTiff, NiftiMaps])
def test_the_same_slide_gives_the_same_bytes(writer, tmp_path):
    """Made again, a map does not change: ids are the objects' own, no time of day stands in a file."""
    contents = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        contents.append([path.read_bytes() for path in writer()(made_up_slide(), MapRequest(), tmp_path / name)])
    assert contents[0] == contents[1]


@pytest.mark.parametrize("name", ['a & <b> "c" $d_{e$', "切片 1"])
def test_names_may_hold_any_letters(name, tmp_path):
    """Quotes, brackets, dollars and other scripts neither break a file nor are lost in it."""
    slide = replace(made_up_slide(n_regions=2, n_prototypes=1, has_attention=False), slide_id=name)
    request = MapRequest(layers=["prototypes"])
    for writer in (QuPathGeoJson(), HeatMapTiff(), NiftiMaps(), OverlayPng()):
        (path,) = writer(slide, request, tmp_path)
        assert path.name.startswith(name) and path.stat().st_size
    features, _ = features_of(slide, tmp_path)
    assert len(features) == 3
    with tifffile.TiffFile(tmp_path / f"{name}.ome.tiff") as file:
        assert file.is_ome and tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Name"] == name
