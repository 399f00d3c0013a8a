"""Patch encoders as ONNX files: the same tokens as by TorchScript, under the same contracts, with the same refusals."""

import io
import pickle
import sys

import pytest
import torch
from encoder_files import HALF, onnx_program, program

from bundle.core import BundleError
from bundle.networks import contract_of, load_patch_encoder, read_weights, sha256_of
from bundle.networks.onnx_encoder import OnnxEncoder

runtime = pytest.importorskip("onnxruntime", reason="no onnxruntime: ONNX encoders NOT tried")
PATCHES = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [("b", 3, 32, 32), (None, 3, None, None), ("b", "c", "h", "w")])
def test_tokens_are_those_of_torchscript(tmp_path, shape):
    """By whatever name the input goes, in batches of 5 and of 1, with mean and sd as given: equal to 1e-5."""
    ours = load_patch_encoder(onnx_program(tmp_path / "theirs.onnx", shape, name="pixel_values"), 32, **HALF)
    theirs = load_patch_encoder(program(tmp_path / "theirs.pt"), 32, **HALF)
    torch.testing.assert_close(ours(PATCHES), theirs(PATCHES), atol=1e-5, rtol=0)
    torch.testing.assert_close(ours(PATCHES[:1]), theirs(PATCHES[:1]), atol=1e-5, rtol=0)
    assert ours.dim == 12 and ours.contract.output == "file" and ours.name == "theirs"
    assert contract_of(tmp_path / "theirs.onnx", 32, **HALF) == ours.contract


def test_a_contract_is_asked_for(tmp_path):
    """As of TorchScript; with a name its mean and sd hold, and another length than its tokens' is refused."""
    path = onnx_program(tmp_path / "theirs.onnx")
    with pytest.raises(BundleError, match="nobody says which mean and std.*--patch_mean '.*--patch_std '"):
        load_patch_encoder(path, 32)
    free = onnx_program(tmp_path / "free.onnx", ("b", 3, "h", "w"))
    with pytest.raises(BundleError, match="gives 588 values a patch, midnight gives 3072"):
        load_patch_encoder(free, 224, encoder="midnight")


def test_px_are_compared_with_the_file(tmp_path):
    """A file for 32 px takes no other patches, but those that its contract scales to 32."""
    path = onnx_program(tmp_path / "theirs.onnx")
    with pytest.raises(BundleError, match="for patches of 32 x 32 px and would get 64 px.*--patch_input_px 32"):
        load_patch_encoder(path, 64, **HALF)
    assert load_patch_encoder(path, 64, input_px=32, **HALF).dim == 12
    with pytest.raises(BundleError, match="exported for patches of 32 x 32 px and would get 224 px"):
        load_patch_encoder(path, 256, encoder="uni")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"shape": (1, 3, 32, 32)}, r"takes pixels \[1, 3, 32, 32\].*one size of batch, 1. .*dynamic_axes"),
        ({"shape": ("b", 32, 32, 3)}, r"takes pixels \['b', 32, 32, 3\].*channels first"),
        ({"outputs": 2}, r"has 2 outputs \(tokens, pooled\).*Export the one output"),
        ({"trouble": "nan"}, "not finite.*weights are broken"),
        ({"trouble": "foreign operator"}, "cannot be loaded as ONNX .*operators of its own"),
    ],
)
def test_files_with_trouble(tmp_path, options, said):
    """One batch size, channels last, two outputs, NaN, operators that nobody knows: told before a slide is read."""
    with pytest.raises(BundleError, match=said):
        load_patch_encoder(onnx_program(tmp_path / "theirs.onnx", **options), 32, **HALF)


def test_an_encoder_that_gives_more_than_a_vector(tmp_path):
    """A grid of features is no token: the shape is told."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(onnx_program(tmp_path / "theirs.onnx", outputs=2))
    del model.graph.output[0]
    onnx.save(model, tmp_path / "grid.onnx")
    with pytest.raises(BundleError, match=r"one vector a patch, shape \[2, D\].*gives \[2, 3, 2, 2\]"):
        load_patch_encoder(tmp_path / "grid.onnx", 32, **HALF)


def test_weights_beside_the_file_are_part_of_it(tmp_path):
    """What torch.onnx.export writes: the hash is of both, and without the second file the encoder is refused."""
    path = onnx_program(tmp_path / "theirs.onnx", beside=True)
    first, tokens = sha256_of(path), load_patch_encoder(path, 32, **HALF)(PATCHES)
    (tmp_path / "a").write_text("another file, whose name stands in the graph by chance")
    data = tmp_path / "theirs.onnx.data"
    assert sha256_of(path) == first != sha256_of(onnx_program(tmp_path / "whole.onnx"))
    data.write_bytes(torch.full((data.stat().st_size // 4,), 2.0).numpy().tobytes())
    assert sha256_of(path) != first
    torch.testing.assert_close(load_patch_encoder(path, 32, **HALF)(PATCHES), 2 * tokens)
    data.unlink()
    with pytest.raises(BundleError, match="cannot be loaded as ONNX .*file of weights that belongs beside it"):
        load_patch_encoder(path, 32, **HALF)


class Trap:
    """An object that prints when it is unpickled."""

    def __reduce__(self):
        return print, ("unpickled",)


def test_nothing_is_unpickled(tmp_path, capsys):
    """A pickle, or a file of torch.save, that is called .onnx is no ONNX, and is not run."""
    stored = io.BytesIO()
    torch.save({"a": Trap()}, stored)
    for contents in (pickle.dumps(Trap()), stored.getvalue(), b""):
        (tmp_path / "theirs.onnx").write_bytes(contents)
        with pytest.raises(BundleError, match="cannot be loaded as ONNX"):
            load_patch_encoder(tmp_path / "theirs.onnx", 32, **HALF)
    assert "unpickled" not in capsys.readouterr().out
    with pytest.raises(BundleError, match="an ONNX program, not a file of weights"):
        read_weights(onnx_program(tmp_path / "theirs.onnx"))


def test_a_folder_with_an_onnx_file(tmp_path):
    """A download is named as a folder, weights beside the file included; a page in its place is told."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    onnx_program(folder / "model.onnx", beside=True)
    assert load_patch_encoder(folder, 32, **HALF).name == "theirs"
    (folder / "model.onnx").write_text("Access to model x/y is restricted.")
    with pytest.raises(BundleError, match="web page or a server's answer"):
        load_patch_encoder(folder, 32, **HALF)


def test_without_onnxruntime_the_extra_is_named(tmp_path, monkeypatch):
    """It is no requirement of the package: whoever lacks it reads how to install it."""
    path = onnx_program(tmp_path / "theirs.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BundleError, match=r"needs onnxruntime: pip install 'pathology-slpd\[onnx\]'.*onnxruntime-gpu"):
        load_patch_encoder(path, 32, **HALF)


def test_where_it_runs(tmp_path, monkeypatch, caplog):
    """On a CPU, and on a GPU where onnxruntime has CUDA; where it has none that is said, and the CPU does it."""
    path = onnx_program(tmp_path / "theirs.onnx")
    cpu, cuda = "CPUExecutionProvider", "CUDAExecutionProvider"
    assert OnnxEncoder(path).providers == [cpu] and not load_patch_encoder(path, 32, amp=True, **HALF).amp
    monkeypatch.setattr(runtime, "get_available_providers", lambda: [cpu])
    assert OnnxEncoder(path, "cuda:0").providers == [cpu] and "pip install onnxruntime-gpu" in caplog.text
    asked = []
    made = runtime.InferenceSession
    monkeypatch.setattr(runtime, "get_available_providers", lambda: [cuda, cpu])
    monkeypatch.setattr(
        runtime, "InferenceSession", lambda *given, providers: asked.append(providers) or made(*given, providers=[cpu])
    )
    OnnxEncoder(path, "cuda:0")
    assert asked == [[cuda, cpu]]
