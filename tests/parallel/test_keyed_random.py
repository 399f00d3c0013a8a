"""Keyed random numbers."""

import pytest
import reference
import torch

from bundle.parallel import keyed_uniform, keyed_uniforms


def test_numbers_equal_the_integer_restatement():
    """Each number is the splitmix64 finalizer of its key, to the bit, for large and negative keys too."""
    ids = torch.tensor([0, 1, 12345678901, -3])
    for seed, epoch, stream in ((0, 0, 0), (7, 99, 3), (-1, 2, 1 << 40)):
        drawn = keyed_uniform(seed, epoch, ids, stream, 4)
        expected = [
            [reference.splitmix_uniform(seed, epoch, i, stream, position) for position in range(4)]
            for i in ids.tolist()
        ]
        assert drawn.dtype == torch.float32
        assert drawn.tolist() == expected


def test_numbers_of_an_id_do_not_depend_on_the_batch_or_on_n():
    """A region's numbers are the same alone, in any order of the batch, and when more are drawn."""
    ids = torch.tensor([5, 9, 2])
    together = keyed_uniform(1, 2, ids, 3, 6)
    assert torch.equal(together.flip(0), keyed_uniform(1, 2, ids.flip(0), 3, 6))
    assert torch.equal(together[1:2, :4], keyed_uniform(1, 2, ids[1:2], 3, 4))


def test_streams_drawn_at_once_are_those_drawn_alone():
    """Row i is stream + i, for seeds, epochs and streams of any sign and size."""
    ids = torch.tensor([3, 1 << 40, -5])
    for seed, epoch, stream in ((0, 0, 0), (-4, 12, 1 << 20), (5, -1, -2)):
        together = keyed_uniforms(seed, epoch, ids, stream, 4, 3)
        for i in range(4):
            assert torch.equal(together[i], keyed_uniform(seed, epoch, ids, stream + i, 3))


@pytest.mark.parametrize("other", [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_every_part_of_the_key_matters(other):
    """Another seed, epoch or stream gives numbers that are not correlated with the first."""
    ids = torch.arange(20000)
    first, second = (keyed_uniform(s, e, ids, v, 1)[:, 0] for s, e, v in ((0, 0, 0), other))
    assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 0.03


def test_numbers_are_uniform():
    """Mean, variance, range and the serial correlation are those of independent uniforms in [0, 1)."""
    drawn = keyed_uniform(0, 0, torch.arange(50000), 0, 2)
    assert 0 <= float(drawn.min()) and float(drawn.max()) < 1
    assert abs(float(drawn.mean()) - 0.5) < 0.005 and abs(float(drawn.var()) - 1 / 12) < 0.001
    assert abs(float(torch.corrcoef(drawn.T)[0, 1])) < 0.02
    assert abs(float(torch.corrcoef(torch.stack([drawn[1:, 0], drawn[:-1, 0]]))[0, 1])) < 0.02


def test_bad_arguments_are_refused():
    """Fractional ids and negative counts raise; no ids and no numbers are fine."""
    with pytest.raises(ValueError, match="integers"):
        keyed_uniform(0, 0, torch.zeros(3), 0, 1)
    with pytest.raises(ValueError, match="at least 0"):
        keyed_uniform(0, 0, torch.arange(3), 0, -1)
    assert keyed_uniform(0, 0, torch.arange(0), 0, 2).shape == (0, 2)
    assert keyed_uniform(0, 0, torch.arange(3), 0, 0).shape == (3, 0)
