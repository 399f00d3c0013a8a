"""Answers: explained by what was found, limited by filters; and worth something."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import binom
from search_cohorts import brute_force
from slide_embeddings import made_up_slide, unit, without_prototypes

from bundle.cohort import SlideTable
from bundle.core import BundleError, SettingError
from bundle.demo import planted_tokens
from bundle.explore import Indexer, Query, Searcher, SearchIndex, Where
from bundle.explore.search.catalog import Entry
from bundle.explore.search.part import SlidePart
from bundle.prototypes import batched_kmeans
from bundle.storage import SlideEmbeddings, write_embeddings

pytest.importorskip("faiss")


def small_cohort(folder, n_slides=6, **options):
    """Embedding files, a table with site and patient (two slides each), and an index of them."""
    slides = [made_up_slide(f"s{number}", seed=number, **options) for number in range(n_slides)]
    for slide in slides:
        write_embeddings(slide, folder / "embeddings" / f"{slide.slide_id}.h5")
    lines = [f"s{number},{'AB'[number % 2]},p{number // 2},{number}" for number in range(n_slides)]
    (folder / "table.csv").write_text("\n".join(["slide,site,patient,grade", *lines]))
    table = SlideTable.read(folder / "table.csv")
    Indexer(folder / "embeddings", folder / "index", table).run()
    return slides, table


def test_pairs_explain_the_similarity(tmp_path):
    """The mean cosine of a neighbor's pairs is its similarity; pairs are one-to-one; regions are typical ones."""
    slides, _ = small_cohort(tmp_path)
    answer = Searcher(tmp_path / "index", k=5).run(tmp_path / "embeddings" / "s0.h5")[0]
    assert answer.n_compared == 4  # neither itself nor its patient's other slide
    by_name = {slide.slide_id: slide for slide in slides}
    for neighbor in answer.neighbors:
        other = by_name[neighbor.slide_id]
        assert np.mean([pair.cosine for pair in neighbor.pairs]) == pytest.approx(neighbor.similarity, abs=1e-6)
        assert neighbor.similarity == pytest.approx(brute_force(slides[0], [other])[0], abs=1e-6)
        assert sorted(pair.query for pair in neighbor.pairs) == [0, 1, 2]
        assert sorted(pair.neighbor for pair in neighbor.pairs) == [0, 1, 2]
        shares = [pair.query_share + pair.neighbor_share for pair in neighbor.pairs]
        assert shares == sorted(shares, reverse=True)
        for pair in neighbor.pairs:
            for place in pair.neighbor_regions:
                region = int(np.flatnonzero((other.coords == (place.x, place.y)).all(1))[0])
                assert other.assignment[region] == pair.neighbor and place.size == other.region_size_level0
                assert place.similarity == pytest.approx(other.similarity[region, pair.neighbor])
    pairs = [brute_force(slides[i], [slides[j]])[0] for i in range(6) for j in range(6) if i // 2 != j // 2]
    assert (answer.scale[0], answer.scale[-1]) == pytest.approx((min(pairs), max(pairs)), abs=1e-6)
    assert answer.scale[50] == pytest.approx(np.median(pairs), abs=0.02) and answer.percent_below(1.0) == 100


def test_regions_like_this_one(tmp_path):
    """A region of the query finds the regions of largest cosine in other patients' slides, by number or by position."""
    slides, _ = small_cohort(tmp_path)
    others = [s for s in slides if s.slide_id not in ("s2", "s3")]
    features = unit(np.concatenate([s.features for s in others]))
    places = [(s.slide_id, *coords) for s in others for coords in s.coords.tolist()]
    corner = slides[2].coords[5]
    for region in (5, "5", f"{corner[0] + 9},{corner[1] + 30}"):
        answer = Searcher(tmp_path / "index", "regions", k=4, region=region).run("s2")[0]
        (group,) = answer.regions
        cosines = features @ unit(slides[2].features)[5]
        assert (group.query.x, group.query.y) == tuple(corner)
        assert [place[:3] for place in group.found] == [places[i] for i in np.argsort(-cosines)[:4]]
        np.testing.assert_allclose([p.similarity for p in group.found], np.sort(cosines)[::-1][:4], atol=2e-3)
    typical = Searcher(tmp_path / "index", "regions", k=1).run("s2")[0]
    assert len(typical.regions) == 3 and set(typical.found_values) >= {g.found[0].slide_id for g in typical.regions}
    for wrong in ("12", "-1", "x", "1,2,3", "-5,0"):
        with pytest.raises(SettingError, match="no such region"):
            Searcher(tmp_path / "index", "regions", region=wrong).run("s2")


@pytest.mark.parametrize("by", ["sets", "embedding"])
def test_regions_are_read_for_regions_only(tmp_path, by):
    """A search by slides opens no file of regions, which are most of a large index; not for a query by id either."""
    small_cohort(tmp_path)
    for path in (tmp_path / "index").glob("*.regions.safetensors"):
        path.write_bytes(b"would fail if it were read")
    for query in ("s2", tmp_path / "embeddings" / "s2.h5"):
        assert Searcher(tmp_path / "index", by, k=2).run(query)[0].neighbors
    with pytest.raises(BundleError, match="damaged"):
        Searcher(tmp_path / "index", "regions").run("s2")


def test_filters_limit_what_is_found(tmp_path):
    """Conditions on the table, the query's own patient, and both together; what leaves nothing is an error."""
    _, table = small_cohort(tmp_path)

    def found(query="s0", **options):
        return sorted(n.slide_id for n in Searcher(tmp_path / "index", k=9, **options).run(query)[0].neighbors)

    assert found() == ["s2", "s3", "s4", "s5"]
    assert found(same_patient="true") == ["s1", "s2", "s3", "s4", "s5"]
    assert found(where="site=A") == ["s2", "s4"]
    assert found(where={"site": "A", "grade": 4}) == ["s4"]
    assert found(where="site!=A, grade!=3") == ["s5"]
    assert found(where="grade=2|5") == ["s2", "s5"]
    assert found(by="embedding", where="site=B", same_patient=True) == ["s1", "s3", "s5"]
    write_embeddings(made_up_slide("new", seed=9), tmp_path / "new.h5")
    assert len(found(tmp_path / "new.h5")) == 6
    (tmp_path / "more.csv").write_text("slide,patient\nnew,p1\n")
    assert found(tmp_path / "new.h5", table=SlideTable.read(tmp_path / "more.csv")) == ["s0", "s1", "s4", "s5"]
    with pytest.raises(BundleError, match="leave none"):
        found(where="grade=0")
    with pytest.raises(BundleError, match="known: grade, patient, site, slide"):
        found(where="stage=2")
    for wrong in ("site", "=A", "site=", "site!="):
        with pytest.raises(SettingError, match="no condition"):
            Where(wrong)


def test_a_slide_without_prototypes_is_found_by_embedding_only(tmp_path):
    """It is no neighbor by sets, it cannot ask by sets, and by embedding it is as good as any."""
    small_cohort(tmp_path)
    write_embeddings(without_prototypes(made_up_slide("bare", 1, 1, seed=77)), tmp_path / "embeddings" / "bare.h5")
    Indexer(tmp_path / "embeddings", tmp_path / "index").run()
    by_sets = Searcher(tmp_path / "index", k=99).run("s0")[0]
    assert "bare" not in {n.slide_id for n in by_sets.neighbors}
    by_embedding = Searcher(tmp_path / "index", "embedding", k=99).run("s0")[0]
    assert [n.pairs for n in by_embedding.neighbors if n.slide_id == "bare"] == [[]]
    with pytest.raises(BundleError, match="by embedding"):
        Searcher(tmp_path / "index").run("bare")
    assert len(Searcher(tmp_path / "index", "embedding", k=3).run("bare")[0].neighbors) == 3
    assert len(Searcher(tmp_path / "index", "regions").run(tmp_path / "embeddings" / "bare.h5")[0].regions) == 1


def test_slides_of_one_prototype_are_found_by_their_like(tmp_path):
    """Matched by one pair they would be everybody's neighbors; asked for, or for a query as small, they are found."""
    slides, _ = small_cohort(tmp_path)
    tiny = made_up_slide("tiny", 1, 1, seed=50)
    write_embeddings(replace(tiny, prototypes=slides[0].prototypes[:1].copy()), tmp_path / "embeddings" / "tiny.h5")
    Indexer(tmp_path / "embeddings", tmp_path / "index").run()
    assert "tiny" not in {n.slide_id for n in Searcher(tmp_path / "index", k=99).run("s0")[0].neighbors}
    found = Searcher(tmp_path / "index", k=99, min_prototypes=1).run("s0")[0]
    assert (found.neighbors[0].slide_id, found.neighbors[0].n_prototypes, found.n_prototypes) == ("tiny", 1, 3)
    assert found.neighbors[0].similarity == pytest.approx(1) and len(found.neighbors[0].pairs) == 1
    assert Searcher(tmp_path / "index").run("tiny")[0].n_compared == 6


def test_settings_and_queries_that_make_no_sense_are_named(tmp_path):
    """An unknown kind of search, no neighbor asked for, an unknown query, none at all, no index, no regions."""
    small_cohort(tmp_path)
    with pytest.raises(SettingError, match="sets, embedding, regions"):
        Searcher(tmp_path / "index", by="color")
    with pytest.raises(SettingError, match="k_neighbors"):
        Searcher(tmp_path / "index", k=0)
    with pytest.raises(BundleError, match="neither a file"):
        Searcher(tmp_path / "index").run("s99")
    with pytest.raises(BundleError, match="--query"):
        Searcher(tmp_path / "index").run(None)
    with pytest.raises(BundleError, match="no search index"):
        Searcher(tmp_path / "elsewhere").run("s0")
    Indexer(tmp_path / "embeddings", tmp_path / "no_regions", regions="false").run()
    with pytest.raises(BundleError, match="without regions"):
        Searcher(tmp_path / "no_regions", "regions").run(tmp_path / "embeddings" / "s0.h5")


def test_ids_and_places_may_look_like_numbers(tmp_path):
    """The command line makes numbers of words: a slide called 17, a region at (1, 2), a grade of 3."""
    for number in (17, 18, 19):
        write_embeddings(made_up_slide(str(number), seed=number), tmp_path / "embeddings" / f"{number}.h5")
    (tmp_path / "table.csv").write_text("slide,grade\n17,1\n18,2\n19,3\n")
    Indexer(tmp_path / "embeddings", tmp_path / "index", SlideTable.read(tmp_path / "table.csv")).run()
    answer = Searcher(tmp_path / "index", "regions", region=(1, 2), where={"grade": 3}).run(17)[0]
    assert answer.query == "17" and {place.slide_id for place in answer.regions[0].found} == {"19"}


def test_a_folder_of_queries_gives_an_answer_each_to_every_report(tmp_path):
    """Reports are called once, with all answers."""
    small_cohort(tmp_path)
    seen = []
    Searcher(tmp_path / "index", k=2, reports=[seen.append]).run(tmp_path / "embeddings")
    assert [answer.query for answer in seen[0]] == [f"s{i}" for i in range(6)] and len(seen) == 1


def planted_slides(n_prototypes, n_slides=80):
    """The planted cohort with a region embedded as mean, scatter and roughness of its tokens along the token types."""
    cohort = planted_tokens(n_slides, (12, 24), dim=32, seed=5)
    for planted in cohort.slides:
        tokens = planted.features.astype(np.float32) @ cohort.types.T
        weights = planted.mask[..., None] / planted.mask.sum((1, 2))[:, None, None, None]
        means = (tokens * weights).sum((1, 2))
        scatter = np.sqrt((np.square(tokens - means[:, None, None]) * weights).sum((1, 2)))
        roughness = np.abs(np.diff(tokens, axis=1)).mean((1, 2))
        features = np.concatenate([means, scatter, roughness], 1)
        projection = torch.from_numpy(unit(features))
        clusters = batched_kmeans(
            projection, torch.zeros(len(features), dtype=torch.long), torch.tensor([n_prototypes])
        )
        slide = SlideEmbeddings(
            planted.slide_id,
            features,
            projection.numpy(),
            planted.coords,
            planted.mask,
            features.mean(0),
            unit(clusters.centroids[0][clusters.valid[0]].numpy()),
            clusters.assignment.numpy(),
            attributes=made_up_slide().attributes,
        )
        yield planted.label, slide


@pytest.mark.parametrize("by, n_prototypes", [("sets", 2), ("sets", 3), ("embedding", 3)])
def test_neighbors_on_the_planted_cohort_share_the_class(tmp_path, by, n_prototypes):
    """The nearest slide of 80 is of the same class more often than a coin would say once in a million times.

    Chance is 39 of 79 (half the slides are of each class, and the slide itself does not count).
    """
    labels, slides = zip(*planted_slides(n_prototypes), strict=True)
    index = SearchIndex.open(tmp_path, regions=False)
    index.add(slides, [Entry(s.slide_id, s.slide_id, (0, 0), {}) for s in slides])
    searcher = Searcher(tmp_path, by, k=1)
    label_of = {slide.slide_id: label for slide, label in zip(slides, labels, strict=True)}
    found = [
        searcher.answer(Query(slide.slide_id, {}, SlidePart.of([slide], 1), None)).neighbors[0].slide_id
        for slide in slides
    ]
    n_right = sum(label_of[name] == label for name, label in zip(found, labels, strict=True))
    assert n_right > binom.isf(1e-6, len(slides), 39 / 79)
