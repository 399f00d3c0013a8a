"""Weights that were trained on centered tokens say so, and are given such tokens or refused."""

import pytest
import torch

from bundle.core import BundleError
from bundle.networks import (
    Encoder,
    LastLayer,
    ProjectionHead,
    RegionViT,
    load_region_encoder,
    make_region_encoder,
    make_student,
    read_weights,
    split_state,
)
from bundle.training import ExportHandler


def encoder(center_tokens=None):
    return Encoder(RegionViT(in_dim=6, dim=32, depth=1, n_heads=1), ProjectionHead(32, 16, 8), False, center_tokens)


def write(path, center_tokens):
    torch.save(encoder(center_tokens).state_dict(), path)
    return path


@pytest.mark.parametrize("center_tokens", [None, "slide"])
def test_a_file_says_what_its_encoder_takes(tmp_path, center_tokens):
    """Through a state dict, a checkpoint's prefixes and back; files of encoders that take tokens as they are hold what
    they held before."""
    path = write(tmp_path / "model.pt", center_tokens)
    assert ("center_tokens" in read_weights(path)) == (center_tokens is not None)
    made = load_region_encoder(path, takes_centered=True)
    assert made.takes_centered == make_region_encoder(path).takes_centered == (center_tokens is not None)
    other = encoder(None if center_tokens else "slide")
    other.load_state_dict(made.state_dict())
    assert other.takes_centered == made.takes_centered
    state = {f"encoder.{name}": value for name, value in made.state_dict().items()}
    torch.save({"teacher": state}, tmp_path / "last.pt")
    assert load_region_encoder(tmp_path / "last.pt", takes_centered=True).takes_centered == made.takes_centered


def test_who_cannot_center_is_refused(tmp_path):
    """A slide's mean is not known to who reads region by region (Deploy): an error instead of wrong embeddings."""
    path = write(tmp_path / "model.pt", "slide")
    with pytest.raises(BundleError, match="less the mean of their slide.*configs/inference.yaml"):
        load_region_encoder(path)
    assert not load_region_encoder(write(tmp_path / "other.pt", None)).takes_centered


@pytest.mark.parametrize(("trained", "wanted"), [(None, "slide"), ("slide", None)])
def test_training_goes_on_with_the_same_tokens_only(tmp_path, trained, wanted):
    """Weights of the other kind are an error that names the setting; those of the same kind are taken."""
    path = write(tmp_path / "model.pt", trained)
    with pytest.raises(BundleError, match=f"center_tokens is {wanted or 'null'}: set it to {trained or 'null'}"):
        make_student(encoder(wanted), LastLayer(8, 10), path)
    assert make_student(encoder(trained), LastLayer(8, 10), path).encoder.takes_centered == (trained is not None)


def test_an_unknown_word_is_refused():
    """With what there is."""
    with pytest.raises(BundleError, match="center_tokens is 'cohort'"):
        encoder("cohort")


def test_scripted_encoders_work_as_before():
    """TorchScript takes an encoder of either kind; what it is given is for others to center."""
    made, image = encoder("slide").eval(), torch.randn(2, 6, 16, 16)
    torch.testing.assert_close(torch.jit.script(made)(image), made(image))


def test_the_note_beside_the_weights_says_it(tmp_path):
    """``center_tokens`` is in model.json where tokens were centered, and nowhere else."""
    for center_tokens in (None, "slide"):
        path = tmp_path / f"{center_tokens}.pt"
        about = {"mpp": 0.5, "center_tokens": center_tokens}
        ExportHandler(encoder(center_tokens), path, slides=["a"], about=about)(None)
        assert ('"center_tokens": "slide"' in path.with_suffix(".json").read_text()) == (center_tokens == "slide")


def test_an_untrained_encoder_of_the_same_sizes_is_of_the_same_kind(tmp_path, monkeypatch):
    """A package of weights that take centered tokens failed its own checks: ``monai.bundle.load`` builds this first."""
    path = write(tmp_path / "model.pt", "slide")
    monkeypatch.setattr("bundle.networks.region_encoder._OWN_WEIGHTS", path)
    made = make_region_encoder(tmp_path / "nowhere.pt")
    assert made.state_dict().keys() == split_state(read_weights(path))[0].keys()
