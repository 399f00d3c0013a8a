"""The atlas: kinds of tissue merged over slides, with shares, slides and regions that belong to them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from slide_embeddings import made_up_slide

from bundle.cohort import SlideTable
from bundle.core import BundleError
from bundle.explore import CohortAtlas, letters
from bundle.prototypes import matched_similarity
from bundle.storage import tissue_shares, write_embeddings


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def planted_cohort(folder, n_slides=10, noise=0.05):
    """Slides of 3 out of 5 kinds, and which kind each prototype is; a table with two labels and patients of two."""
    rng = np.random.default_rng(0)
    kinds, slides, truth = unit(rng.standard_normal((5, 32))), [], []
    for number in range(n_slides):
        own = rng.choice(5, 3, replace=False)
        slide = made_up_slide(f"s{number}", int(rng.integers(6, 14)), 3, seed=number)
        prototypes = unit(kinds[own] + noise * rng.standard_normal((3, 32)))
        projection = unit(prototypes[slide.assignment] + noise * rng.standard_normal((len(slide), 32)))
        slides.append(replace(slide, prototypes=prototypes, projection=projection))
        truth.append(own)
        write_embeddings(slides[-1], folder / f"s{number}.h5")
    lines = [f"s{number}.tiff,{'ab'[number % 2]},p{number // 2}" for number in range(n_slides)]
    (folder / "table.csv").write_text("\n".join(["slide,label,patient", *lines]))
    return slides, np.array(truth), kinds


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("atlas")
    slides, truth, kinds = planted_cohort(folder)
    atlas = CohortAtlas(folder, SlideTable.read(folder / "table.csv"), n_kinds=5, n_examples=4, n_neighbors=3).run()
    return atlas, slides, truth, kinds


def test_planted_kinds_come_back(made):
    """Each kind of the atlas is one planted kind, in exactly the slides that have it, the larger share first."""
    atlas, slides, truth, _ = made
    assert len(atlas.kinds) == 5 and [kind.letter for kind in atlas.kinds] == list("ABCDE")
    owners = [{f"s{n}" for n in range(10) if kind in truth[n]} for kind in range(5)]
    found = [set(kind.slides) for kind in atlas.kinds]
    assert sorted(map(sorted, found)) == sorted(map(sorted, owners))
    shares = [kind.share for kind in atlas.kinds]
    assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(1)
    assert atlas.cohesion > 0.9


def test_shares_are_of_tissue(made):
    """A kind's share is its tissue over that of all slides; by label, over that of the slides with the label."""
    atlas, slides, _, _ = made
    area = {slide.slide_id: slide.mask.sum() for slide in slides}
    for number, kind in enumerate(atlas.kinds):
        of_kind = {s.slide_id: s.shares.get(number, 0) * area[s.slide_id] for s in atlas.slides}
        assert kind.share == pytest.approx(sum(of_kind.values()) / sum(area.values()))
        of_a = [name for name in area if int(name[1:]) % 2 == 0]
        expected = sum(of_kind[name] for name in of_a) / sum(area[name] for name in of_a)
        assert kind.share_of_group["a"] == pytest.approx(expected)
    for slide, own in zip(sorted(slides, key=lambda s: s.slide_id), atlas.slides, strict=True):
        assert sorted(own.shares.values()) == pytest.approx(sorted(tissue_shares(slide)))
        assert own.tissue_mm2 == pytest.approx(slide.mask.sum() * 0.128**2)  # patches of 256 px at 0.5 um/px
        assert list(own.shares.values()) == sorted(own.shares.values(), reverse=True)


def test_typical_regions_are_of_the_kind_and_of_different_slides(made):
    """A kind's regions belong to it, come from as many slides as there are, and have their cosine with it."""
    atlas, slides, truth, kinds = made
    by_name = {slide.slide_id: slide for slide in slides}
    in_atlas = {slide.slide_id: slide for slide in atlas.slides}
    for number, kind in enumerate(atlas.kinds):
        assert len(kind.regions) == 4
        assert len({place.slide_id for place in kind.regions}) == min(4, len(kind.slides))
        for place in kind.regions:
            slide = by_name[place.slide_id]
            region = int(np.flatnonzero((slide.coords == (place.x, place.y)).all(1))[0])
            assert in_atlas[place.slide_id].kind[region] == number and place.size == slide.region_size_level0
            planted = truth[int(place.slide_id[1:])][slide.assignment[region]]
            assert place.similarity == pytest.approx(float(slide.projection[region] @ kinds[planted]), abs=0.05)
        similarity = [place.similarity for place in kind.regions]
        assert similarity == sorted(similarity, reverse=True)


def test_neighbors_are_the_best_matched_slides_of_other_patients(made):
    """The three most similar slides by matched prototypes, none of the same patient."""
    atlas, slides, _, _ = made
    sets = {slide.slide_id: torch.from_numpy(slide.prototypes)[None] for slide in slides}
    all_there = torch.ones(1, 3, dtype=torch.bool)
    for slide in atlas.slides:
        number = int(slide.slide_id[1:])
        truth = {
            name: float(matched_similarity(sets[slide.slide_id], all_there, other, all_there)[0])
            for name, other in sets.items()
            if int(name[1:]) // 2 != number // 2
        }
        best = sorted(truth, key=lambda name: -truth[name])[:3]
        assert [name for name, _ in slide.neighbors] == best
        assert [s for _, s in slide.neighbors] == pytest.approx([truth[name] for name in best], abs=1e-5)


def test_odd_slides_have_their_place(tmp_path):
    """A slide without prototypes, one with a single region, a damaged file and other weights: nothing fails, all is
    said."""
    planted_cohort(tmp_path, 4)
    bare = made_up_slide("bare", 5, 1, seed=9)
    write_embeddings(replace(bare, prototypes=bare.prototypes[:0], assignment=np.full(5, -1)), tmp_path / "bare.h5")
    write_embeddings(made_up_slide("one", 1, 1, seed=10), tmp_path / "one.h5")
    other = made_up_slide("other")
    write_embeddings(replace(other, attributes={**other.attributes, "encoder": "x sha256:1"}), tmp_path / "other.h5")
    (tmp_path / "bad.h5").write_bytes(b"")
    atlas = CohortAtlas(tmp_path, group_by="stage").run()
    assert set(atlas.failed) == {"bad", "other"} and atlas.group_by == ""
    slides = {slide.slide_id: slide for slide in atlas.slides}
    assert slides["bare"].shares == {} and (slides["bare"].kind == -1).all() and slides["bare"].neighbors == []
    assert len(slides["one"].shares) == 1 and len(slides["one"].neighbors) == 4
    assert all("one" not in dict(slide.neighbors) for slide in atlas.slides)
    assert len(atlas.kinds) <= 6  # twice the three of a slide


def test_too_few_kinds_are_raised_to_what_slides_need(tmp_path, caplog):
    """Fewer kinds than a slide has prototypes: a warning, and as many as needed; no prototype at all: an error."""
    planted_cohort(tmp_path / "a", 3)
    assert len(CohortAtlas(tmp_path / "a", n_kinds=2).run().kinds) == 3 and "n_kinds is 2" in caplog.text
    bare = made_up_slide("bare", 2, 1)
    write_embeddings(
        replace(bare, prototypes=bare.prototypes[:0], assignment=np.full(2, -1)), tmp_path / "b" / "bare.h5"
    )
    with pytest.raises(BundleError, match="has prototypes"):
        CohortAtlas(tmp_path / "b").run()
    with pytest.raises(BundleError, match="no embeddings"):
        (tmp_path / "c").mkdir()
        CohortAtlas(tmp_path / "c").run()


def test_letters_go_on_after_z():
    """As columns of a spreadsheet are called."""
    assert [letters(n) for n in (0, 25, 26, 27, 51, 52, 701, 702)] == ["A", "Z", "AA", "AB", "AZ", "BA", "ZZ", "AAA"]
