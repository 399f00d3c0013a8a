"""Hidden tokens as a second task, against slow restatements, and a whole run of it."""

import shutil

import pytest
import reference
import torch
from cohorts import write_cohort
from reference_network import view_bottlenecks
from tiny_training import differences, tiny_run

from bundle.core import read_history, user_error
from bundle.networks import (
    Distiller,
    Encoder,
    LastLayer,
    ProjectionHead,
    RegionViT,
    frozen_copy,
    load_region_encoder,
    make_student,
    read_weights,
    select_backbone,
)
from bundle.training import MaskedTokens, SLPDLoss
from bundle.training.slpd_trainer import _Hidden

STUDENT, TEACHER, N_OUTPUTS = 0.1, 0.04, 20


@pytest.fixture
def _doubles(monkeypatch):
    """Heads give `.float()`, to be no less than that; here they are more."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


def _networks(n_registers=2):
    """Student and a teacher that differs, in float64; nothing is 0."""
    torch.manual_seed(0)
    backbone = RegionViT(5, dim=8, depth=2, n_heads=2, mlp_ratio=2, n_positions=4, n_registers=n_registers)
    student = Distiller(Encoder(backbone, ProjectionHead(8, 10, 6), True), LastLayer(6, N_OUTPUTS), True).double()
    teacher = frozen_copy(student)
    with torch.no_grad():
        for parameter in [*student.parameters(), *teacher.parameters()]:
            parameter.add_(torch.randn_like(parameter), alpha=0.4)
    return student, teacher


def _views():
    """Two global crops and a local one of 2 regions with gaps; one view has no hidden token, one a single one."""
    views = [torch.randn(n, 2, 5, side, side, dtype=torch.float64) for n, side in ((2, 4), (1, 2))]
    masks = [torch.rand(len(group), 2, *group.shape[3:]) < 0.6 for group in views]
    hidden = masks[0] & (torch.rand(masks[0].shape) < 0.5)
    masks[0][1, 0, 0, 0] = True
    hidden[0, 1], hidden[1, 0] = False, False
    hidden[1, 0, 0, 0] = True
    return views, masks, hidden


def _step(loss, student, teacher, views, masks, hidden, draws):
    """As the trainer takes it."""
    asked = _Hidden.of(hidden, torch.device("cpu"))
    with torch.no_grad():
        seen, teacher_weight, wanted = teacher(views[:1], masks[:1], None, asked.shown)
    own, weight, guessed = student(views, masks, draws, asked.choice)
    tokens = MaskedTokens(guessed, wanted, asked.share)
    return loss(own, weight, seen, teacher_weight, TEACHER, None, tokens), tokens, teacher_weight


def _slow_views(weights, views, masks, hidden, branches=None):
    """CLS of all views (S, B, d), and the hidden tokens of each global view, one view after the other."""
    cls, tokens, number = [], [], 0
    for group, there in zip(views, masks, strict=True):
        for v in range(len(group)):
            found = []
            for b in range(group.shape[1]):
                hides = hidden[v, b] if group is views[0] else torch.zeros_like(there[v, b])
                own = None if branches is None else branches[number][b : b + 1]
                rows = view_bottlenecks(weights, group[v, b], 2, there[v, b], hides, own)
                found.append(rows[0])
                if group is views[0]:
                    tokens.append(rows[1:])
            cls.append(torch.stack(found))
            number += 1
    return torch.stack(cls), tokens


@pytest.mark.parametrize(("centering", "n_registers"), [("center", 2), ("sinkhorn", 0)])
@pytest.mark.usefixtures("_doubles")
def test_the_term_is_the_published_one(centering, n_registers):
    """Term, entropy and the gradient of every weight, mask token and registers included, are the loops', to 1e-10."""
    student, teacher = _networks(n_registers)
    views, masks, hidden = _views()
    draws = [torch.rand(len(group), 2, 4, dtype=torch.float64) for group in views]
    loss = SLPDLoss(N_OUTPUTS, mask_weight=0.7, centering=centering).double()
    center, own_center = loss.masked.center.value, loss.dino.center.value
    if centering == "center":
        center.normal_(0, 0.1)
        own_center.normal_(0, 0.1)
    got, _, _ = _step(loss, student, teacher, views, masks, hidden, draws)

    names = [name for name, p in student.named_parameters() if p.requires_grad]
    leaves = dict(student.named_parameters())
    rates = torch.tensor(student.encoder.backbone.drop_rates, dtype=torch.float64)
    branches = [((own >= rates) / (1 - rates)).double() for group in draws for own in group]
    cls, guessed = _slow_views(leaves, views, masks, hidden, branches)
    fixed = {name: value for name, value in teacher.state_dict().items() if name != "mask_token"}
    seen, wanted = _slow_views(fixed, views[:1], masks[:1], hidden)
    weights = leaves["last_layer.weight_v"], fixed["last_layer.weight_v"]
    targets = [row for rows in wanted for row in rows]
    if centering == "sinkhorn":
        center = reference.sinkhorn_center(targets, weights[1], TEACHER, 3)
        own_center = reference.sinkhorn_center(list(seen.flatten(0, 1)), weights[1], TEACHER, 3)
    pairs = list(zip(guessed, wanted, strict=True))
    term = reference.masked_token_loss(pairs, *weights, center, STUDENT, TEACHER)
    total = reference.dino_loss(cls, weights[0], seen, weights[1], own_center, STUDENT, TEACHER) + 0.7 * term
    torch.testing.assert_close((got["masked"], got["loss"]), (term.detach(), total), rtol=1e-10, atol=1e-10)
    entropies = [reference.mean_entropy(list(rows), weights[1], center, TEACHER) for rows in wanted if len(rows)]
    torch.testing.assert_close(got["masked_entropy"], torch.stack(entropies).mean(), rtol=1e-10, atol=1e-10)
    parameters = [leaves[name] for name in names]
    slow = torch.autograd.grad(total, parameters)
    for name, truth, value in zip(names, slow, torch.autograd.grad(got["loss"], parameters), strict=True):
        torch.testing.assert_close(value, truth, rtol=1e-10, atol=1e-10, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.usefixtures("_doubles")
def test_its_center_is_its_own():
    """It moves to the mean logits of the teacher at the hidden tokens, each alike; the views' as without them."""
    student, teacher = _networks()
    views, masks, hidden = _views()
    loss = SLPDLoss(N_OUTPUTS, mask_weight=0.7, center_momentum=0.8).double()
    loss.masked.center.value.normal_()
    center = loss.masked.center.value.clone()
    _, tokens, weight = _step(loss, student, teacher, views, masks, hidden, None)
    vectors = reference.units(2, 2, 6)
    loss.update_centers(vectors, weight, None, tokens)
    slow = reference.updated_center(center, list(tokens.teacher), weight, 0.8)
    torch.testing.assert_close(loss.masked.center.value, slow)
    plain = SLPDLoss(N_OUTPUTS, center_momentum=0.8).double()
    plain.update_centers(vectors, weight, None)
    assert torch.equal(plain.dino.center.value, loss.dino.center.value)
    assert float(loss.center_norms()["masked_center_norm"]) == float(loss.masked.center.value.norm())


@pytest.mark.usefixtures("_doubles")
def test_nothing_hidden_gives_nothing_but_a_gradient_of_zeros():
    """In a whole batch: term and entropy are 0, and every parameter has a gradient, as several processes need it."""
    student, teacher = _networks()
    views, masks, hidden = _views()
    loss = SLPDLoss(N_OUTPUTS, mask_weight=0.7).double()
    got, _, _ = _step(loss, student, teacher, views, masks, torch.zeros_like(hidden), None)
    assert float(got["masked"]) == float(got["masked_entropy"]) == 0 and torch.equal(got["loss"].detach(), got["self"])
    got["loss"].backward()
    assert [name for name, p in student.named_parameters() if p.requires_grad and p.grad is None] == []
    assert not bool(student.mask_token.grad.any())


@pytest.mark.usefixtures("_doubles")
def test_what_is_hidden_is_not_seen():
    """To the bit: other tokens in the place of those that are hidden change nothing of the student."""
    student, _ = _networks()
    views, masks, hidden = _views()
    other = torch.where(hidden.unsqueeze(2), torch.full_like(views[0], 1e3), views[0])
    choice = _Hidden.of(hidden, torch.device("cpu")).choice
    for got, plain in zip(student([other], masks, None, choice), student(views[:1], masks, None, choice), strict=True):
        assert torch.equal(got, plain)


def test_without_a_weight_there_is_nothing_of_it():
    """State dicts of student and loss are those of before, and a mask token begins at zero."""
    for weight, names in ((0.0, []), (0.5, ["mask_token", "masked.center.value"])):
        parts = Encoder(RegionViT(5, 8, 1, 2), ProjectionHead(8, 10, 6)), LastLayer(6, 20)
        states = make_student(*parts, mask_weight=weight).state_dict(), SLPDLoss(20, mask_weight=weight).state_dict()
        found = [name for state in states for name in state if name.startswith("mask") and name != "mask_missing"]
        assert not any("mask_token" in name for name in select_backbone(states[0]).backbone)
        assert found == names and (weight == 0 or not bool(states[0]["mask_token"].any()))
    for build in (SLPDLoss, lambda _, mask_weight: make_student(*parts, mask_weight=mask_weight)):
        with pytest.raises(ValueError, match="mask_weight is -1"):
            build(20, mask_weight=-1)


def test_a_run_can_be_resumed_and_its_weights_used(tmp_path):
    """From the first epoch on to the same bits; history has the term; exported weights have registers, no mask token,
    and those of a checkpoint are taken to train on, without the task or with it."""
    tokens = write_cohort(tmp_path / "tokens")
    ids = {"mask_weight": 0.5, "n_registers": 3, "mask_ratio": [0.2, 0.6], "checkpoint_interval": 1}
    ids |= {"depth": 2, "max_epochs": 2}
    tiny_run(tokens, tmp_path / "whole", **ids).run()
    (tmp_path / "again").mkdir()
    shutil.copy(tmp_path / "whole" / "epoch_0001.pt", tmp_path / "again" / "last.pt")
    tiny_run(tokens, tmp_path / "again", resume=True, **ids).run()
    whole, again = (read_weights(tmp_path / name / "last.pt") for name in ("whole", "again"))
    for part in ("student", "teacher", "loss"):
        assert differences(whole[part], again[part]) == []
    assert bool(whole["student"]["mask_token"].any()) and bool(whole["loss"]["masked.center.value"].any())
    for other, told in (
        ({"mask_weight": 0.0}, "hidden_tokens: True then, False now"),
        ({"n_registers": 0}, "n_registers: 3 then, False now"),
        ({"prototype_task": "assign"}, "assigned_prototypes: False then, True now"),
    ):
        with pytest.raises(Exception, match="Failed|cannot be resumed") as caught:
            tiny_run(tokens, tmp_path / "again", resume=True, **{**ids, **other}).run()
        assert told in str(user_error(caught.value))
    rows = read_history(tmp_path / "whole" / "history.csv")
    assert rows[-1]["masked"] > 0 and rows[-1]["masked_outputs"] > 1
    exported = read_weights(tmp_path / "whole" / "model.pt")
    assert "mask_token" not in str(list(exported)) and exported["backbone.register_tokens"].shape == (1, 3, 24)
    for name in ("model.pt", "last.pt"):
        encoder = load_region_encoder(tmp_path / "whole" / name, n_heads=3)
        assert encoder.backbone.n_registers == encoder.backbone.architecture["n_registers"] == 3
        student = make_student(
            Encoder(RegionViT(12, 24, 2, 3, n_registers=3), ProjectionHead(24, 16, 8)),
            LastLayer(8, 64),
            tmp_path / "whole" / name,
            mask_weight=float(name == "last.pt"),
        )
        assert (student.mask_token is None) == (name == "model.pt")
