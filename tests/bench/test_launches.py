"""How many kernels a training step launches, so that the number does not grow unseen."""

import pytest
import torch

from scripts.bench.launches import LaunchCounter, by_part, count_step

# What a step launched when this was written, and some room for another torch.
_MOST = {True: 715, False: 640}


@pytest.mark.parametrize("amp", [True, False])
def test_a_step_launches_no_more_than_it_did(amp):
    """``python -m scripts.bench.launches`` says where they are; whoever saves some lowers the bound."""
    counts = count_step(amp, places=False)
    assert _MOST[amp] - 30 < counts.total() <= _MOST[amp]
    assert sum(by_part(counts).values()) == counts.total()


def test_what_counts_as_a_launch():
    """An operation is one; a view, an allocation and a conversion to the dtype that is there are none."""
    x = torch.ones(4, 3)
    for call, n in (
        (lambda: x + 1, 1),
        (lambda: (x.T.reshape(12)[1:] * 2).sum(), 3),  # reshape copies
        (lambda: x.view(12).split(4)[0].float().detach(), 0),
        (lambda: torch.empty_like(x), 0),
    ):
        with LaunchCounter() as counter:
            call()
        assert counter.counts.total() == n


@pytest.mark.parametrize(("n_tensors", "size", "n"), [(5, 3, 1), (64, 3, 1), (65, 3, 2), (2, 200 << 16, 2), (1, 1, 1)])
def test_many_tensors_share_a_launch(n_tensors, size, n):
    """As torch does it: 64 pairs a launch, and 320 blocks of 65,536 elements."""
    ours, theirs = ([torch.empty(size, device="meta") for _ in range(n_tensors)] for _ in range(2))
    with LaunchCounter() as counter:
        torch._foreach_add_(ours, theirs)
    assert counter.counts.total() == n


def test_lists_of_other_shapes_take_a_launch_each():
    """A factor for each tensor is no list of the same shapes: clipping gradients with it once took 85 launches."""
    tensors, factors = [torch.ones(3) for _ in range(7)], [torch.tensor(2.0) for _ in range(7)]
    with LaunchCounter() as counter:
        torch._foreach_mul_(tensors, factors)
    assert counter.counts.total() == 7
