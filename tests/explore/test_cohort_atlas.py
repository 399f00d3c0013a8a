"""The atlas: kinds of tissue merged over slides, with shares, slides and regions that belong to them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from slide_embeddings import made_up_slide, unit, without_prototypes

from bundle.cohort import SlideTable
from bundle.core import BundleError
from bundle.explore import CohortAtlas, letters
from bundle.explore.atlas.tissue_regions import regions_apart, without_apart
from bundle.prototypes import matched_similarity
from bundle.storage import tissue_shares, write_embeddings


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


def with_edges(folder, tissue=(0.2, 0.1)):
    """The planted cohort, each slide with two more regions, alike in all and of so little tissue, as a prototype of
    their own."""
    slides, truth, kinds = planted_cohort(folder)
    glass = unit(np.random.default_rng(9).standard_normal(32))
    for slide in slides:
        edges = np.stack([np.arange(256).reshape(16, 16) < 256 * share for share in tissue])
        both = replace(
            slide,
            features=np.concatenate([slide.features, slide.features[:2]]),
            projection=np.concatenate([slide.projection, np.stack([glass, glass])]),
            coords=np.concatenate([slide.coords, [[0, 90000], [9000, 90000]]]),
            mask=np.concatenate([slide.mask, edges]),
            prototypes=np.concatenate([slide.prototypes, glass[None]]),
            assignment=np.concatenate([slide.assignment, [3, 3]]),
            attention=None,
        )
        write_embeddings(both, folder / f"{slide.slide_id}.h5")
    return slides, truth, glass


def test_edge_and_background_are_kept_apart(tmp_path):
    """Regions with little tissue are of no kind, though they were a prototype of every slide: counted, shown from
    different slides, the fullest first; the others' kinds are those of the cohort without them. 0 keeps none apart."""
    slides, truth, _ = with_edges(tmp_path)
    atlas = CohortAtlas(tmp_path, n_kinds=5, n_examples=4).run()
    assert atlas.apart.n_regions == 20 and list(atlas.apart.slides) == [f"s{n}" for n in range(10)]
    for slide in atlas.slides:
        assert slide.apart.nonzero()[0].tolist() == (slide.kind == -1).nonzero()[0].tolist()
        assert slide.apart.sum() == 2 and sum(slide.shares.values()) + slide.apart_share == pytest.approx(1)
    area = sum(slide.mask.sum() for slide in slides)
    assert atlas.apart.share == pytest.approx(
        10 * (52 + 26) / (area + 10 * (52 + 26))
    )  # patches below .2 and .1 of 256
    assert sum(kind.share for kind in atlas.kinds) + atlas.apart.share == pytest.approx(1)
    assert len({place.slide_id for place, _ in atlas.apart.regions}) == 4 and atlas.apart.without == []
    assert [share for _, share in atlas.apart.regions] == [52 / 256, 52 / 256, 26 / 256, 26 / 256]
    assert all(place.y != 90000 for kind in atlas.kinds for place in kind.regions)
    everything = CohortAtlas(tmp_path, n_kinds=6, n_examples=4, min_region_tissue=0).run()
    assert everything.apart.n_regions == 0 and any(kind.regions[0].y == 90000 for kind in everything.kinds)
    assert [s.neighbors for s in everything.slides] == [s.neighbors for s in atlas.slides]  # those of search


def test_a_slide_without_full_regions_takes_part(tmp_path, caplog):
    """At the line a region takes part; where none is so full, as in a needle's core, those that hold as large a part
    of what the fullest one holds do; the atlas names the slides."""
    mask = np.arange(256) < 256 * np.array([1.0, 0.25, 0.24, 0.03])[:, None]
    cut = regions_apart(mask.reshape(4, 16, 16), 0.25)
    assert cut.tolist() == [False, False, True, True]
    assert regions_apart(mask[1:].reshape(3, 16, 16), 0.5).tolist() == [False, False, True]
    assert (
        not regions_apart(mask.reshape(4, 16, 16), 0).any() and not regions_apart(mask[:0].reshape(0, 16, 16), 1).any()
    )
    slide = made_up_slide("core", 4, 2)
    write_embeddings(replace(slide, mask=mask.reshape(4, 16, 16)[[1, 2, 2, 3]]), tmp_path / "core.h5")
    atlas = CohortAtlas(tmp_path, min_region_tissue=0.5).run()
    assert atlas.apart.without == ["core"] and atlas.apart.n_regions == 1 and len(atlas.kinds) == 1
    assert "1 of 1 slides, such as core" in caplog.text


def test_prototypes_of_the_others_are_found_anew():
    """One for three regions, at most as many as the slide has, from those that take part alone; a slide that loses none
    stays as it is."""
    slide = made_up_slide("a", 14, 4)
    assert without_apart(slide, np.zeros(14, bool)) is slide
    for n_apart, wanted in ((1, 4), (4, 3), (12, 1), (13, 1)):
        found = without_apart(slide, np.arange(14) < n_apart)
        assert found.n_prototypes == wanted
        assert (found.assignment[:n_apart] == -1).all() and (found.assignment[n_apart:] >= 0).all()
        of_first = slide.projection[np.flatnonzero(found.assignment == 0)].mean(0)
        assert found.prototypes[0] @ unit(of_first) == pytest.approx(1, abs=1e-5)


def test_typical_regions_are_full_of_tissue(tmp_path):
    """Those three quarters full come before those half full, these before emptier ones, however near they are; at most
    so many of a slide."""
    shares = np.array([0.3, 0.6, 0.9, 0.95])
    for name in "ab":
        slide = made_up_slide(name, 4, 1)
        nearest_first = unit(slide.prototypes[0] + np.linspace(0.01, 0.04, 4)[:, None] * np.eye(32)[:4])
        mask = (np.arange(256) < 256 * shares[:, None]).reshape(4, 16, 16)
        write_embeddings(replace(slide, projection=nearest_first, mask=mask), tmp_path / f"{name}.h5")
    for n_per_slide, expected in ((1, [2]), (2, [2, 3]), (3, [1, 2, 3]), (4, [0, 1, 2, 3])):
        (kind,) = CohortAtlas(tmp_path, n_kinds=1, n_examples_per_slide=n_per_slide).run().kinds
        shown = [next(i for i in range(4) if tuple(slide.coords[i]) == place[1:3]) for place in kind.regions]
        assert sorted(shown) == sorted(2 * expected)


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
    write_embeddings(without_prototypes(made_up_slide("bare", 5, 1, seed=9)), tmp_path / "bare.h5")
    write_embeddings(made_up_slide("one", 1, 1, seed=10), tmp_path / "one.h5")
    write_embeddings(made_up_slide("other", encoder="x sha256:1"), tmp_path / "other.h5")
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
    write_embeddings(without_prototypes(made_up_slide("bare", 2, 1)), tmp_path / "b" / "bare.h5")
    with pytest.raises(BundleError, match="has prototypes"):
        CohortAtlas(tmp_path / "b").run()
    with pytest.raises(BundleError, match="no embeddings"):
        (tmp_path / "c").mkdir()
        CohortAtlas(tmp_path / "c").run()


def test_letters_go_on_after_z():
    """As columns of a spreadsheet are called."""
    assert [letters(n) for n in (0, 25, 26, 27, 51, 52, 701, 702)] == ["A", "Z", "AA", "AB", "AZ", "BA", "ZZ", "AAA"]
