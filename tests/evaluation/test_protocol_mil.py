"""Attention MIL over bags of any size."""

import numpy as np
import pytest
import torch

from bundle.evaluation import AttentionMIL, LinearProbe
from bundle.evaluation.protocols.inputs import Bags, Vectors
from bundle.evaluation.protocols.mil import GatedAttention


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
