"""Answers about a slide: boxes, polygons, bands, neighbors."""

import dataclasses
import json

import numpy as np
import pytest
from slide_embeddings import made_up_slide, without_prototypes

from bundle.core import BundleError
from bundle.serving.annotations import NO_PROTOTYPE, rectangles_of
from bundle.serving.answers import QUESTIONS
from bundle.serving.slide_box import SlideBox

WHOLE = {"location": [0, 0], "size": [0, 0]}
BOXES = [
    WHOLE,
    {"location": [5000, 5000], "size": [9000, 7000]},
    {"location": [0, 0], "size": [1, 1]},
    {"location": [-500, -500], "size": [3000, 3000]},
    {"location": [30000, 20000], "size": [10**6, 10**6]},
    {"location": [8191, 8191], "size": [2, 2]},
]


def small_slide():
    """A slide smaller than its only region, which lies around it."""
    slide = made_up_slide(n_regions=1, n_prototypes=1, level0_width=5000, level0_height=3000)
    return dataclasses.replace(slide, coords=np.array([[-1596, -2596]]))


def bare_slide():
    """A slide without prototypes."""
    return without_prototypes(made_up_slide(n_regions=3, n_prototypes=1))


def points(answer, but=()):
    elements = [e for e in answer["annotation"]["elements"] if not e["label"].startswith(but)]
    return [point for element in elements for contour in element["contours"] for point in contour]


def area(contours):
    return sum((c[1][0] - c[0][0]) * (c[2][1] - c[1][1]) for c in contours)


@pytest.mark.parametrize("model", QUESTIONS)
@pytest.mark.parametrize("box", BOXES, ids=str)
@pytest.mark.parametrize("make", [made_up_slide, small_slide, bare_slide])
def test_every_point_lies_in_the_box_and_in_the_slide(model, box, make):
    """Whatever the box, edges of the slide included; only regions that were found elsewhere lie outside the box."""
    slide = make()
    request = {**box, "min_poly_area": 0}
    width, height = slide.level0_size
    try:
        answer = QUESTIONS[model].answer(slide, request)
    except BundleError as error:
        assert "beside the slide" in str(error) or "no region with tissue" in str(error)
        return
    left, top, right, bottom = SlideBox.of_request(request, width, height)
    for x, y in points(answer, but=("Similar",)):
        assert left <= x <= right and top <= y <= bottom
    for x, y in points(answer):
        assert 0 <= x <= width and 0 <= y <= height
    json.dumps(answer, allow_nan=False)


def test_a_slide_of_oblong_px_is_refused():
    """A viewer sends and shows px of the file, and the slide was read in others: the answer would lie elsewhere."""
    slide = made_up_slide(pixel_aspect=[1.0, 1.05])
    for question in QUESTIONS.values():
        with pytest.raises(BundleError, match=r"slide slide_a has oblong pixels.*configs/maps.yaml"):
            question.answer(slide, {})


def test_prototype_map_covers_its_regions():
    """Every region is there once, around its tissue, in its prototype's class; shares are those of the box."""
    slide = made_up_slide(n_regions=12, n_prototypes=3)
    slide.mask[:, 8:] = False
    slide.mask[:, 7, 15] = slide.mask[:, 0, 0] = True
    answer = QUESTIONS["prototype_map"].answer(slide, WHOLE)
    by_label = {e["label"]: e["contours"] for e in answer["annotation"]["elements"]}
    assert {label: len(contours) for label, contours in by_label.items()} == {f"Prototype {k}": 4 for k in (1, 2, 3)}
    assert sum(map(area, by_label.values())) == pytest.approx(12 * slide.region_size_level0**2 / 2)
    assert answer["shares"] == pytest.approx({f"Prototype {k}": 1 / 3 for k in (1, 2, 3)})
    assert set(answer["annotation"]["labels"]) == set(by_label)


def test_slide_without_prototypes_is_drawn_as_such():
    """K = 0: one gray class."""
    answer = QUESTIONS["prototype_map"].answer(bare_slide(), WHOLE)
    assert answer["shares"] == {NO_PROTOTYPE: 1.0}


def test_attention_bands_hold_the_shares_they_are_named_after():
    """5 % and 15 % of the slide's tissue patches, none twice, none on glass."""
    slide = made_up_slide(n_regions=12)
    answer = QUESTIONS["attention_map"].answer(slide, WHOLE)
    cell = slide.patch_level0**2
    counts = {e["label"]: area(e["contours"]) / cell for e in answer["annotation"]["elements"]}
    n_tissue = slide.mask.sum()
    assert counts["Attention top 5 %"] == pytest.approx(0.05 * n_tissue, rel=0.03)
    assert counts["Attention top 20 %"] == pytest.approx(0.15 * n_tissue, rel=0.03)


def test_attention_head_is_chosen_and_checked():
    """Heads differ; one that is not there is named."""
    slide = made_up_slide()
    answers = [QUESTIONS["attention_map"].answer(slide, {**WHOLE, "head": head}) for head in (1, "2", "")]
    assert points(answers[0]) != points(answers[1])
    assert points(answers[2]) == points(QUESTIONS["attention_map"].answer(slide, WHOLE))
    with pytest.raises(BundleError, match="heads 1 to 6"):
        QUESTIONS["attention_map"].answer(slide, {**WHOLE, "head": 7})
    with pytest.raises(BundleError, match="without attention"):
        QUESTIONS["attention_map"].answer(made_up_slide(has_attention=False), WHOLE)


def test_attention_compares_between_regions_of_much_and_of_little_tissue():
    """A region of few tissue patches does not take the bands for itself, as it would by its weights alone."""
    slide = made_up_slide(n_regions=4)
    slide.mask[:] = True
    slide.mask[0, 2:] = False
    slide.attention[0, :, :2] *= 8  # what 32 patches share of what 256 share elsewhere
    answer = QUESTIONS["attention_map"].answer(slide, WHOLE)
    drawn = [contour for e in answer["annotation"]["elements"] for contour in e["contours"]]
    in_first = [contour for contour in drawn if contour[2][0] <= 8192]
    assert area(in_first) / area(drawn) == pytest.approx(32 / (32 + 3 * 256), abs=0.04)


def test_box_bands_are_those_of_the_whole_slide():
    """A box shows a part of the same map: what it holds, the whole map holds at the same place."""
    slide = made_up_slide()
    box = {"location": [8192, 0], "size": [8192, 8192], "min_poly_area": 0}
    part = QUESTIONS["attention_map"].answer(slide, box)["annotation"]["elements"]
    only = dataclasses.replace(slide, coords=slide.coords + (np.arange(12)[:, None] != 1) * 10**6)
    whole = QUESTIONS["attention_map"].answer(only, {"location": [8192, 0], "size": [8192, 8192]})
    assert part == whole["annotation"]["elements"]


def test_region_embedding_is_the_regions_mean_by_area():
    """Two regions in equal shares: the mean of the two; lengths are the encoder's."""
    slide = made_up_slide()
    answer = QUESTIONS["region_embedding"].answer(slide, {"location": [8192 - 100, 10], "size": [200, 50]})
    assert [region["location"] for region in answer["regions"]] == slide.coords[:2].tolist()
    np.testing.assert_allclose(answer["embedding"], slide.features[:2].mean(0), rtol=1e-5)
    assert len(answer["embedding"]) == len(answer["slide_embedding"]) == slide.features.shape[1]


def test_similar_regions_are_those_of_the_same_prototype():
    """The planted prototype's other regions come first, by cosine, and the marked one is not among them."""
    slide = made_up_slide(n_regions=12, n_prototypes=3)
    answer = QUESTIONS["similar_regions"].answer(slide, {"location": [100, 100], "size": [500, 500], "n_similar": 3})
    assert [region["prototype"] for region in answer["regions"]] == [1, 1, 1]
    cosines = [region["cosine"] for region in answer["regions"]]
    assert cosines == sorted(cosines, reverse=True)
    assert [0, 0] not in [region["location"] for region in answer["regions"]]
    assert answer["n_compared"] == 11


def test_small_polygons_are_left_out():
    """``min_poly_area`` counts in level-0 px squared, after cutting."""
    slide = made_up_slide()
    box = {"location": [8000, 0], "size": [300, 1000]}  # 192 px of one region, 108 of the next
    kept = QUESTIONS["prototype_map"].answer(slide, {**box, "min_poly_area": 150_000})
    assert len(points(kept)) == 4
    assert len(points(QUESTIONS["prototype_map"].answer(slide, {**box, "min_poly_area": 0}))) == 8


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"location": [100, 0], "size": [0, 0]}, "no area"),
        ({"location": [0, 0], "size": [-5, 10]}, "no area"),
        ({"location": [10**7, 0], "size": [10, 10]}, "beside the slide"),
        ({"location": "here", "size": [10, 10]}, "location"),
        ({"location": [0, 0], "size": [10]}, "size"),
        ({"location": [float("nan"), 0], "size": [9, 9]}, "location"),
        ({"location": [0, 0], "size": [float("inf"), 10]}, "size"),
        ({"location": [10**400, 0], "size": [9, 9]}, "location"),
    ],
)
def test_boxes_that_are_none(request_, message):
    """A box without area, beside the slide, or made of something else is an error that says so."""
    with pytest.raises(BundleError, match=message):
        SlideBox.of_request(request_, 1000, 1000)


@pytest.mark.parametrize("seed", range(5))
def test_rectangles_cover_each_cell_once(seed):
    """The rectangles are the cells: none twice, none left out."""
    cells = np.random.default_rng(seed).random((16, 16)) < 0.2 + 0.15 * seed
    drawn = np.zeros((16, 16), int)
    for top, left, bottom, right in rectangles_of(cells):
        drawn[top:bottom, left:right] += 1
    np.testing.assert_array_equal(drawn, cells.astype(int))
    assert rectangles_of(np.ones((4, 4), bool)) == [(0, 0, 4, 4)]
