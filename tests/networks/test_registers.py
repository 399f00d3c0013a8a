"""Learned tokens beside CLS: in attention, in no output, and known from the weights."""

import pytest
import torch

from bundle.core import BundleError, save_atomically
from bundle.networks import (
    Encoder,
    LastLayer,
    ProjectionHead,
    RegionViT,
    infer_vit_architecture,
    load_region_encoder,
    make_student,
    untrained_encoder,
)


def _encoder(n_registers, mask_missing=True):
    torch.manual_seed(0)
    backbone = RegionViT(8, 32, 3, 1, n_positions=4, drop_path=0.5, n_registers=n_registers)
    return Encoder(backbone, ProjectionHead(32, 16, 6), mask_missing)


def test_cls_looks_at_them_and_maps_do_not_show_them():
    """What a register holds changes the embedding; a map has the tokens alone."""
    net, image = _encoder(3).backbone.double(), torch.randn(2, 8, 5, 4, dtype=torch.float64)
    before = net(image)
    got, maps = net.encode_and_attend(net.embed(image))
    torch.testing.assert_close(got, before)
    x = net._sequence(net.embed(image))
    for block in net.blocks[:-1]:
        x = block(x)
    weights = net.blocks[-1].attn.weights_of_first(net.blocks[-1].norm1(x))
    torch.testing.assert_close(maps.flatten(2), weights[:, :, 4:])
    with torch.no_grad():
        net.register_tokens[0, 2].normal_()
    assert not torch.allclose(net(image), before)


@pytest.mark.parametrize("n_registers", [0, 2])
def test_groups_at_once_have_them_too(n_registers):
    """One pass of two sizes, with gaps and dropped branches: the same embeddings as a pass for each."""
    net = _encoder(n_registers).backbone.double()
    images = [torch.randn(3, 8, side, side, dtype=torch.float64) for side in (4, 2)]
    masks, draws = [torch.rand(3, side, side) < 0.5 for side in (4, 2)], [torch.rand(3, 6) for _ in images]
    grids = [net.embed(*pair) for pair in zip(images, masks, strict=True)]
    one_by_one = [net.encode(*group) for group in zip(grids, masks, draws, strict=True)]
    torch.testing.assert_close(net.encode_groups(grids, masks, draws), torch.cat(one_by_one))


def test_torchscript_has_them(tmp_path):
    """As eager, with a mask and without."""
    encoder, image, mask = _encoder(2), torch.randn(2, 8, 4, 4), torch.rand(2, 4, 4) < 0.5
    scripted = torch.jit.script(encoder)
    torch.testing.assert_close(scripted(image, mask), encoder(image, mask))
    torch.testing.assert_close(scripted.project(image), encoder.project(image))


def test_weights_tell_how_many(tmp_path):
    """Loaded, named in what does not fit, and drawn anew in an untrained encoder; weights without say nothing."""
    encoder = _encoder(2)
    assert infer_vit_architecture(encoder.backbone.state_dict())["n_registers"] == 2
    assert "n_registers" not in infer_vit_architecture(_encoder(0).backbone.state_dict())
    assert not any("register" in name for name in _encoder(0).state_dict())
    save_atomically(encoder.state_dict(), tmp_path / "model.pt")
    loaded, image = load_region_encoder(tmp_path / "model.pt"), torch.randn(2, 8, 4, 4)
    torch.testing.assert_close(loaded(image), encoder.eval()(image))
    with pytest.raises(BundleError, match="unexpected: register_tokens.*2 registers"):
        make_student(_encoder(0), LastLayer(6, 20), tmp_path / "model.pt")
    fresh = untrained_encoder(loaded).backbone.register_tokens
    assert fresh.shape == (1, 2, 32) and not torch.equal(fresh, loaded.backbone.register_tokens)


@pytest.mark.parametrize("value", [-1, 1.5, "two"])
def test_no_number_of_registers_is_refused(value):
    """The error says the id."""
    with pytest.raises(ValueError, match="n_registers is"):
        RegionViT(n_registers=value)
