"""Attention MIL over bags of any size, in memory and on disk."""

import tracemalloc

import numpy as np
import pytest
import torch
from made_tokens import MadeTokens

from bundle.evaluation import AttentionMIL, LinearProbe
from bundle.evaluation.protocols import mil_training
from bundle.evaluation.protocols.inputs import Bags, TokenBags, Vectors
from bundle.heads import GatedAttention


def needles(n, dim=8, seed=0):
    """Bags of 1 to 12 regions of noise; in bags of class 1 one region points somewhere, in class 0 the other way."""
    rng = np.random.default_rng(seed)
    sizes, targets = rng.integers(1, 13, n), rng.permutation(np.arange(n) % 2)
    values = rng.normal(size=(sizes.sum(), dim)).astype(np.float32)
    needle = np.cumsum(sizes) - sizes + rng.integers(0, sizes)
    values[needle, 0] = 4 * (2 * targets - 1)
    values[needle, 1] = 4
    return Bags(values, sizes), targets


def test_the_flat_network_equals_a_loop_over_bags():
    """Logits and attention of each bag are those of the paper's equation 9, written for one bag."""
    bags, _ = needles(5)
    network = GatedAttention(8, 3).eval()
    with torch.no_grad():
        logits, attention = network(torch.from_numpy(bags.values), torch.from_numpy(bags.owner), len(bags))
        for i in range(len(bags)):
            hidden = network.embed(torch.from_numpy(bags.values[bags.owner == i]))
            gated = network.content(hidden).tanh() * network.gate(hidden).sigmoid()
            weight = (gated @ network.score.weight[0] + network.score.bias).softmax(0)
            torch.testing.assert_close(attention[bags.owner == i], weight)
            torch.testing.assert_close(logits[i], network.classify(weight @ hidden))


def test_it_finds_the_one_region_that_tells():
    """The class is in one region of each bag: test accuracy above 0.9, and above that of the mean vector."""
    bags, targets = needles(160)
    train, test = np.arange(120), np.arange(120, 160)
    scores = AttentionMIL()(bags.take(train), targets[train], bags.take(test), 2, 0)
    accuracy = (scores.argmax(1) == targets[test]).mean()
    means = Vectors(np.stack([bags.values[bags.owner == i].mean(0) for i in range(160)]))
    linear = LinearProbe()(means.take(train), targets[train], means.take(test), 2, 0)
    assert accuracy > max(0.9, (linear.argmax(1) == targets[test]).mean())
    np.testing.assert_allclose(scores.sum(1), 1)


def test_the_seed_decides_and_nothing_else():
    """Same seed, same scores, whatever was drawn before; another seed, others; the caller's numbers go on."""
    bags, targets = needles(20)
    mil = AttentionMIL(n_epochs=2)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = mil(bags, targets, bags, 2, 1)
    torch.testing.assert_close(torch.rand(3), expected)
    np.testing.assert_array_equal(first, mil(bags, targets, bags, 2, 1))
    assert not np.allclose(first, mil(bags, targets, bags, 2, 2))


@pytest.mark.parametrize("n", [1, 300])
def test_any_number_of_patients_is_predicted(n):
    """Predictions in several batches equal those one by one."""
    bags, targets = needles(n + 10)
    mil, test = AttentionMIL(n_epochs=1), np.arange(10, n + 10)
    scores = mil(bags.take(np.arange(10)), targets[:10], bags.take(test), 2, 0)
    assert scores.shape == (n, 2)
    alone = mil(bags.take(np.arange(10)), targets[:10], bags.take(test[-1:]), 2, 0)
    np.testing.assert_allclose(scores[-1:], alone, atol=1e-5)


@pytest.mark.parametrize("factor", [1.0, 300.0])
def test_chunks_of_a_bag_equal_the_whole_bag(factor):
    """Logits to 1e-6 in chunks of any size, with scores so far apart that their exponentials would overflow, too."""
    bags, _ = needles(6)
    network = GatedAttention(8, 3).eval()
    with torch.no_grad():
        network.score.weight *= factor
        whole, _ = network(torch.from_numpy(bags.values), torch.from_numpy(bags.owner), len(bags))
        for i in range(len(bags)):
            bag = torch.from_numpy(bags.values[bags.owner == i])
            for size in (1, 3, 100):
                torch.testing.assert_close(network.of_chunks(bag.split(size)), whole[i], atol=1e-6, rtol=0)
        nothing = network(torch.zeros(0, 8), torch.zeros(0, dtype=torch.int64), 1)[0][0]
        torch.testing.assert_close(network.of_chunks([]), nothing)


def tokens(n_regions, n=24, **options):
    """Patients of as many regions each, in each patient of class 1 the first region is somewhere else."""
    targets = np.arange(n) % 2
    shift = np.zeros((n * n_regions, 8))
    shift[::n_regions, 0] = 6 * targets
    return TokenBags(
        MadeTokens(n * n_regions, shift=shift, **options), list(np.arange(n * n_regions).reshape(n, -1))
    ), targets


def held(bags):
    """The same in memory."""
    parts = [np.concatenate(list(bags.chunks(row, 100))) for row in range(len(bags))]
    return Bags(np.concatenate(parts), np.array([len(part) for part in parts]))


def test_tokens_on_disk_give_what_they_give_in_memory(monkeypatch):
    """Where no bag is larger than a step may take: the same scores to 1e-6, in chunks of any size."""
    bags, targets = tokens(3, largest=20)
    train, test = np.arange(16), np.arange(16, 24)
    expected = AttentionMIL(n_epochs=4)(held(bags.take(train)), targets[train], held(bags.take(test)), 2, 0)
    for chunk in (16, 8192):
        monkeypatch.setattr(mil_training, "_CHUNK", chunk)
        scores = AttentionMIL(n_epochs=4)(bags.take(train), targets[train], bags.take(test), 2, 0)
        np.testing.assert_allclose(scores, expected, atol=1e-6)


def test_drawn_tokens_are_enough_to_learn_from():
    """A third of the tokens of a patient in a step: the class is found in patients that were not trained on."""
    bags, targets = tokens(6, n=60, largest=20)
    train, test = np.arange(40), np.arange(40, 60)
    scores = AttentionMIL(max_patches=30)(bags.take(train), targets[train], bags.take(test), 2, 0)
    assert (scores.argmax(1) == targets[test]).mean() > 0.9
    short = AttentionMIL(n_epochs=1, max_patches=30)
    first, again, other = (short(bags, targets, bags, 2, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_what_is_held_does_not_grow_with_the_patches(monkeypatch):
    """24 slides with eight times the patches: as many tokens at a time, and as much memory, as with the fewer."""
    monkeypatch.setattr(mil_training, "_CHUNK", 128)
    peaks, most_held = [], []
    for n_regions in (4, 32):
        bags, targets = tokens(n_regions, counts=np.full(24 * n_regions, 64))
        mil = AttentionMIL(n_epochs=2, max_patches=100, batch_size=4)
        mil(bags, targets, bags, 2, 0)  # what is made once, such as imports, is not counted
        bags.source.most_held = 0
        tracemalloc.start()
        mil(bags, targets, bags, 2, 0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        most_held.append(bags.source.most_held)
    assert most_held[0] == most_held[1] < 24 * 4 * 64 / 8
    assert peaks[1] < 1.25 * peaks[0], peaks


def test_patients_without_tokens_are_predicted():
    """No patch of a patient holds tissue, in training or test: as likely as the bias has it, and nothing breaks."""
    bags, targets = tokens(2, counts=np.where(np.arange(48) // 2 % 5 == 0, 0, 7))
    scores = AttentionMIL(n_epochs=1, batch_size=1)(bags, targets, bags, 2, 0)
    assert np.isfinite(scores).all()
    np.testing.assert_array_equal(scores[[0, 5, 10]], scores[[0, 0, 0]])
