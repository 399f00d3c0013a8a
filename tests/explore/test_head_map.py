"""Class and risk maps of a head, for QuPath."""

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from fitted_heads import cohort, fitted_head, made_up_record
from slide_embeddings import made_up_slide

from bundle.evaluation import AttentionMIL, CoxRegression
from bundle.explore import HeadGeoJson
from bundle.heads import Head

SCHEMA = json.loads((Path(__file__).parent / "qupath_objects.json").read_text())


def drawn(slide, head, folder):
    """Objects of a map, checked by the schema: annotations, and tiles."""
    collection = json.loads(HeadGeoJson()(slide, head, folder).read_text(encoding="utf-8"))
    jsonschema.validate(collection, SCHEMA)
    objects = [each["properties"] for each in collection["features"]]
    kinds = [each["objectType"] for each in objects]
    split = kinds.index("tile")
    assert set(kinds[:split]) <= {"annotation"} and set(kinds[split:]) == {"tile"}
    return collection["features"][:split], collection["features"][split:]


def by_first_value():
    """A head that calls a region b where its first value is above 0, and as sure as it is large."""
    weight = np.zeros((2, 24))
    weight[1, 0] = 1.0
    return Head(made_up_record("linear", ["a", "b"], 24), {"mean": np.zeros(24), "weight": weight, "bias": np.zeros(2)})


def test_regions_have_the_class_that_they_speak_for(tmp_path):
    """A tile's class and probability follow from its embedding alone; a class's outline encloses its tissue."""
    slide = made_up_slide()
    annotations, tiles = drawn(slide, by_first_value(), tmp_path)
    for region, tile in enumerate(tiles):
        value = slide.features[region, 0]
        properties = tile["properties"]
        assert properties["classification"]["name"] == ("b" if value > 0 else "a")
        assert properties["measurements"]["Probability b"] == pytest.approx(1 / (1 + np.exp(-value)), abs=1e-4)
        assert properties["measurements"]["Share in the slide"] == pytest.approx(1 / len(slide))
    assert [each["properties"]["name"] for each in annotations] == ["class a", "class b"]
    assert len({each["id"] for each in [*annotations, *tiles]}) == len(annotations) + len(tiles)
    rings = [np.array(ring) for polygon in annotations[1]["geometry"]["coordinates"] for ring in polygon]
    area = sum((r[:-1, 0] * r[1:, 1] - r[1:, 0] * r[:-1, 1]).sum() / 2 for r in rings)
    assert area == pytest.approx(slide.mask[slide.features[:, 0] > 0].sum() * slide.patch_level0**2, rel=1e-6)


def test_attention_and_risks_are_measured(tmp_path):
    """Shares of attention MIL are its attention; a head of risks has two classes, parted at its threshold."""
    train, _, classes, survival = cohort(2, dim=24)
    slide = made_up_slide()
    head = Head(*fitted_head(AttentionMIL(n_epochs=3), train, classes, 2))
    shares = [tile["properties"]["measurements"]["Share in the slide"] for tile in drawn(slide, head, tmp_path)[1]]
    assert sum(shares) == pytest.approx(1, abs=1e-6) and np.ptp(shares) > 1e-4
    record, tensors = fitted_head(CoxRegression(), train, survival, 0)
    risks = Head(record, tensors).of_regions(slide).scores[:, 0]
    _, tiles = drawn(slide, Head(replace(record, threshold=float(np.median(risks))), tensors), tmp_path)
    names = [tile["properties"]["classification"]["name"] for tile in tiles]
    assert names == ["Risk high" if risk >= np.median(risks) else "Risk low" for risk in risks]
    assert [tile["properties"]["measurements"]["Risk"] for tile in tiles] == pytest.approx(risks.tolist(), abs=1e-4)
