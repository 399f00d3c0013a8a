"""The tokenizing config: what MONAI asks of an inference bundle, and the missing encoder as its first error."""

import numpy as np
import torch
from encoder_files import onnx_program, own_file, program
from inferences import found as embedded
from inferences import inference
from region_models import write_encoder
from tiny_slides import PATCH, write_slide
from workflows import refused, workflow

from bundle.networks import sha256_of
from bundle.storage import TokenDataset, TokenFile


def made(tmp_path, files=("tokenize.yaml",), **overrides):
    """The config, with mixins, over two tiny slides, initialized."""
    for name in ("a", "b"):
        write_slide(tmp_path / "slides" / f"{name}.tif", 160)
    ids = {"dataset_dir": tmp_path / "slides", "tokens_dir": tmp_path / "tokens", "output_dir": tmp_path / "out"}
    ids |= {"patch_encoder_ckpt": tmp_path / "encoder.pt", "mpp": 2.0, "patch_size": PATCH, "region_patches": 4}
    return workflow(*files, **{**ids, "min_tissue_patches": 2, "device": "cpu", "amp": "false", **overrides})


def test_the_config_runs(tmp_path):
    """check_properties finds nothing missing, and the run makes token files with the encoder's hash in them."""
    own_file(tmp_path / "encoder.pt")
    run = made(tmp_path)
    assert run.check_properties() == []
    run.run()
    tokens = TokenDataset(tmp_path / "tokens")
    assert tokens.slide_ids == ["a", "b"] and tokens.token_dim == 12 and "encoder sha256:" in tokens.encoder


def test_a_missing_encoder_comes_first(tmp_path):
    """Without weights the run ends with the ways out, before a slide is read or a folder made."""
    assert "there is no patch encoder" in refused(lambda: made(tmp_path).run())
    assert not (tmp_path / "tokens").exists() and not (tmp_path / "out").exists()


def test_a_compiled_encoder_gets_one_shape(tmp_path, monkeypatch):
    """It is compiled once, as all batches are full, the one that tries it included; its tokens are those of eager runs.
    A program is refused."""
    shapes = []

    def compiled(module, **given):
        assert given == {"dynamic": False, "options": {"freezing": True}}
        module.register_forward_pre_hook(lambda _, image: shapes.append((*image[0].shape, image[0].stride())))

    monkeypatch.setattr(torch.nn.Module, "compile", compiled)
    own_file(tmp_path / "encoder.pt")
    made(tmp_path, batch_size=24).run()
    assert not shapes
    made(tmp_path, batch_size=24, compile="true", tokens_dir=tmp_path / "compiled").run()
    assert len(shapes) > 2 and len(set(shapes)) == 1 and shapes[0][0] == 24
    for name in "ab":
        found, eager = (TokenFile(tmp_path / folder / f"{name}.h5").read() for folder in ("compiled", "tokens"))
        np.testing.assert_allclose(found, eager, atol=2e-3)
    program(tmp_path / "encoder.pt")
    own = {"patch_mean": [0.5] * 3, "patch_std": [0.5] * 3}
    said = refused(lambda: made(tmp_path, compile="true", overwrite="true", **own).run())
    assert "encoder is a program (TorchScript or ONNX), which is run as it is" in said


def test_two_encoders_are_joined(tmp_path):
    """D = 12 + 20: the values of the first encoder alone, then those of the second, each with its mean."""
    for name, dim, mean in (("encoder", 12, 0.5), ("second", 20, 0.25)):
        own_file(tmp_path / f"{name}.pt", dim, {"mean": [mean] * 3, "std": [0.5] * 3})
    both = ["tokenize.yaml", "two_encoders.yaml"]
    paths = [str(tmp_path / f"{name}.pt") for name in ("encoder", "second")]
    made(tmp_path, both, second_encoder_ckpt=paths[1], tokens_dir=str(tmp_path / "both")).run()
    made_ns = (tmp_path / "both" / "a.h5").stat().st_mtime_ns
    made(tmp_path, both, second_encoder_ckpt=paths[1], tokens_dir=str(tmp_path / "both")).run()
    assert (tmp_path / "both" / "a.h5").stat().st_mtime_ns == made_ns  # the same again keeps what is there
    for path, name in zip(paths, ("one", "two"), strict=True):
        made(tmp_path, patch_encoder_ckpt=path, tokens_dir=str(tmp_path / name)).run()
    joined, *alone = (TokenDataset(tmp_path / name) for name in ("both", "one", "two"))
    for slide in range(2):
        files = [TokenFile(tmp_path / name / f"{'ab'[slide]}.h5").read() for name in ("both", "one", "two")]
        np.testing.assert_array_equal(files[0], np.concatenate(files[1:], -1))
    assert joined.token_dim == 32 and joined.encoder.startswith("encoder+second sha256:")
    found = TokenFile(tmp_path / "both" / "a.h5").header.attributes
    assert found["patch_mean"] == [0.5] * 3 + [0.25] * 3 and found["patch_input_px"] == [PATCH, PATCH]
    assert all(f"sha256:{sha256_of(path)}" in found["encoder_parts"] for path in paths)
    assert len({found["encoder_contract"], *found["encoder_contract_parts"].split("; ")}) == 3
    weights = write_encoder(tmp_path / "model.pt", token_dim=32)
    inference(tmp_path / "both", tmp_path / "inferred", weights, n_prototypes=2, min_regions=1).run()
    told = embedded(tmp_path / "inferred", "a").attributes
    assert (told["encoder_parts"], told["encoder_contract"]) == (found["encoder_parts"], found["encoder_contract"])
    one_file_twice = {"second_encoder_ckpt": paths[0]}
    tokens_of_one = {"second_encoder_ckpt": paths[1], "tokens_dir": str(tmp_path / "one")}
    for given, said in (
        (one_file_twice, "joined that differ: got encoder"),
        (tokens_of_one, "a.h5 was made with dim 12"),
    ):
        assert said in refused(lambda: made(tmp_path, both, **given).run())  # noqa: B023


def test_an_onnx_file_tokenizes_as_torchscript_does(tmp_path):
    """One encoder in both forms, patches scaled to its 32 px: the same tokens, and files say what was done."""
    own = {"patch_mean": "0.5", "patch_std": "[0.5, 0.25, 0.5]", "patch_input_px": 32}
    for path in (onnx_program(tmp_path / "theirs.onnx"), program(tmp_path / "theirs.pt")):
        folder = tmp_path / path.suffix
        made(tmp_path, patch_encoder_ckpt=str(path), tokens_dir=str(folder), dtype="float32", **own).run()
        files = [TokenFile(folder / f"{name}.h5") for name in "ab"]
        found = files[0].header
        assert found.encoder == f"theirs sha256:{sha256_of(path)}" and found.attributes["patch_input_px"] == 32
        assert found.attributes["patch_interpolation"] == "bicubic" and found.attributes["patch_std"] == [
            0.5,
            0.25,
            0.5,
        ]
    onnx, script = ([TokenFile(tmp_path / kind / f"{name}.h5").read() for name in "ab"] for kind in (".onnx", ".pt"))
    for ours, theirs in zip(onnx, script, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
