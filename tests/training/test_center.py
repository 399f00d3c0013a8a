"""Centers."""

import pytest
import reference
import torch

from bundle.prototypes import PrototypeTargets
from bundle.training import Center, SLPDLoss


def _case():
    torch.manual_seed(0)
    teacher, weight = torch.randn(2, 5, 4, dtype=torch.float64), torch.randn(30, 4, dtype=torch.float64)
    vectors = torch.randn(3, 5, 4, dtype=torch.float64)
    return teacher, weight, PrototypeTargets(vectors, torch.rand(3, 5) < 0.5)


@pytest.mark.parametrize("update_per_loss", [False, True])
def test_centers_follow_the_mean_logits(update_per_loss):
    """From zero, two updates equal the EMA of the mean logits; prototypes count where valid, together or in turn."""
    teacher, weight, prototypes = _case()
    loss = SLPDLoss(30, center_update_per_loss=update_per_loss).double()
    own = shared = torch.zeros(30, dtype=torch.float64)
    assert torch.equal(loss.dino.center.value, own) and torch.equal(loss.prototype.center.value, shared)
    groups = ([0], [1, 2]) if update_per_loss else ([0, 1, 2],)
    for _ in range(2):
        loss.update_centers(teacher, weight, prototypes)
        own = reference.updated_center(own, list(teacher.flatten(0, 1)), weight)
        for rows in groups:
            shared = reference.updated_center(shared, reference.chosen(prototypes, rows), weight)
    torch.testing.assert_close(loss.dino.center.value, own)
    torch.testing.assert_close(loss.prototype.center.value, shared)


def test_the_prototype_center_may_start_where_the_views_center_is():
    """Until there are prototypes it is the views'; then it moves by prototypes alone. Otherwise it stays at zero."""
    teacher, weight, prototypes = _case()
    loss = SLPDLoss(30, prototype_center_start="views").double()
    own = torch.zeros(30, dtype=torch.float64)
    for _ in range(2):
        loss.update_centers(teacher, weight, None)
        own = reference.updated_center(own, list(teacher.flatten(0, 1)), weight)
        torch.testing.assert_close(loss.prototype.center.value, own)
    loss.update_centers(teacher, weight, prototypes)
    shared = reference.updated_center(own, reference.chosen(prototypes, [0, 1, 2]), weight)
    torch.testing.assert_close(loss.prototype.center.value, shared)
    loss = SLPDLoss(30).double()
    loss.update_centers(teacher, weight, None)
    assert not loss.prototype.center.value.any()
    with pytest.raises(ValueError, match="prototype_center_start"):
        SLPDLoss(30, prototype_center_start="own")


def test_no_valid_prototype_moves_nothing():
    """Without valid prototypes, or without any, the prototype center stays; NaN in their place does no harm."""
    teacher, weight, prototypes = _case()
    loss = SLPDLoss(30).double()
    loss.update_centers(teacher, weight, prototypes)
    before = loss.prototype.center.value.clone()
    for nothing in (None, PrototypeTargets(prototypes.vectors * torch.nan, torch.zeros_like(prototypes.valid))):
        loss.update_centers(teacher, weight, nothing)
        assert torch.equal(loss.prototype.center.value, before)


def test_forward_leaves_the_centers_alone_and_the_state_holds_both():
    """forward has no side effect, and both centers are in the state dict (one used to be lost on resuming)."""
    teacher, weight, prototypes = _case()
    loss = SLPDLoss(30, center_update_per_loss=True).double()
    loss.update_centers(teacher, weight, prototypes)
    before = {name: value.clone() for name, value in loss.state_dict().items()}
    assert set(before) == {"dino.center.value", "prototype.center.value"}
    loss(teacher, weight, teacher, weight, 0.04, prototypes)
    assert all(torch.equal(value, before[name]) for name, value in loss.state_dict().items())


def test_momentum_out_of_range_is_refused():
    """A momentum of 1 would never move the center."""
    with pytest.raises(ValueError, match="momentum"):
        Center(3, 1.0)
