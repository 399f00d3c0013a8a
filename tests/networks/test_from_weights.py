"""Networks from files: HIPT's names all used and none missing, and errors that tell the way out."""

import hipt_files
import pytest
import torch
from encoder_files import HALF, program

from bundle.core import BundleError, save_atomically
from bundle.networks import (
    Encoder,
    LastLayer,
    PatchViT,
    ProjectionHead,
    RegionViT,
    load_patch_encoder,
    load_region_encoder,
    make_student,
    read_weights,
    select_backbone,
    sha256_of,
    warn_of_missing_background,
    write_pretraining,
)
from bundle.networks.from_weights import load_encoder


def test_hipt_patch_encoder_loads(tmp_path):
    """vit256_small_dino: every backbone key used, none missing; 197 positions serve 256 px patches."""
    body = hipt_files.patch_backbone()
    hipt_files.save_checkpoint(tmp_path / "vit256_small_dino.pth", body, hipt_files.head(384))
    encoder = load_patch_encoder(tmp_path / "vit256_small_dino.pth", 256)
    torch.testing.assert_close(dict(encoder.backbone.state_dict()), body)
    assert encoder(torch.randint(0, 256, (1, 3, 256, 256), dtype=torch.uint8)).shape == (1, 384)
    assert (encoder.dim, encoder.name) == (384, "vit256_small_dino")
    assert encoder.sha256 == sha256_of(tmp_path / "vit256_small_dino.pth")
    assert encoder.mean == (0.485, 0.456, 0.406) and encoder.std == (0.229, 0.224, 0.225)


def test_hipt_region_encoder_loads(tmp_path):
    """vit4k_xs_dino: backbone and head complete, for 14 x 14, 6 x 6 and 16 x 16 tokens."""
    body, top = hipt_files.region_backbone(), hipt_files.head(192)
    hipt_files.save_checkpoint(tmp_path / "vit4k_xs_dino.pth", body, top)
    encoder = load_region_encoder(tmp_path / "vit4k_xs_dino.pth")
    torch.testing.assert_close(dict(encoder.backbone.state_dict()), body)
    torch.testing.assert_close(encoder.head.state_dict()["mlp.4.weight"], top["mlp.4.weight"])
    assert not encoder.training
    for side in (6, 14, 16):
        assert encoder.project(torch.randn(1, 384, side, side)).shape == (1, 256)


def test_heads_are_those_of_the_training(tmp_path):
    """Shapes do not tell heads: an encoder of 2 x 16 values, read as 1 x 32, used to give other embeddings silently."""
    torch.manual_seed(0)
    encoder = Encoder(RegionViT(8, 32, 2, 2), ProjectionHead(32, 64, 16)).eval()
    torch.save(encoder.state_dict(), tmp_path / "model.pt")
    write_pretraining(tmp_path / "model.pt", [], {"n_heads": 2})
    image = torch.randn(2, 8, 16, 16)
    torch.testing.assert_close(load_region_encoder(tmp_path / "model.pt")(image), encoder(image))
    assert not torch.allclose(load_region_encoder(tmp_path / "model.pt", n_heads=1)(image), encoder(image))


def test_student_starts_from_a_checkpoint(tmp_path):
    """Backbone, head and last layer are all taken where they fit; the gain stays 1."""
    body, top = hipt_files.region_backbone(32, 2, 8), hipt_files.head(32, 64, 16, 40)
    hipt_files.save_checkpoint(tmp_path / "a.pth", body, top)
    student = make_student(
        Encoder(RegionViT(8, 32, 2, 1), ProjectionHead(32, 64, 16)), LastLayer(16, 40), tmp_path / "a.pth"
    )
    torch.testing.assert_close(student.last_layer.weight_v.data, top["last_layer.weight_v"])
    torch.testing.assert_close(student.encoder.head.mlp[0].weight.data, top["mlp.0.weight"])
    assert (student.last_layer.weight_g == 1).all()


def test_a_head_of_another_size_stays_fresh(tmp_path, caplog):
    """A backbone with a head that does not fit is used, and a warning says what stayed as it was."""
    hipt_files.save_checkpoint(tmp_path / "a.pth", hipt_files.region_backbone(32, 1, 8), hipt_files.head(32))
    student = Encoder(RegionViT(8, 32, 1, 1), ProjectionHead(32, 16, 4))
    make_student(student, LastLayer(4, 40), tmp_path / "a.pth")
    assert "projection head stays" in caplog.text and "last layer stays" in caplog.text


def test_our_own_files_go_round(tmp_path):
    """model.pt and a training checkpoint both give the encoder back."""
    torch.manual_seed(0)
    student = make_student(Encoder(RegionViT(8, 64, 2, 2), ProjectionHead(64, 16, 4)), LastLayer(4, 10))
    save_atomically(student.encoder.state_dict(), tmp_path / "model.pt")
    save_atomically({"student": {}, "teacher": student.state_dict(), "trainer": {"epoch": 1}}, tmp_path / "last.pt")
    image = torch.randn(2, 8, 6, 6)
    for name in ("model.pt", "last.pt"):
        loaded = load_region_encoder(tmp_path / name)
        torch.testing.assert_close(loaded.project(image), student.encoder.project(image))
    assert select_backbone(read_weights(tmp_path / "last.pt")).last_layer.keys() == {"weight_v", "weight_g"}


def test_another_architecture_is_named(tmp_path):
    """The error names the file, the shapes found and expected, and what the file seems to be."""
    save_atomically({"teacher": hipt_files.region_backbone(32, 2, 8)}, tmp_path / "a.pt")
    with pytest.raises(BundleError) as caught:
        load_encoder(Encoder(RegionViT(8, 64, 2, 2), ProjectionHead(64, 16, 4)), tmp_path / "a.pt")
    text = str(caught.value)
    assert "a.pt does not fit" in text and "cls_token is [1, 1, 32] in the file, [1, 1, 64] here" in text
    assert "a region ViT on 8-d tokens (width 32, depth 2" in text and "expected is a region ViT" in text


def test_patch_and_region_encoder_are_told_apart(tmp_path):
    """Giving one for the other is an error that says which option the file belongs to."""
    save_atomically({"teacher": hipt_files.region_backbone(32, 1, 8)}, tmp_path / "region.pt")
    save_atomically({"teacher": hipt_files.patch_backbone(64, 1)}, tmp_path / "patch.pt")
    with pytest.raises(BundleError, match="region.pt holds a region encoder.*region_encoder_ckpt"):
        load_patch_encoder(tmp_path / "region.pt")
    with pytest.raises(BundleError, match="patch.pt holds a patch encoder.*patch_encoder_ckpt"):
        load_region_encoder(tmp_path / "patch.pt")


def test_missing_patch_encoder_names_the_ways_out(tmp_path):
    """Stage one, HIPT's file, TorchScript: all three stand in the error."""
    with pytest.raises(BundleError, match="train_patch_encoder.yaml.*vit256_small_dino.pth.*TorchScript"):
        load_patch_encoder(tmp_path / "patch_encoder.pt")


def test_self_describing_file(tmp_path):
    """patch_encoder.pt brings heads and normalization, which shapes cannot tell; the caller may overrule."""
    net = PatchViT(image_size=24, patch_size=8, dim=96, depth=2, n_heads=3).eval()
    envelope = {
        "teacher": net.state_dict(),
        "architecture": net.architecture,
        "normalization": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
    }
    save_atomically(envelope, tmp_path / "patch_encoder.pt")
    encoder = load_patch_encoder(tmp_path / "patch_encoder.pt", 32)
    assert encoder.backbone.n_heads == 3 and encoder.mean == (0.5, 0.5, 0.5) and encoder.std == (0.25, 0.25, 0.25)
    image = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    torch.testing.assert_close(encoder(image), net((image / 255 - 0.5) / 0.25).detach(), atol=1e-5, rtol=1e-4)
    assert load_patch_encoder(tmp_path / "patch_encoder.pt", 32, mean=(0, 0, 0)).mean == (0, 0, 0)


def test_torchscript_patch_encoder(tmp_path):
    """Any program that gives a vector a patch will do; its width is found by trying; other outputs are refused."""
    encoder = load_patch_encoder(program(tmp_path / "other.pt"), 32, mean=(0, 0, 0), std=(1, 1, 1))
    image = torch.full((2, 3, 32, 32), 51, dtype=torch.uint8)
    assert encoder.dim == 12
    torch.testing.assert_close(encoder(image), torch.full((2, 12), 0.2))
    with pytest.raises(BundleError, match=r"map.pt does not give one vector a patch.*gives \[2, 3, 32, 32\]"):
        load_patch_encoder(program(tmp_path / "map.pt", "map"), 32, **HALF)


def test_a_patch_size_that_does_not_fit(tmp_path):
    """A patch that the ViT cannot cut into its squares is refused with both sizes."""
    save_atomically({"teacher": hipt_files.patch_backbone(64, 1)}, tmp_path / "patch.pt")
    with pytest.raises(BundleError, match="cannot encode patches of 100 px.*multiples of 16 px"):
        load_patch_encoder(tmp_path / "patch.pt", 100, **HALF)


def test_tokenizer_is_frozen_and_bf16_is_close(tmp_path):
    """It never trains, takes no gradients, and bfloat16 changes directions by little."""
    hipt_files.save_checkpoint(tmp_path / "p.pth", hipt_files.patch_backbone(64, 3), hipt_files.head(64))
    exact, fast = (load_patch_encoder(tmp_path / "p.pth", 64, amp=amp, **HALF) for amp in (False, "true"))
    image = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    assert not exact.train().training and not any(p.requires_grad for p in exact.parameters())
    assert exact(image).dtype == fast(image).dtype == torch.float32
    assert torch.cosine_similarity(exact(image), fast(image)).min() > 0.999


def test_published_region_weights_on_tokens_without_background_are_warned_of(tmp_path, caplog):
    """HIPT's weights have seen encoded background; this bundle's own checkpoints pass in silence."""
    body, top = hipt_files.region_backbone(32, 1, 8), hipt_files.head(32, 64, 16, 40)
    hipt_files.save_checkpoint(tmp_path / "hipt.pth", body, top)
    warn_of_missing_background(tmp_path / "hipt.pth", has_background=True)
    assert caplog.text == ""
    warn_of_missing_background(tmp_path / "hipt.pth", has_background=False)
    assert "--encode_background true" in caplog.text
    caplog.clear()
    save_atomically({"teacher": body}, tmp_path / "ours.pt")
    warn_of_missing_background(tmp_path / "ours.pt", has_background=False)
    assert caplog.text == ""
