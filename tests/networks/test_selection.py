"""Finding the encoder in a checkpoint, and saying what does not fit."""

import hipt_files
import pytest
import torch
from torch import nn

from bundle.core import BundleError
from bundle.networks import infer_vit_architecture, select_backbone
from bundle.networks.architecture import load_into


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone.", "encoder.backbone.", "_orig_mod."])
@pytest.mark.parametrize("container", [None, "teacher", "student", "state_dict", "model"])
def test_prefixes_and_containers(prefix, container):
    """Whatever wraps the names, the same names come out."""
    body = hipt_files.region_backbone(32, 2, 8)
    wrapped = {prefix + name: tensor for name, tensor in body.items()}
    parts = select_backbone(wrapped if container is None else {container: wrapped, "epoch": 3})
    assert set(parts.backbone) == set(body) and not parts.head and not parts.last_layer


def test_teacher_before_student_and_head_apart(tmp_path):
    """The teacher is preferred; head and last layer are kept apart under their own names."""
    body, top = hipt_files.region_backbone(32, 1, 8), hipt_files.head(32)
    parts = select_backbone(hipt_files.save_checkpoint(tmp_path / "a.pth", body, top))
    torch.testing.assert_close(parts.backbone, body)
    assert set(parts.head) == {f"mlp.{i}.{kind}" for i in (0, 2, 4) for kind in ("weight", "bias")}
    assert set(parts.last_layer) == {"weight_g", "weight_v"}


def test_a_classifier_is_left_out():
    """``head.weight`` of a supervised ViT is no part of the encoder."""
    parts = select_backbone({**hipt_files.patch_backbone(32, 1), "head.weight": torch.zeros(10, 32)})
    assert "head.weight" not in parts.backbone and not parts.head


def test_nothing_in_it():
    """A dictionary without tensors is refused with what it holds."""
    with pytest.raises(BundleError, match="x.pt holds no encoder.*found epoch, args"):
        select_backbone({"epoch": 1, "args": None}, source="x.pt")


def test_architecture_is_read_off_shapes():
    """Both published encoders are recognized with their sizes, and heads as published."""
    assert infer_vit_architecture(hipt_files.patch_backbone(384, 2)) == {
        "kind": "patch", "image_size": 224, "patch_size": 16, "dim": 384, "depth": 2, "n_heads": 6, "mlp_ratio": 4.0
    }  # fmt: skip
    assert infer_vit_architecture(hipt_files.region_backbone(192, 3)) == {
        "kind": "region", "in_dim": 384, "n_positions": 14, "dim": 192, "depth": 3, "n_heads": 6, "mlp_ratio": 4.0
    }  # fmt: skip


def test_architectures_that_are_not_ours():
    """A convolutional network and a ViT with register tokens are refused, with the way out."""
    with pytest.raises(BundleError, match="resnet.pth is not a vision transformer.*TorchScript"):
        infer_vit_architecture({"conv1.weight": torch.zeros(1)}, source="resnet.pth")
    with pytest.raises(BundleError, match="201 positions.*TorchScript"):
        infer_vit_architecture(hipt_files.patch_backbone(32, 1, n_positions=201))


def test_load_into_is_strict():
    """Missing, unexpected and differently shaped tensors are all named, with file and shapes; nothing is loaded."""
    module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    state = {
        "0.weight": torch.zeros(3, 5),
        "0.bias": torch.zeros(3),
        "1.weight": torch.zeros(3, 3),
        "z": torch.zeros(1),
    }
    with pytest.raises(BundleError) as caught:
        load_into(module, state, source="f.pt")
    text = str(caught.value)
    assert "f.pt does not fit" in text and "missing: 1.bias" in text and "unexpected: z" in text
    assert "0.weight is [3, 5] in the file, [3, 2] here" in text
    torch.testing.assert_close(dict(module.state_dict()), before)
    load_into(module, before, source="f.pt")
