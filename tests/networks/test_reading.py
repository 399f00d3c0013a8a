"""Reading weight files: what is understood, what is refused, and how that is said."""

import hashlib
import os

import hipt_files
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from bundle.core import BundleError
from bundle.networks import is_torchscript, read_weights, sha256_of
from bundle.networks.weights_reading import check_archive


class _Trap:
    """Would make a folder if it were unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (self.path,))


def test_dino_checkpoints_are_read(tmp_path):
    """A checkpoint with an argparse.Namespace inside is read although nothing is unpickled."""
    saved = hipt_files.save_checkpoint(tmp_path / "a.pth", hipt_files.region_backbone(32, 1, 8), hipt_files.head(32))
    read = read_weights(tmp_path / "a.pth")
    assert read["args"].arch == "vit_small" and read["epoch"] == 100
    torch.testing.assert_close(read["teacher"], saved["teacher"])


def test_old_format_is_read(tmp_path):
    """Files from before PyTorch 1.6, which are no zip archives, are read, too."""
    torch.save({"w": torch.arange(3)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert read_weights(tmp_path / "old.pth")["w"].tolist() == [0, 1, 2]


def test_safetensors_are_read(tmp_path):
    """The same tensors come out of a safetensors file; a broken one is named."""
    save_file({"w": torch.arange(3)}, tmp_path / "a.safetensors")
    assert read_weights(tmp_path / "a.safetensors")["w"].tolist() == [0, 1, 2]
    (tmp_path / "b.safetensors").write_bytes(b"nonsense")
    with pytest.raises(BundleError, match="b.safetensors is not a readable safetensors file"):
        read_weights(tmp_path / "b.safetensors")


def test_code_is_refused_and_not_run(tmp_path):
    """A file that would run code is refused by the name of its object, and the code does not run."""
    torch.save({"teacher": {"w": torch.zeros(1)}, "x": _Trap(str(tmp_path / "sprung"))}, tmp_path / "trap.pt")
    with pytest.raises(BundleError, match="trap.pt was refused: it holds an object of type posix.mkdir"):
        read_weights(tmp_path / "trap.pt")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("keep", [0, 1, 100, 700])
def test_half_a_file_is_no_file(tmp_path, keep):
    """A file cut anywhere is an error that says so, never a traceback from within torch."""
    torch.save({"w": torch.zeros(200)}, tmp_path / "whole.pt")
    (tmp_path / "half.pt").write_bytes((tmp_path / "whole.pt").read_bytes()[:keep])
    with pytest.raises(BundleError, match="half.pt cannot be read as weights"):
        read_weights(tmp_path / "half.pt")


def test_a_flipped_bit_is_found_wherever_it_changes_a_value(tmp_path):
    """torch reads on: 55 of 60 flips in a model.pt were taken for its weights."""
    random, path = np.random.default_rng(0), tmp_path / "model.pt"
    weights = {name: torch.randn(64) for name in "abc"}
    torch.save(weights, path)
    whole, n_named = path.read_bytes(), 0
    for place in random.integers(0, len(whole), 60).tolist():
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << random.integers(8)]) + whole[place + 1 :])
        try:
            torch.testing.assert_close(read_weights(path), weights, rtol=0, atol=0)
        except BundleError as error:
            assert "model.pt" in str(error)
            n_named += 1
    assert n_named > 10
    place = whole.index(weights["a"].numpy().tobytes())
    path.write_bytes(whole[:place] + b"\0" + whole[place + 1 :])
    with pytest.raises(BundleError, match="model.pt is damaged: .* is not what was saved"):
        read_weights(path)


def test_a_file_without_checksums_is_read(tmp_path):
    """torch can be told to write none."""
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"w": torch.arange(9)}, tmp_path / "a.pt")
    finally:
        torch.serialization.set_crc32_options(before)
    assert read_weights(tmp_path / "a.pt")["w"].tolist() == list(range(9))


def test_a_damaged_program_is_found(tmp_path):
    """A patch encoder in TorchScript: a flipped bit in its weights."""
    layer = nn.Linear(64, 64)
    torch.jit.save(torch.jit.script(layer), tmp_path / "program.pt")
    whole = (tmp_path / "program.pt").read_bytes()
    place = whole.index(layer.weight.detach().numpy().tobytes()) + 100
    check_archive(tmp_path / "program.pt")
    (tmp_path / "program.pt").write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    with pytest.raises(BundleError, match="program.pt is damaged"):
        check_archive(tmp_path / "program.pt")


def test_other_things_are_named(tmp_path):
    """A missing file, a folder, a bare tensor and a TorchScript program: each is called what it is."""
    with pytest.raises(BundleError, match="nothing.pt does not exist"):
        read_weights(tmp_path / "nothing.pt")
    with pytest.raises(BundleError, match="is a folder"):
        read_weights(tmp_path)
    torch.save(torch.zeros(2), tmp_path / "tensor.pt")
    with pytest.raises(BundleError, match="holds a Tensor, not a dictionary"):
        read_weights(tmp_path / "tensor.pt")
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "program.pt")
    assert is_torchscript(tmp_path / "program.pt") and not is_torchscript(tmp_path / "tensor.pt")
    with pytest.raises(BundleError, match="TorchScript program"):
        read_weights(tmp_path / "program.pt")


def test_sha256(tmp_path):
    """The digest is that of the file's bytes."""
    (tmp_path / "a").write_bytes(b"abc" * 100000)
    assert sha256_of(tmp_path / "a") == hashlib.sha256(b"abc" * 100000).hexdigest()
