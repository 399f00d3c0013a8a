"""How slides are read for weights that say it themselves, and for those that do not."""

import pytest
from encoder_files import own_file, program
from region_models import write_encoder

from bundle.networks import STANDARD_READING, StatedReading, write_pretraining

NOTHING = dict.fromkeys(STANDARD_READING)


def reading(region=None, patch=None, encoder=None, **given):
    return StatedReading.of(region, patch, patch_encoder=encoder, **{**NOTHING, **given})


@pytest.fixture
def files(tmp_path):
    """A region encoder without a word beside it, and a patch encoder of stage one at 2 um/px and 16 px."""
    own = own_file(tmp_path / "patch_encoder.pt", name="stage one", input_px=16, mpp=2.0, dim=12)
    return write_encoder(tmp_path / "model.pt"), own


def test_the_first_who_says_it_counts(files):
    """A user before the region encoder before the patch encoder before the paper, value by value."""
    region, patch = files
    assert reading() == (0.5, 256, 16, False)
    assert reading(region, patch) == (2.0, 16, 16, False)
    write_pretraining(region, [], {"mpp": 1.0, "region_patches": 8, "encode_background": True})
    assert reading(region, patch) == (1.0, 16, 8, True)
    assert reading(region, patch, mpp=4, encode_background=False) == (4, 16, 8, False)


def test_what_is_said_of_other_weights_counts_for_nothing(files):
    """A .json that was left beside new weights is not theirs."""
    region, _ = files
    write_pretraining(region, [], {"mpp": 1.0})
    write_encoder(region, seed=1)
    assert reading(region) == (0.5, 256, 16, False)


@pytest.mark.parametrize(("name", "mpp"), [("uni", 0.5), ("hibou-b", 0.5), (None, 0.5)])
def test_published_encoders_say_um_px_alone(tmp_path, name, mpp):
    """Their patches of 256 px are scaled, as ever."""
    assert reading(None, program(tmp_path / "theirs.pt"), name) == (mpp, 256, 16, False)


def test_an_encoder_of_one_s_own_at_another_scale(tmp_path):
    """The um/px nearest to the usual ones within its range."""
    (tmp_path / "own.yaml").write_text("mine: {mean: 0.5, std: 0.5, mpp: [1.0, 2.0]}\n")
    path = program(tmp_path / "theirs.pt")
    assert StatedReading.of(None, path, patch_encoder="mine", encoders_file=tmp_path / "own.yaml").mpp == 1.0


def test_missing_and_broken_files_say_nothing(tmp_path):
    """Whatever loads them says what is wrong; tokens may be there, and then nobody needs them."""
    (tmp_path / "broken.pt").write_bytes(b"nothing")
    for path in (tmp_path / "none.pt", tmp_path / "broken.pt"):
        assert reading(tmp_path / "none.pt", path) == (0.5, 256, 16, False)
