"""Standardized tokens: the equation, what stays zero, and numbers that go wherever the weights go."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.networks.utils import copy_model_state

from bundle.core import BundleError, SettingError
from bundle.networks import (
    Encoder,
    LastLayer,
    PatchViT,
    ProjectionHead,
    RegionViT,
    TokenStandard,
    load_region_encoder,
    make_region_encoder,
    make_student,
)

_D = 6


def _encoder(mask_missing=False):
    torch.manual_seed(1)
    return Encoder(RegionViT(_D, 32, 2, 1, n_positions=4), ProjectionHead(32, 16, 8), mask_missing).eval()


def _tokens(n=3, side=4):
    rng = np.random.default_rng(0)
    return torch.from_numpy((5 + 0.1 * rng.normal(size=(n, _D, side, side))).astype(np.float32))


def _tokens_with(mean, sd):
    return SimpleNamespace(has_missing=False, statistics=lambda: (mean, sd))


def _statistics(tokens):
    rows = tokens.permute(0, 2, 3, 1).reshape(-1, _D)
    return rows.mean(0), rows.std(0, correction=0)


def test_what_is_there_is_standardized_and_what_is_missing_stays_zero():
    mean, sd = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.5, 4.0, 0.0])
    tokens = torch.tensor([[2.0, 2.0, 7.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    standard = TokenStandard(mean, sd)
    want = torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.5, 0.0]])
    torch.testing.assert_close(standard(tokens), want)
    mask = torch.tensor([False, True, True])
    filled = tokens.clone()
    filled[0] = torch.nan
    want = torch.tensor([[0.0, 0.0, 0.0], [-2.0, 0.5, 0.0], [0.0, 0.5, 0.0]])
    torch.testing.assert_close(standard(filled, mask), want)


@pytest.mark.parametrize("sd", [torch.zeros(_D), torch.full((_D,), torch.nan)])
def test_tokens_that_are_all_the_same_cannot_be_standardized(sd):
    with pytest.raises(SettingError, match="standardize_tokens"):
        TokenStandard(torch.zeros(_D), sd)


def test_an_encoder_sees_standardized_tokens_and_its_files_bring_the_numbers(tmp_path):
    tokens, plain = _tokens(), _encoder()
    mean, sd = _statistics(tokens)
    student = make_student(
        _encoder(), LastLayer(8, 5), standardize_tokens="true", dataset=_tokens_with(mean, sd), device="cpu"
    )
    encoder = student.encoder.eval()
    by_hand = (tokens - mean[:, None, None]) / sd[:, None, None]
    torch.testing.assert_close(encoder(tokens), plain(by_hand), rtol=1e-4, atol=1e-4)
    torch.save(encoder.state_dict(), tmp_path / "model.pt")
    torch.save(plain.state_dict(), tmp_path / "plain.pt")
    for loaded in (load_region_encoder(tmp_path / "model.pt"), make_region_encoder(tmp_path / "model.pt")):
        torch.testing.assert_close(loaded(tokens), encoder(tokens))
    other = _encoder()
    other.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))  # as MONAI loads a bundle's network
    torch.testing.assert_close(other(tokens), encoder(tokens))
    scripted = torch.jit.script(other)
    torch.testing.assert_close(scripted(tokens), encoder(tokens))
    torch.testing.assert_close(scripted.project(tokens), encoder.project(tokens))
    other.load_state_dict(torch.load(tmp_path / "plain.pt", weights_only=True))
    assert other.backbone.standard is None
    torch.testing.assert_close(other(tokens), plain(tokens))


def test_a_student_from_a_file_is_standardized_as_the_file_is(tmp_path):
    tokens = _tokens()
    given = {"dataset": _tokens_with(*_statistics(tokens))}
    first = make_student(_encoder(), LastLayer(8, 5), standardize_tokens=True, **given).encoder
    for name, encoder in (("with.pt", first), ("without.pt", _encoder())):
        torch.save(encoder.state_dict(), tmp_path / name)
    again = make_student(_encoder(), LastLayer(8, 5), tmp_path / "with.pt", **given).encoder
    torch.testing.assert_close(again.backbone.standard.mean, first.backbone.standard.mean)
    assert make_student(_encoder(), LastLayer(8, 5), tmp_path / "without.pt", **given).encoder.backbone.standard is None
    for name, wanted in (("with.pt", False), ("without.pt", True)):
        with pytest.raises(BundleError, match="standardize_tokens"):
            make_student(_encoder(), LastLayer(8, 5), tmp_path / name, standardize_tokens=wanted, **given)
    assert (
        make_student(_encoder(), LastLayer(8, 5), standardize_tokens="auto", **given).encoder.backbone.standard is None
    )


def test_monai_copies_the_numbers_into_a_network_that_has_a_place_for_them():
    """``monai.bundle.load`` and its exports copy tensors whose names the network that a config built already has."""
    tokens = _tokens()
    trained = make_student(
        _encoder(), LastLayer(8, 5), standardize_tokens=True, dataset=_tokens_with(*_statistics(tokens))
    ).encoder.eval()
    backbone = RegionViT(_D, 32, 2, 1, n_positions=4, standardized="true")
    fresh = Encoder(backbone, ProjectionHead(32, 16, 8)).eval()
    copy_model_state(fresh, trained.state_dict())
    torch.testing.assert_close(fresh(tokens), trained(tokens))
    assert RegionViT(_D, 32, 2, 1, standardized="auto").standard is None


def test_stage_one_begins_from_weights_that_have_no_standard(tmp_path):
    """The patch encoder's student is made by the same function; its pixels are normalized elsewhere."""
    pixels = Encoder(PatchViT(image_size=16, patch_size=8, dim=32, depth=1, n_heads=1), ProjectionHead(32, 16, 8))
    torch.save(pixels.state_dict(), tmp_path / "patch.pt")
    student = make_student(pixels, LastLayer(8, 5), tmp_path / "patch.pt")
    assert torch.equal(student.encoder.backbone.cls_token, pixels.backbone.cls_token)


def test_there_is_no_standard_without_statistics():
    with pytest.raises(BundleError, match="no tokens to do it by"):
        make_student(_encoder(), LastLayer(8, 5), standardize_tokens=True)
