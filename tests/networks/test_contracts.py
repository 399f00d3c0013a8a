"""A patch encoder's pixels are those of its contract: by its file, by a name, by numbers; never by a guess."""

import hipt_files
import numpy as np
import pytest
import torch
import yaml
from encoder_files import IMAGENET, own_file, program
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from bundle.core import BundleError, contract_difference, save_atomically
from bundle.networks import (
    VIT_ARCHITECTURES,
    EncoderContract,
    PatchTokenizer,
    build_vit_variant,
    contract_of,
    load_patch_encoder,
    named_contract,
    registry,
)
from bundle.networks.scaling import middle, scaled

PATCHES = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def pillow(patch, side, how):
    """A patch [3, h, w] scaled by Pillow, as published transforms do."""
    picture = Image.fromarray(patch.permute(1, 2, 0).numpy())
    filters = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
    return np.asarray(picture.resize((side, side), filters[how])).transpose(2, 0, 1)


def test_a_program_without_a_contract_is_refused(tmp_path):
    """TorchScript silently got ImageNet's mean and sd; now they are asked for, with the flags."""
    path = program(tmp_path / "theirs.pt")
    for given in ({}, {"mean": 0.5}, {"input_px": 224}):
        with pytest.raises(BundleError, match="--patch_mean '.*--patch_std '.*--patch_input_px 224.*--patch_encoder"):
            load_patch_encoder(path, 32, **given)


@pytest.mark.parametrize("half", [0.5, [0.5, 0.5, 0.5], "[0.5, .5, 0.5]", "0.5"])
def test_given_numbers_are_a_transform_by_hand(tmp_path, half):
    """With mean and sd .5, in whatever form, tokens are those of x / 127.5 - 1, to 1e-5."""
    encoder = load_patch_encoder(program(tmp_path / "theirs.pt"), 32, mean=half, std=half)
    by_hand = [
        [(PATCHES[i, c].double() / 127.5 - 1).view(2, 16, 2, 16).mean((1, 3)) for c in range(3)] for i in range(3)
    ]
    expected = torch.stack([torch.cat([quarters.flatten() for quarters in rows]) for rows in by_hand])
    torch.testing.assert_close(encoder(PATCHES).double(), expected, atol=1e-5, rtol=0)
    wrong = load_patch_encoder(tmp_path / "theirs.pt", 32, **IMAGENET)
    assert (wrong(PATCHES) - expected).abs().max() > 0.1


def test_bare_weights_are_refused_too(tmp_path):
    """A state dict under DINO's names may be anybody's: it once got ImageNet's; a name or numbers make it good."""
    save_file(hipt_files.patch_backbone(64, 1), tmp_path / "vit.safetensors")
    with pytest.raises(BundleError, match="nobody says which mean and std"):
        load_patch_encoder(tmp_path / "vit.safetensors", 32)
    save_atomically({"teacher": hipt_files.patch_backbone(384, 12)}, tmp_path / "weights.pt")
    assert load_patch_encoder(tmp_path / "weights.pt", encoder="HIPT").contract == named_contract("hipt")


@pytest.mark.parametrize("name", ["vit256_small_dino.pth", "renamed.pth"])
def test_hipt_is_known(tmp_path, name):
    """By its name or, renamed, by the training script's arguments and its size: ImageNet's numbers, 256 px."""
    hipt_files.save_checkpoint(tmp_path / name, hipt_files.patch_backbone(), hipt_files.head(384))
    found = contract_of(tmp_path / name)
    assert found == named_contract("hipt") and found.input_px == 256 and list(found.mean) == IMAGENET["mean"]


def test_our_own_files_describe_themselves(tmp_path):
    """Files of stage one of before have mean and sd; new ones say their px and um/px, and other patches are scaled."""
    old, new = own_file(tmp_path / "old.pt"), own_file(tmp_path / "new.pt", name="stage one", input_px=16, mpp=2.0)
    assert load_patch_encoder(old, 32).contract.input_px is None and contract_of(new).mpp == (2.0, 2.0)
    found = contract_of(new).record(32)
    assert found["patch_mean"] == [0.5] * 3 and found["patch_input_px"] == 16
    assert found["patch_interpolation"] == "bicubic" and "patch_interpolation" not in contract_of(new).record(16)
    small = torch.stack([torch.from_numpy(pillow(patch, 16, "bicubic").copy()) for patch in PATCHES])
    torch.testing.assert_close(load_patch_encoder(new, 32)(PATCHES), load_patch_encoder(new, 16)(small))
    with pytest.raises(BundleError, match="describes itself .*patch_encoder says it is uni"):
        load_patch_encoder(new, 16, encoder="uni")


@pytest.mark.parametrize("how", ["bicubic", "bilinear"])
@pytest.mark.parametrize("sides", [(256, 224), (64, 224), (256, 256), (33, 16), (16, 33), (512, 224), (255, 252)])
def test_patches_are_scaled_as_pillow_scales(how, sides):
    """Every value is Pillow's: what published transforms give is given to the bit."""
    patches = torch.randint(0, 256, (2, 3, sides[0], sides[0]), dtype=torch.uint8)
    expected = np.stack([pillow(patch, sides[1], how) for patch in patches])
    np.testing.assert_array_equal(scaled(patches.float(), sides[1], how).numpy(), expected)


def test_the_middle_is_cut(tmp_path):
    """Prov-GigaPath's 224 of 256 px: 16 px less on each side, with and without scaling before."""
    contract = named_contract("prov-gigapath")
    rows = []
    tokenizer = PatchTokenizer(nn.Identity(), 3, contract=contract)
    tokenizer.backbone.register_forward_hook(lambda module, given, found: rows.append(found))
    patches = torch.randint(0, 256, (1, 3, 512, 512), dtype=torch.uint8)
    small = torch.from_numpy(pillow(patches[0], 256, "bicubic").copy())[None]
    for given in (small, patches):
        tokenizer(given)
        mean, std = (torch.tensor(IMAGENET[name]).view(3, 1, 1) for name in ("mean", "std"))
        expected = (small[:, :, 16:240, 16:240] / 255 - mean) / std
        torch.testing.assert_close(rows[-1], expected, atol=1e-5, rtol=0)
    assert middle(small.float(), 224).shape == (1, 3, 224, 224)


def test_the_fingerprint_is_of_what_changes_tokens():
    """Each number that changes tokens changes it; a license does not; a scaling that does not happen does not."""
    contract = named_contract("uni")
    first = contract.at(256).fingerprint
    changes = {"input_px": 240, "mean": (0.5,) * 3, "std": (0.5,) * 3, "interpolation": "bicubic", "output": "pooled"}
    for name, value in {**changes, "dim": 3, "resize_px": 256}.items():
        assert EncoderContract(**{**vars(contract), name: value}).at(256).fingerprint != first, name
    assert EncoderContract(**{**vars(contract), "license": "MIT", "gated": False}).at(256).fingerprint == first
    other = EncoderContract(**{**vars(contract), "interpolation": "bicubic"})
    assert other.at(224).fingerprint == contract.at(224).fingerprint


def test_a_file_of_ones_own_extends_the_registry(tmp_path):
    """Ten lines make a model known, by name and by its file's; what nobody knows is asked for, and a typo named."""
    path = own_file(tmp_path / "x.pt")
    bare = torch.load(path)["teacher"]
    torch.save(bare, tmp_path / "ours.pth")
    entry = {**IMAGENET, "input_px": 16, "output": "class", "dim": 12, "files": ["ours.pth"]}
    (tmp_path / "my.yaml").write_text(yaml.safe_dump({"Ours": entry}))
    assert load_patch_encoder(tmp_path / "ours.pth", 16, encoders_file=tmp_path / "my.yaml").contract.name == "Ours"
    with pytest.raises(BundleError, match=r"takes 16 px, patches have 32 px.*--patch_size 16"):
        load_patch_encoder(tmp_path / "ours.pth", 32, encoder="ours", encoders_file=tmp_path / "my.yaml")
    with pytest.raises(BundleError, match="no encoder is called 'unni'; did you mean uni"):
        load_patch_encoder(tmp_path / "ours.pth", 16, encoder="unni")
    for wrong, said in (({"meen": 1}, "meen.*mean"), ({"std": 0}, "std of encoder Ours"), (3, "Ours of")):
        (tmp_path / "my.yaml").write_text(yaml.safe_dump({"Ours": wrong}))
        with pytest.raises(BundleError, match=said):
            registry(tmp_path / "my.yaml")


def test_numbers_overrule_a_contract_aloud(tmp_path, caplog):
    """Who says other numbers than the file gets them, and reads which they replace."""
    found = load_patch_encoder(own_file(tmp_path / "own.pt"), 16, std=0.5)
    assert found.std == (0.5, 0.5, 0.5) and "[0.25, 0.25, 0.25], which stage one was trained on" in caplog.text


def test_what_is_not_known_is_not_guessed(tmp_path):
    """CONCH's numbers are its own code's: with its name alone they are asked for."""
    save_atomically({"teacher": hipt_files.patch_backbone(512, 1)}, tmp_path / "conch.pt")
    with pytest.raises(BundleError, match="nobody says which mean and std"):
        load_patch_encoder(tmp_path / "conch.pt", 32, encoder="conch")


def test_every_entry_is_whole():
    """The registry reads; mean and sd come together and with px; repositories are no two entries'."""
    found = registry()
    for name, contract in found.items():
        assert (contract.mean is None) == (contract.std is None) == (contract.input_px is None), name
        assert contract.dim and contract.output and contract.repository, name
    assert len({contract.repository for contract in found.values()}) == len(found) > 25


def test_architectures_and_contracts_agree():
    """Every architecture has its contract; both say the same output, and values that it has."""
    for name, architecture in VIT_ARCHITECTURES.items():
        contract, output = registry()[name], architecture.get("output", "class")
        assert (contract.output, contract.dim) == (output, architecture["dim"] * (2 if "mean" in output else 1)), name


def test_weights_alone_become_the_network_of_their_name(tmp_path):
    """A small ViT with registers under timm's names, known by a file of one's own: its tokens of the pixels by hand."""
    whole = {"image_size": 32, "patch_size": 8, "dim": 12, "depth": 2, "n_heads": 2, "mlp_hidden": 24}
    whole |= {"n_registers": 2, "layer_scale": True, "positions": "patches"}
    network = build_vit_variant(whole).eval()
    weights = {name.replace("registers", "reg_token"): t.normal_(0, 0.1) for name, t in network.state_dict().items()}
    for n in "12":
        weights = {name.replace(f"scale{n}", f"ls{n}.gamma"): tensor for name, tensor in weights.items()}
    (tmp_path / "small").mkdir()
    save_file(weights, tmp_path / "small" / "model.safetensors")
    entry = {"mean": 0.5, "std": 0.5, "output": "class", "dim": 12, "repository": "us/small", "architecture": whole}
    (tmp_path / "my.yaml").write_text(yaml.safe_dump({"ours": entry}))
    encoder = load_patch_encoder(tmp_path / "small", 32, encoders_file=tmp_path / "my.yaml")
    torch.testing.assert_close(encoder(PATCHES), network(PATCHES / 127.5 - 1).detach(), atol=1e-5, rtol=0)
    assert encoder.name == "small" and encoder.contract.name == "ours"


def test_files_of_before_may_stand_beside_the_same():
    """What older files have, mean and sd or nothing, which was ImageNet's, is compared with a new run's contract."""
    colors = {name: tuple(values) for name, values in IMAGENET.items()}
    new = EncoderContract("x", **colors, output="class", interpolation="bicubic")
    old = {"normalization_mean": IMAGENET["mean"], "normalization_std": IMAGENET["std"], "patch_size_px": 256}
    for found in (old, {"patch_size_px": 256}, {}):
        assert (
            contract_difference(found, new.record(256)) is None and contract_difference(new.record(256), found) is None
        )
    other = EncoderContract("x", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    assert contract_difference({}, other.record(256)) is not None
    assert contract_difference({}, {}) is None and contract_difference(old, {}) is None
    differs = contract_difference(old, other.record(256))
    assert "patch_mean [0.485" in differs[0] and "patch_mean [0.5, 0.5, 0.5]" in differs[1]
    smaller = EncoderContract(**{**vars(new), "input_px": 224})
    assert contract_difference(old, smaller.record(256)) == ("patch_input_px 256", "patch_input_px 224")
    assert contract_difference(old, {**old, "normalization_mean": [0.5] * 3}) is not None
