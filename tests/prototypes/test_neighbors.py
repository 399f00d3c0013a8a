"""Most similar slides."""

import pytest
import reference
import torch

from bundle.prototypes import Neighbors, nearest_slides, neighbor_search
from bundle.prototypes.matching import best_assignment, similarity_by_permutations
from bundle.prototypes.neighbors import merged_neighbors


def _slides(n_slides, size, dim=6, share_valid=1.0):
    prototypes = torch.nn.functional.normalize(torch.randn(n_slides, size, dim, dtype=torch.float64), dim=-1)
    return prototypes, torch.rand(n_slides, size) < share_valid


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("share_valid", [1.0, 0.6])
@pytest.mark.parametrize("n_neighbors", [1, 3, 30])
@pytest.mark.parametrize("block", [4, 1024])
def test_search_equals_enumeration(monkeypatch, size, share_valid, n_neighbors, block):
    """Bounds and blocks lose nothing: the lists are those of all permutations, with missing prototypes and large R."""
    torch.manual_seed(size)
    monkeypatch.setitem(neighbor_search._BLOCK_ROWS, "cpu", block)
    prototypes, valid = _slides(14, size, share_valid=share_valid)
    found = nearest_slides(prototypes, valid, n_neighbors)
    for slide, truth in enumerate(reference.nearest_slides(prototypes, valid, n_neighbors)):
        rest = n_neighbors - len(truth)
        assert found.index[slide].tolist() == [other for _, other, _ in truth] + [-1] * rest
        assert found.partner[slide].tolist() == [partner for *_, partner in truth] + [[-1] * size] * rest
        got = found.similarity[slide].tolist()
        assert got == pytest.approx([similarity for similarity, *_ in truth] + [-torch.inf] * rest, abs=1e-10)


@pytest.mark.parametrize("n_dims", [1, 3])
@pytest.mark.parametrize("share_valid", [1.0, 0.6])
@pytest.mark.parametrize("n_neighbors", [1, 4])
def test_bounds_in_few_dimensions_lose_nothing(monkeypatch, n_dims, share_valid, n_neighbors):
    """Whatever share of the pairs a sketch leaves, the lists are those of the search with full vectors."""
    torch.manual_seed(n_dims)
    prototypes, valid = _slides(40, 3, dim=8, share_valid=share_valid)
    prototypes[:20, :, 2:] *= 0.01  # some lie in the subspace, some do not
    prototypes = torch.nn.functional.normalize(prototypes, dim=-1)
    truth = nearest_slides(prototypes, valid, n_neighbors)
    monkeypatch.setattr(neighbor_search, "_SKETCHED_SLIDES", 2)
    monkeypatch.setattr(neighbor_search, "_SKETCH_DIMS", (n_dims,))
    monkeypatch.setattr(neighbor_search, "_FEW", 1.0)
    members = valid.any(1)
    assert neighbor_search.NeighborSearch(prototypes[members], valid[members], n_neighbors).is_sketched
    found = nearest_slides(prototypes, valid, n_neighbors)
    assert torch.equal(found.index, truth.index) and torch.equal(found.partner, truth.partner)
    torch.testing.assert_close(found.similarity, truth.similarity)


def test_a_sketch_is_used_where_it_leaves_few_pairs(monkeypatch):
    """Prototypes in a plane are bounded in few dimensions, those in all directions are not."""
    monkeypatch.setattr(neighbor_search, "_SKETCHED_SLIDES", 100)
    prototypes, valid = _slides(300, 2, dim=64)
    flat = prototypes.clone()
    flat[..., 8:] *= 1e-3
    flat = torch.nn.functional.normalize(flat, dim=-1)
    assert [neighbor_search.NeighborSearch(each, valid, 1).is_sketched for each in (prototypes, flat)] == [False, True]


@pytest.mark.parametrize("of", [2, 3, 50])
@pytest.mark.parametrize("n_neighbors", [1, 5, 20])
def test_shares_put_together_are_the_whole(monkeypatch, of, n_neighbors):
    """The best neighbors of all shares are those of all pairs, also where shares are empty."""
    monkeypatch.setitem(neighbor_search._BLOCK_ROWS, "cpu", 6)
    prototypes, valid = _slides(17, 3, share_valid=0.8)
    valid[4] = False
    truth = nearest_slides(prototypes, valid, n_neighbors)
    shares = [nearest_slides(prototypes, valid, n_neighbors, share=(number, of)) for number in range(of)]
    found = merged_neighbors(Neighbors(*(torch.stack(each) for each in zip(*shares, strict=True))))
    assert torch.equal(found.index, truth.index) and torch.equal(found.partner, truth.partner)
    torch.testing.assert_close(found.similarity, truth.similarity)


@pytest.mark.parametrize("is_sketched", [False, True])
@pytest.mark.parametrize("share_valid", [1.0, 0.7])
@pytest.mark.parametrize("precision", ["highest", "medium"])
def test_rounding_hides_no_neighbor(monkeypatch, is_sketched, share_valid, precision):
    """In single precision, among slides that differ by little more than rounding, and with low precision allowed
    elsewhere: what is found is as similar as what comparing every pair in double precision finds."""
    torch.manual_seed(0)
    monkeypatch.setitem(neighbor_search._BLOCK_ROWS, "cpu", 64)
    monkeypatch.setattr(neighbor_search, "_SKETCHED_SLIDES", 2 if is_sketched else 10_000)
    monkeypatch.setattr(neighbor_search, "_SKETCH_DIMS", (7,))
    monkeypatch.setattr(neighbor_search, "_FEW", 1.0)
    kinds, _ = _slides(5, 3, dim=32)
    prototypes = kinds[torch.arange(200) % 5] + 3e-4 * torch.randn(200, 3, 32, dtype=torch.float64)
    prototypes = torch.nn.functional.normalize(prototypes, dim=-1)
    valid = torch.rand(200, 3) < share_valid
    truth = nearest_slides(prototypes, valid, 3)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        found = nearest_slides(prototypes.float(), valid, 3)
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision(before)
    torch.testing.assert_close(found.similarity.double(), truth.similarity, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("n_neighbors", [1, 4, 40])
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_few_prototypes_are_matched_in_closed_form(monkeypatch, size, n_neighbors, precision):
    """All is equal to the bit to what bounds and assignments find, ties between equal slides, too; bounds of blocks are
    the similarities themselves."""
    torch.manual_seed(size)
    monkeypatch.setitem(neighbor_search._BLOCK_ROWS, "cpu", 16 * size)
    prototypes, valid = _slides(50, size)
    prototypes = prototypes[torch.arange(60) % 50].to(precision)  # some twice
    valid, found, is_exact = torch.ones(60, size, dtype=torch.bool), [], []
    for few in (0, 3):
        monkeypatch.setattr(neighbor_search, "_FEW_PROTOTYPES", few)
        found.append(nearest_slides(prototypes, valid, n_neighbors))
        is_exact.append(neighbor_search.NeighborSearch(prototypes, valid, n_neighbors).is_exact)
    assert all(torch.equal(*each) for each in zip(*found, strict=True)) and is_exact == [False, True]


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_the_best_of_all_bijections_is_the_best_assignment(size):
    """To the bit, wherever the members lie, and what it is given stays as it is."""
    cosines = torch.rand(7, size, 5, size) * 2 - 1
    before = cosines.clone()
    found = similarity_by_permutations(cosines, (1, 3))
    pairs = cosines.permute(0, 2, 1, 3).reshape(-1, size, size)
    assert torch.equal(found.flatten(), best_assignment(pairs)[0] / size) and torch.equal(cosines, before)


def test_slides_that_are_all_equal_find_each_other():
    """More of them than a block holds, in single precision."""
    prototypes = torch.nn.functional.normalize(torch.randn(1, 2, 16), dim=-1).expand(700, -1, -1)
    found = nearest_slides(prototypes, torch.ones(700, 2, dtype=torch.bool), 2)
    torch.testing.assert_close(found.similarity, torch.ones(700, 2), rtol=0, atol=1e-5)
    assert bool((found.index != torch.arange(700)[:, None]).all()) and bool((found.index >= 0).all())


@pytest.mark.parametrize("sampled", [3, 7, 1000])
def test_first_similarities_are_reached(monkeypatch, sampled):
    """Whatever sample they are taken from, R other slides are as similar as the first threshold says."""
    monkeypatch.setitem(neighbor_search._BLOCK_ROWS, "cpu", 12)
    monkeypatch.setattr(neighbor_search, "_SAMPLED", sampled)
    monkeypatch.setattr(neighbor_search, "_FEW_PROTOTYPES", 0)
    prototypes, valid = _slides(37, 3)
    truth = nearest_slides(prototypes, valid, 2)
    assert bool(
        (neighbor_search.NeighborSearch(prototypes, valid, 2).threshold <= truth.similarity[:, 1] + 1e-12).all()
    )


def test_shares_are_about_equal():
    """Every row is in one share, and no share compares many more blocks than another."""
    search = neighbor_search.NeighborSearch(*_slides(300, 2), 1)
    search.block = 10
    shares = [[rows.start // 10 for rows in search.rows(number, 4)] for number in range(4)]
    assert sorted(sum(shares, [])) == list(range(30))
    sizes = [sum(30 - row for row in rows) for rows in shares]
    assert max(sizes) - min(sizes) <= 6


def test_progress_sees_every_step(monkeypatch):
    """The sequence of steps goes through ``progress``."""
    monkeypatch.setitem(neighbor_search._BLOCK_ROWS, "cpu", 4)
    steps = []
    nearest_slides(*_slides(6, 2), 1, progress=lambda rows: steps.extend(rows) or rows)
    assert len(steps) == 3


@pytest.mark.parametrize("n_slides", [0, 1])
def test_a_lonely_slide_has_no_neighbor(n_slides):
    """No slide and one slide give -1 everywhere."""
    found = nearest_slides(*_slides(n_slides, 2), 2)
    assert found.index.tolist() == [[-1, -1]] * n_slides
    assert found.partner.shape == (n_slides, 2, 2) and bool((found.partner == -1).all())


@pytest.mark.parametrize("size", [3, 4])
def test_equal_slides_come_in_order(size):
    """Among equally similar slides the lower index is first, and no slide is its own neighbor."""
    prototypes, valid = _slides(1, size)
    found = nearest_slides(prototypes.expand(5, -1, -1), valid.expand(5, -1), 2)
    assert found.index.tolist() == [[1, 2], [0, 2], [0, 1], [0, 1], [0, 1]]


def test_a_similarity_of_zero_is_a_similarity():
    """Orthogonal slides are neighbors with similarity 0; 0 used to stand for "no prototypes"."""
    found = nearest_slides(torch.eye(2).view(2, 1, 2), torch.ones(2, 1, dtype=torch.bool), 1)
    assert found.index.tolist() == [[1], [0]] and found.similarity.tolist() == [[0.0], [0.0]]


def test_nearest_lets_two_prototypes_share_a_partner():
    """match="nearest" gives each prototype its most similar one, while the neighbors stay those of the assignment."""
    a = torch.tensor([[1.0, 0.0], [0.9, 0.436]])
    b = torch.tensor([[1.0, 0.1], [-1.0, 0.2]])
    prototypes = torch.nn.functional.normalize(torch.stack([a, b]), dim=-1)
    valid = torch.ones(2, 2, dtype=torch.bool)
    paper, shared = (nearest_slides(prototypes, valid, 1, match=match) for match in ("assignment", "nearest"))
    assert sorted(paper.partner[0, 0].tolist()) == [0, 1]
    assert shared.partner[0, 0].tolist() == [0, 0]
    assert torch.equal(paper.similarity, shared.similarity)


def test_unknown_options_are_refused():
    """A misspelled match and a negative R raise."""
    with pytest.raises(ValueError, match="assignment"):
        nearest_slides(*_slides(2, 2), 1, match="greedy")
    with pytest.raises(ValueError, match="at least 0"):
        nearest_slides(*_slides(2, 2), -1)
    with pytest.raises(ValueError, match="number < of"):
        nearest_slides(*_slides(2, 2), 1, share=(2, 2))
