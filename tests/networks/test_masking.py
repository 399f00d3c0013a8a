"""Tokens that are missing: what stands in their place reaches nothing, and the others keep their places."""

from types import SimpleNamespace

import pytest
import torch

from bundle.core import BundleError, save_atomically
from bundle.networks import (
    Encoder,
    LastLayer,
    ProjectionHead,
    RegionDescriber,
    RegionViT,
    frozen_copy,
    load_region_encoder,
    make_region_encoder,
    make_student,
    read_weights,
    select_backbone,
)


def _encoder(mask_missing=True, **options):
    torch.manual_seed(0)
    backbone = RegionViT(**{"in_dim": 8, "dim": 12, "depth": 3, "n_heads": 3, "drop_path": 0.5, **options})
    return Encoder(backbone, ProjectionHead(12, 16, 6), mask_missing)


def _grids(n=4, side=6, dtype=torch.float32):
    """Grids and what of them is there: half of the tokens, all, none, one."""
    mask = torch.rand(n, side, side) < 0.5
    mask[1], mask[2], mask[3] = True, False, False
    mask[3, 1, 2] = True
    return torch.randn(n, 8, side, side, dtype=dtype), mask


def _filled(image, mask, value):
    return torch.where(mask[:, None], image, torch.full_like(image, value))


def test_a_mask_is_a_shorter_sequence():
    """The slow way: the blocks get CLS and the tokens that are there, each with its own position, and no others."""
    net = _encoder().backbone.double()
    image, mask = _grids(dtype=torch.float64)
    got, weights = net.encode_and_attend(net.embed(image, mask), mask)
    torch.testing.assert_close(net(image, mask), got)
    for i, cells in enumerate(mask):
        whole = net._sequence(net.embed(image[i : i + 1]))
        kept = torch.cat([torch.tensor([True]), cells.flatten()])
        x = whole[:, kept]
        for block in net.blocks[:-1]:
            x = block(x)
        last = net.blocks[-1]
        own = last.attn.weights_of_first(last.norm1(x))[0, :, 1:]
        torch.testing.assert_close(got[i], net.norm(last(x))[0, 0])
        torch.testing.assert_close(weights[i][:, cells], own)
        assert (weights[i][:, ~cells] == 0).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e4])
@pytest.mark.parametrize("amp", [False, True])
@pytest.mark.parametrize("drops", [False, True])
def test_what_stands_there_reaches_nothing(value, amp, drops):
    """To the bit: embeddings, bottlenecks and gradients, in float32 and bfloat16, with and without dropped branches."""
    encoder, (image, mask), draws = _encoder(), _grids(), torch.rand(4, 6) if drops else None
    results = []
    for filled in (_filled(image, mask, 0.0), _filled(image, mask, value)):
        encoder.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=amp):
            projected = encoder.project(filled, mask, draws)
            embedded = encoder(filled, mask)
        (projected.float().square().sum() + projected.float()[:, 0].sum() + embedded.float().sum()).backward()
        results.append([projected, embedded, *(p.grad for p in encoder.parameters())])
    for plain, other in zip(*results, strict=True):
        assert torch.isfinite(plain).all() and torch.equal(plain, other)


def test_views_at_once_are_masked_too(monkeypatch):
    """A student with views of two sizes, one by one and as on a GPU: to the bit as with zeros."""
    from bundle.networks import Distiller

    student = Distiller(_encoder(), LastLayer(6, 20))
    (large, kept), (small, others) = _grids(side=6), _grids(side=3)
    masks, draws = [kept[None], others[None]], [torch.rand(1, 4, 6), torch.rand(1, 4, 6)]
    for together in (False, True):
        monkeypatch.setattr("bundle.networks.distiller._goes_together", lambda *_, answer=together: answer)
        given = [
            [_filled(large, kept, value)[None], _filled(small, others, value)[None]] for value in (0.0, float("nan"))
        ]
        plain, nan = (student(views, masks, draws)[0] for views in given)
        assert torch.isfinite(plain).all() and torch.equal(plain, nan)


def test_weights_without_masks_look_at_all():
    """An encoder that was trained without masks takes them and does not look at them."""
    encoder, (image, mask) = _encoder(mask_missing=False), _grids()
    assert torch.equal(encoder(image, mask), encoder(image)) and torch.equal(
        encoder.project(image, mask), encoder.project(image)
    )
    assert torch.equal(encoder.attention(image, mask), encoder.attention(image))
    assert not torch.equal(_encoder()(image, mask), encoder(image))


def test_torchscript_takes_masks():
    """As eager, with a mask and without, whatever stands where a token is missing."""
    image, mask = _grids()
    for mask_missing in (True, False):
        encoder = _encoder(mask_missing)
        scripted = torch.jit.script(encoder)
        torch.testing.assert_close(scripted(image, mask), encoder(image, mask))
        torch.testing.assert_close(scripted.project(image, mask), encoder.project(image, mask))
        torch.testing.assert_close(scripted(image), encoder(image))
    scripted = torch.jit.script(_encoder())
    assert torch.equal(scripted(_filled(image, mask, float("nan")), mask), scripted(_filled(image, mask, 0.0), mask))


def test_describing_masks_as_the_weights_did():
    """With attention and without."""
    image, mask = _grids()
    filled = _filled(image, mask, float("nan"))
    for attention in (True, False):
        found = RegionDescriber(_encoder(), attention)(filled, mask)
        torch.testing.assert_close(found["pred"], _encoder()(image, mask))
        assert all(torch.isfinite(values).all() for values in found.values())


@pytest.mark.parametrize("mask_missing", [False, True])
def test_weights_say_whether_they_mask(mask_missing, tmp_path):
    """The state dict, a checkpoint of a run, and whatever is loaded from either; weights of before say no."""
    encoder = _encoder(mask_missing, n_heads=1)
    assert bool(encoder.state_dict()["mask_missing"]) == mask_missing
    save_atomically(encoder.state_dict(), tmp_path / "model.pt")
    student = make_student(_encoder(n_heads=1), LastLayer(6, 20), tmp_path / "model.pt")
    teacher = frozen_copy(student)
    save_atomically({"student": student.state_dict(), "teacher": teacher.state_dict()}, tmp_path / "last.pt")
    for name in ("model.pt", "last.pt"):
        assert select_backbone(read_weights(tmp_path / name)).mask_missing == mask_missing
        assert load_region_encoder(tmp_path / name, n_heads=1).mask_missing == mask_missing
    assert make_region_encoder(tmp_path / "model.pt").mask_missing == mask_missing
    assert student.encoder.mask_missing == teacher.encoder.mask_missing == mask_missing
    other = _encoder(not mask_missing, n_heads=1)
    other.load_state_dict(encoder.state_dict())
    assert other.mask_missing == mask_missing
    older = {name: tensor for name, tensor in encoder.state_dict().items() if name != "mask_missing"}
    other.load_state_dict(older)
    assert other.mask_missing is False


def test_a_student_masks_where_tokens_are_missing():
    """auto asks the tokens, a word of the user's the user."""
    for given, has_missing, expected in [
        ("auto", True, True), ("auto", False, False), ("true", False, True), (False, True, False),
    ]:  # fmt: skip
        student = make_student(
            _encoder(False), LastLayer(6, 20), mask_missing=given, dataset=SimpleNamespace(has_missing=has_missing)
        )
        assert student.encoder.mask_missing is expected


def test_weights_of_the_other_kind_are_refused(tmp_path):
    """Both ways, with the file, what it was trained with, and what to do; auto follows the file."""
    gaps = SimpleNamespace(has_missing=True)
    for trained in (True, False):
        path = tmp_path / f"{trained}.pt"
        save_atomically(_encoder(trained).state_dict(), path)
        with pytest.raises(BundleError, match=rf"{trained}\.pt was trained .* Set mask_missing to auto or {trained}"):
            make_student(_encoder(), LastLayer(6, 20), path, mask_missing=not trained)
        for given in ("auto", trained):
            student = make_student(_encoder(not trained), LastLayer(6, 20), path, mask_missing=given, dataset=gaps)
            assert student.encoder.mask_missing is trained
