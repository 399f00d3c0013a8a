"""Patch encoders that are not what they should be: each is told at once, with what to do."""

import logging

import hipt_files
import pytest
import torch
from encoder_files import HALF, IMAGENET, own_file, program
from safetensors.torch import save_file

from bundle.core import BundleError
from bundle.networks import contract_of, load_patch_encoder, weights_file

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935\nsize 1213000000\n"


def test_weights_of_another_architecture_than_the_name_says(tmp_path):
    """By its own words or by HIPT's file name, a network of another size is none of that name."""
    small, large = hipt_files.patch_backbone(64, 1), hipt_files.patch_backbone()
    hipt_files.save_checkpoint(tmp_path / "vit256_small_dino.pth", small, hipt_files.head(64))
    with pytest.raises(BundleError, match="is not hipt: its weights have dim 64, hipt has 384, depth 1, hipt has 12"):
        load_patch_encoder(tmp_path / "vit256_small_dino.pth")
    save_file(large, tmp_path / "weights.safetensors")
    with pytest.raises(
        BundleError, match=r"not the weights of uni, .*missing: blocks.*in the file, \[1, 1, 1024\] here"
    ):
        load_patch_encoder(tmp_path / "weights.safetensors", 224, encoder="uni")


def test_another_dimension_than_the_contract(tmp_path):
    """A program that is called UNI2-h and gives 12 values a patch is something else."""
    with pytest.raises(BundleError, match=r"gives 12 values a patch, uni2-h gives 1536: .*--patch_encoder"):
        load_patch_encoder(program(tmp_path / "theirs.pt"), 224, encoder="uni2-h")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "<!DOCTYPE html><html><body>Access to model MahmoodLab/UNI is restricted",
            "web page.*accept the model's license",
        ),
        ("Access to model MahmoodLab/UNI is restricted.", "web page or a server's answer"),
        ('{"error":"Repository is gated"}', "web page or a server's answer"),
        (LFS, "pointer of git-lfs.*git lfs pull"),
    ],
)
@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors", "encoder.pt"])
def test_a_placeholder_in_place_of_weights(tmp_path, text, said, name):
    """What a license gate or git left there is named, whatever the file is called, in a folder, too."""
    (tmp_path / name).write_text(text)
    for path in (tmp_path / name, tmp_path):
        with pytest.raises(BundleError, match=f"{name} .*{said}"):
            load_patch_encoder(path, encoder="uni")


def test_a_snapshot_with_links_that_lead_nowhere(tmp_path):
    """A hub's cache that was copied without its blobs; with them its folder is enough, and says which model it is."""
    cache = tmp_path / "models--mahmoodlab--hipt"
    (cache / "snapshots" / "abc").mkdir(parents=True)
    (cache / "blobs").mkdir()
    link = cache / "snapshots" / "abc" / "model.safetensors"
    link.symlink_to("../../blobs/1234")
    for path in (cache, link.parent, link):
        with pytest.raises(BundleError, match=r"links that lead nowhere: .*model.safetensors -> .*1234.*cp -rL"):
            load_patch_encoder(path)
    save_file(hipt_files.patch_backbone(), cache / "blobs" / "1234")
    for path in (cache, link.parent, link):
        assert weights_file(path) == link and contract_of(path).name == "hipt"


def test_a_folder_with_several_files_or_none(tmp_path):
    """Which one is asked; weights in parts are refused; a folder called "uni" says nothing of somebody's program."""
    folder = tmp_path / "uni"
    folder.mkdir()
    with pytest.raises(BundleError, match="has 0 files of weights"):
        load_patch_encoder(folder)
    for name in ("a.pt", "b.pt"):
        own_file(folder / name)
    with pytest.raises(BundleError, match=r"has 2 files of weights \(a.pt, b.pt\)"):
        load_patch_encoder(folder)
    (folder / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(BundleError, match="cut into 2 parts"):
        load_patch_encoder(folder)
    assert load_patch_encoder(folder / "a.pt", 16).contract.name == "stage one"
    program(folder / "theirs.pt")
    with pytest.raises(BundleError, match="nobody says which mean and std"):
        load_patch_encoder(folder / "theirs.pt", 16)


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("one size of batch", "two patches at once, but not one: .*one size of batch.*Export it"),
        ("one at a time", "one patch, but not two at once: .*one size of batch.*Export it"),
        ("gpu", "runs on a GPU alone .*Export it on the CPU"),
        ("nan", "not finite.*weights are broken"),
    ],
)
def test_programs_with_trouble(tmp_path, trouble, said):
    """One batch size only, a device written into it, NaN: found before a slide is read."""
    if trouble == "gpu" and torch.cuda.is_available():
        pytest.skip("there is a GPU, on which it runs")
    with pytest.raises(BundleError, match=said):
        load_patch_encoder(program(tmp_path / "theirs.pt", trouble), 32, **HALF)


def test_resolutions_beside_the_training(tmp_path, caplog):
    """Outside the range is warned of and recorded, beyond twice refused; what counts is what the network sees.

    The um/px that are advised are those of the patches: for scaled ones they were once those that the network sees.
    """
    path = own_file(tmp_path / "own.pt", name="stage one", input_px=16, mpp=[0.5, 1.0])
    with caplog.at_level(logging.WARNING):
        for mpp, patch_size in ((0.5, 16), (1.0, 16), (0.25, 32), (0.5, 18), (None, 16)):
            load_patch_encoder(path, patch_size, mpp=mpp)
        assert caplog.text == ""
        assert load_patch_encoder(path, 16, mpp=0.3).contract.record(16)["encoder_mpp"] == [0.5, 1.0]
    assert "was trained at 0.5 to 1 um/px and would see 0.3" in caplog.text
    for mpp, patch_size, said in (
        (0.2, 16, "0.2 .*at 0.5 um"),
        (2.1, 16, "2.1 .*at 1 um"),
        (1.1, 32, "2.2 .*scaled.*at 0.5"),
    ):
        with pytest.raises(BundleError, match=f"would see {said}"):
            load_patch_encoder(path, patch_size, mpp=mpp)


def test_numbers_that_are_none(tmp_path):
    """Two channels, an sd of 0, pixels in [0, 255], half a pixel: refused with the name of the flag."""
    for given, said in (
        ({**IMAGENET, "mean": [0.5, 0.5]}, "patch_mean"),
        ({**IMAGENET, "std": [0.5, 0, 0.5]}, "patch_std"),
        ({"mean": 127.5, "std": 0.5}, "patch_mean"),
        ({**IMAGENET, "input_px": 8.5}, "patch_input_px"),
    ):
        with pytest.raises(BundleError, match=said):
            load_patch_encoder(own_file(tmp_path / "own.pt"), 16, **given)
