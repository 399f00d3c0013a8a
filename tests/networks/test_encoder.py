"""Encoder, head, last layer, student and teacher."""

import json

import pytest
import torch
from monai.bundle import ckpt_export, verify_net_in_out

from bundle.networks import (
    Distiller,
    Encoder,
    LastLayer,
    ProjectionHead,
    RegionViT,
    ema_update_,
    frozen_copy,
    make_student,
)


@pytest.fixture
def encoder():
    """A small one."""
    torch.manual_seed(0)
    return Encoder(RegionViT(8, 12, 2, 3), ProjectionHead(12, 16, 6))


def test_scripted_equals_eager(encoder):
    """TorchScript gives the same embeddings, bottlenecks and stochastic depth."""
    scripted = torch.jit.script(encoder)
    for side in (6, 14, 16):
        image, draws = torch.randn(3, 8, side, side), torch.rand(3, 4)
        torch.testing.assert_close(scripted(image), encoder(image))
        torch.testing.assert_close(scripted.project(image), encoder.project(image))
        torch.testing.assert_close(scripted.project(image, draws=draws), encoder.project(image, draws=draws))


def test_project_is_head_of_forward(encoder):
    """Bottlenecks have length 1 and can be had from embeddings that are there already."""
    image = torch.randn(3, 8, 6, 6)
    projected = encoder.project(image)
    torch.testing.assert_close(projected.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(encoder.project_embedding(encoder(image)), projected)


def test_names_are_the_published_ones():
    """Backbone and head carry DINO's and HIPT's names; the last layer those of weight normalization."""
    names = set(Encoder(RegionViT(depth=1), ProjectionHead()).state_dict())
    assert {"backbone.phi.0.weight", "backbone.cls_token", "backbone.pos_embed", "backbone.norm.bias"} <= names
    assert {"backbone.blocks.0.attn.qkv.bias", "backbone.blocks.0.mlp.fc2.weight"} <= names
    assert {n for n in names if n.startswith("head")} == {
        f"head.mlp.{i}.{k}" for i in (0, 2, 4) for k in ("weight", "bias")
    }
    assert set(LastLayer(4, 5).state_dict()) == {"weight_v", "weight_g"}


def test_last_layer():
    """The gain stays 1 and takes no gradient; the start is uniform."""
    layer = LastLayer(16, 500)
    assert (layer.weight_g == 1).all() and not layer.weight_g.requires_grad
    assert 0.24 < layer.weight_v.max() <= 0.25 and abs(layer.weight_v.detach().std() - 0.25 / 3**0.5) < 0.01


def test_distiller_keeps_the_order_of_views(encoder):
    """Row v of the result is view v, global ones first, whatever their number and size."""
    student = Distiller(encoder, LastLayer(6, 20))
    views = [torch.randn(2, 3, 8, 14, 14), torch.randn(4, 3, 8, 6, 6)]
    bottlenecks, weight = student(views)
    assert bottlenecks.shape == (6, 3, 6) and weight.shape == (20, 6)
    torch.testing.assert_close(bottlenecks[5, 1], encoder.project(views[1][3, 1:2])[0])
    dropped, _ = student(views, draws=[torch.full((2, 3, 4), 0.99), torch.zeros(4, 3, 4)])
    assert not torch.allclose(dropped[2:], bottlenecks[2:])


@pytest.mark.parametrize("amp", [False, True])
def test_distiller_in_one_pass_gives_the_same(encoder, monkeypatch, amp):
    """As on a GPU, where crops of both sizes go together: the order of views, their bottlenecks, their gradients."""
    student = Distiller(encoder.double() if not amp else encoder, LastLayer(6, 20))
    dtype = torch.float32 if amp else torch.float64
    views = [torch.randn(2, 3, 8, 14, 14, dtype=dtype), torch.randn(4, 3, 8, 6, 6, dtype=dtype)]
    draws, results = [torch.rand(len(group), 3, 4, dtype=dtype) for group in views], []
    for together in (False, True):
        monkeypatch.setattr("bundle.networks.distiller._goes_together", lambda *_, answer=together: answer)
        student.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=amp):
            bottlenecks, _ = student(views, draws=draws)
        bottlenecks[..., 0].sum().backward()
        results.append((bottlenecks, encoder.backbone.blocks[0].mlp.fc1.weight.grad))
    bounds = {"rtol": 0.02, "atol": 0.02} if amp else {}
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected.to(got.dtype), **bounds)


def test_distiller_under_autocast_gives_float32(encoder):
    """What losses get is float32 and of unit length under bfloat16 autocast, too."""
    with torch.autocast("cpu", torch.bfloat16):
        bottlenecks, weight = Distiller(encoder, LastLayer(6, 20))([torch.randn(2, 2, 8, 6, 6)])
    assert bottlenecks.dtype == weight.dtype == torch.float32
    torch.testing.assert_close(bottlenecks.norm(dim=-1), torch.ones(2, 2))


def test_teacher_follows_by_ema(encoder):
    """teacher = m teacher + (1 - m) student for every tensor; the copy is frozen and shares nothing."""
    student = Distiller(encoder, LastLayer(6, 20))
    teacher = frozen_copy(student)
    assert not teacher.training and not any(p.requires_grad for p in teacher.parameters())
    before = {name: p.clone() for name, p in teacher.named_parameters()}
    with torch.no_grad():
        for p in student.parameters():
            p.add_(torch.randn_like(p))
    ema_update_(teacher, student, 0.9)
    for (name, got), now in zip(teacher.named_parameters(), student.parameters(), strict=True):
        torch.testing.assert_close(got, 0.9 * before[name] + 0.1 * now)
    ema_update_(teacher, student, 1.0)
    with pytest.raises(ValueError, match="momentum"):
        ema_update_(teacher, student, 1.1)
    with pytest.raises(ValueError, match="differ"):
        ema_update_(teacher, student.last_layer, 0.5)


def test_monai_exports_and_verifies_it(tmp_path):
    """MONAI's own ``verify_net_in_out`` and ``ckpt_export`` accept the encoder as network_def."""
    net = Encoder(RegionViT(8, 12, 1, 3), ProjectionHead(12, 16, 6))
    torch.save(net.state_dict(), tmp_path / "model.pt")
    (tmp_path / "inference.yaml").write_text(
        "device: cpu\nnetwork_def:\n  _target_: bundle.networks.Encoder\n"
        "  backbone: {_target_: bundle.networks.RegionViT, in_dim: 8, dim: 12, depth: 1, n_heads: 3}\n"
        "  head: {_target_: bundle.networks.ProjectionHead, in_dim: 12, hidden: 16, bottleneck: 6}\n"
    )
    shape = {"num_channels": 8, "spatial_shape": [16, 16], "dtype": "float32", "is_patch_data": True}
    out = {"num_channels": 12, "spatial_shape": [], "dtype": "float32"}
    meta = {"network_data_format": {"inputs": {"image": shape}, "outputs": {"pred": out}}}
    (tmp_path / "metadata.json").write_text(json.dumps(meta))
    files = {"config_file": str(tmp_path / "inference.yaml"), "meta_file": str(tmp_path / "metadata.json")}
    verify_net_in_out("network_def", device="cpu", **files)
    ckpt_export("network_def", filepath=str(tmp_path / "model.ts"), ckpt_file=str(tmp_path / "model.pt"), **files)
    image = torch.randn(2, 8, 16, 16)
    torch.testing.assert_close(torch.jit.load(tmp_path / "model.ts")(image), net(image))


def test_compiling_keeps_the_names_of_weights(encoder):
    """A student to be compiled has the same state dict, so that its checkpoints fit everywhere."""
    plain = set(make_student(encoder, LastLayer(8, 5)).state_dict())
    compiled = make_student(encoder, LastLayer(8, 5), compiled="true")
    assert set(compiled.state_dict()) == plain
    assert compiled.encoder.backbone._compiled_call_impl is not None
