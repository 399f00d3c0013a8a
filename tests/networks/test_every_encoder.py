"""Every model of the registry is loaded by its name, from files alone: nothing is fetched."""

import dataclasses
import socket
import urllib.request

import pytest
import torch
import yaml
from encoder_files import HALF, onnx_program, own_file
from safetensors.torch import save_file
from torch import nn
from vit_reference import FAMILIES, published, random_weights, shrunk

from bundle.core import SettingError
from bundle.networks import VIT_ARCHITECTURES, JoinedEncoders, PatchTokenizer, load_patch_encoder, registry

REGISTRY = registry()


class Means(nn.Module):
    """A program that gives ``dim`` values a patch."""

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.mean((1, 2, 3))[:, None].repeat(1, self.dim)


def entry_of(contract, architecture):
    """The model's entry, for a network of other sizes."""
    told = {field.name: getattr(contract, field.name) for field in dataclasses.fields(contract)}
    told = {name: list(value) if isinstance(value, tuple) else value for name, value in told.items() if name != "name"}
    return {**told, "dim": 24 if contract.output == "class+mean" else 12, "architecture": architecture}


def test_the_network_is_cut_off():
    """What the test below relies on: neither a socket nor a download gets anywhere."""
    for reach in (
        lambda: socket.create_connection(("127.0.0.1", 9)),
        lambda: socket.socket().connect(("127.0.0.1", 9)),
        lambda: urllib.request.urlopen("http://127.0.0.1:9/"),
    ):
        with pytest.raises(AssertionError, match="reached for the network"):
            reach()


@pytest.mark.parametrize("name", REGISTRY)
def test_loaded_by_its_name_without_the_network(tmp_path, name):
    """Weights in a folder that is called as the hub calls it, or a program that is named: tokens of a patch come."""
    contract = REGISTRY[name]
    side, patches = contract.input_px or 32, torch.zeros(2, 3, contract.input_px or 32, contract.input_px or 32)
    if name in VIT_ARCHITECTURES:
        folder = tmp_path / f"models--{contract.repository.replace('/', '--')}" / "snapshots" / "1"
        folder.mkdir(parents=True)
        architecture = shrunk(name)
        weights = published(random_weights(architecture), FAMILIES.get(name, "timm"))
        save_file({name: tensor.clone() for name, tensor in weights.items()}, folder / "model.safetensors")
        (tmp_path / "small.yaml").write_text(yaml.safe_dump({name: entry_of(contract, architecture)}))
        encoder = load_patch_encoder(folder, side, encoders_file=tmp_path / "small.yaml")
        assert encoder.contract.fingerprint != contract.fingerprint  # for the length of its tokens alone
        assert dataclasses.replace(encoder.contract, dim=contract.dim).fingerprint == contract.fingerprint
    else:
        torch.jit.save(torch.jit.script(Means(contract.dim)), tmp_path / "theirs.pt")
        numbers = HALF if contract.mean is None else {}
        encoder = load_patch_encoder(tmp_path / "theirs.pt", side, encoder=name, **numbers)
        assert encoder.dim == contract.dim
    tokens = encoder(patches.to(torch.uint8))
    assert encoder.contract.name == name and tokens.shape == (2, encoder.dim) and tokens.isfinite().all()


def test_other_files_are_loaded_without_the_network(tmp_path):
    """What stage one wrote, an ONNX file, and both joined."""
    onnx = load_patch_encoder(onnx_program(tmp_path / "theirs.onnx"), 32, **HALF)
    joined = JoinedEncoders([load_patch_encoder(own_file(tmp_path / "own.pt"), 32), onnx])
    assert joined(torch.zeros(2, 3, 32, 32, dtype=torch.uint8)).shape == (2, 24)


def test_a_joint_contract_is_of_all_parts_in_their_order():
    """Other pixels of either encoder, or the other order, make another fingerprint."""

    def fingerprint(*means):
        encoders = [PatchTokenizer(nn.Flatten(), 3, mean=(m,) * 3, sha256=str(i)) for i, m in enumerate(means)]
        return JoinedEncoders(encoders).contract.record(32)["encoder_contract"]

    assert fingerprint(0.5, 0.25) == fingerprint(0.5, 0.25)
    assert len({fingerprint(*means) for means in ((0.5, 0.25), (0.5, 0.5), (0.25, 0.25), (0.25, 0.5))}) == 4
    with pytest.raises(SettingError, match="encoders are joined that differ: got patch_encoder"):
        JoinedEncoders([PatchTokenizer(nn.Flatten(), 3)])
