"""What a package holds."""

import hashlib
import json
import shutil
import zipfile
from argparse import Namespace
from pathlib import Path

import pytest
import torch
import yaml
from hipt_files import patch_backbone, region_backbone
from monai.bundle import ConfigParser
from safetensors.torch import load_file

from bundle.core import BundleError
from bundle.networks import (
    Encoder,
    ProjectionHead,
    RegionViT,
    load_patch_encoder,
    load_region_encoder,
    make_region_encoder,
    read_about,
    read_pretraining,
    read_weights,
    select_backbone,
    sha256_of,
)
from scripts.zoo import large_files
from scripts.zoo.build import build_package
from scripts.zoo.hipt import differences_from_published, export_region_encoder
from scripts.zoo.model import RegionModel, read_model, untrained_model
from scripts.zoo.rules import broken_rules

ROOT = Path(__file__).parents[2]


@pytest.fixture
def quickly(monkeypatch):
    """Packages without model.ts, where it is not what is looked at."""
    monkeypatch.setattr("scripts.zoo.build.export_torchscript", lambda folder: None)


def test_it_keeps_the_rules_of_the_model_zoo(package):
    """Files, names, versions, headings, links and sizes of the finished folder are what the Zoo asks for."""
    assert broken_rules(package.folder) == []


def test_metadata_has_the_shapes_of_the_weights(metadata):
    """Tokens of 12 values in, embeddings of 32 out, although the bundle's own metadata says 384 and 192."""
    formats = metadata["network_data_format"]
    assert formats["inputs"]["image"]["num_channels"] == 12
    assert formats["outputs"]["pred"]["num_channels"] == 32
    assert metadata["pred_classes"] == "none: a 32-dimensional embedding of the region"


def test_json_says_what_yaml_says(package):
    """Read by MONAI, the JSON that it looks for equals the YAML, and that is the repository's but for the sizes of the
    weights."""
    names = sorted(path.name for path in (ROOT / "configs").glob("*.yaml"))
    assert {"train.yaml", "inference.yaml", "evaluate.yaml", "multi_gpu_train.yaml"} <= set(names)
    sizes = {"embed_dim": 32, "depth": 1, "n_heads": 2, "hidden_dim": 16, "bottleneck_dim": 8}
    for name in names:
        shipped, own = package.folder / "configs" / name, ROOT / "configs" / name
        content = ConfigParser.load_config_file(shipped)
        twin = shipped.with_suffix(".json")
        assert twin.is_file() == (name in {"train.yaml", "inference.yaml", "multi_gpu_train.yaml"})
        assert not twin.is_file() or ConfigParser.load_config_file(twin) == content
        changed = {key for key, value in ConfigParser.load_config_file(own).items() if content[key] != value}
        assert {key: content[key] for key in changed} == (sizes if name == "train.yaml" else {})
        assert own.read_text().count("#") == shipped.read_text().count("#"), "a comment was lost"


def test_the_zip_is_the_folder(package):
    """The zip holds the folder's files under the bundle's name, which is where MONAI looks after a download."""
    with zipfile.ZipFile(package.archive) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
        modes = {entry.filename: entry.external_attr >> 16 & 0o777 for entry in archive.infolist()}
    files = {path for path in package.folder.rglob("*") if path.is_file()}
    assert contents == {f"pathology_slpd/{p.relative_to(package.folder).as_posix()}": p.read_bytes() for p in files}
    assert modes["pathology_slpd/scripts/demo"] == 0o755 and modes["pathology_slpd/LICENSE"] == 0o644


def test_the_line_for_the_list_of_models(package, metadata):
    """model_info.json has the zip's SHA-1 under name and version, as the Zoo's own list."""
    info = json.loads((package.archive.parent / "model_info.json").read_text())
    checksum = hashlib.sha1(package.archive.read_bytes()).hexdigest()
    assert info == {f"pathology_slpd_v{metadata['version']}": {"checksum": checksum, "source": ""}}


def test_no_file_names_this_machine(package):
    """Not even model.ts, in which TorchScript notes where its source lay."""
    paths = [str(ROOT).encode(), str(package.folder.parent).encode(), torch.__file__.rpartition("/torch/")[0].encode()]
    for path in (path for path in package.folder.rglob("*") if path.is_file()):
        contents = path.read_bytes()
        if path.suffix == ".ts":
            with zipfile.ZipFile(path) as archive:
                contents = b"".join(archive.read(name) for name in archive.namelist())
        assert not any(name in contents for name in paths), path


def test_weights_are_the_given_files(package, weights):
    """To the byte: whatever was made with them (token files, embeddings) knows them by their SHA-256."""
    for name in ("model.pt", "model_head.pt", "patch_encoder.pt"):
        assert sha256_of(package.folder / "models" / name) == sha256_of(weights / name)
    about = read_about(package.folder / "models" / "model.pt")
    assert about == read_about(weights / "model.pt") and about["n_heads"] == 2


def test_a_checkpoint_becomes_a_bare_state_dict(options, tmp_path, weights, quickly):
    """The teacher under `teacher` is packaged as MONAI and the Zoo load it, without the rest."""
    state = load_region_encoder(weights / "model.pt").state_dict()
    torch.save({"teacher": state, "epoch": 3}, tmp_path / "last.pt")
    folder = build_package(ROOT, tmp_path / "dist", options(model=tmp_path / "last.pt")).folder
    for name in ("model.pt", "model_head.pt"):
        shipped, given = (read_weights(where / name) for where in (folder / "models", weights))
        assert shipped.keys() == given.keys() and all(torch.equal(shipped[key], given[key]) for key in given)


def test_no_file_of_weights_of_the_default_size_is_too_large_for_the_zoo(options, tmp_path, quickly):
    """The encoder was 31.6 MB with its head, and so was TorchScript of it; the Zoo takes 25 MB a file."""
    package = build_package(ROOT, tmp_path / "dist", options(model=None))
    models = package.folder / "models"
    torch.jit.script(make_region_encoder(models / "model.pt")).save(str(models / "model.ts"))
    assert large_files.large_files(package.folder) == [] and not (package.folder / "large_files.yml").exists()
    assert large_files.large_files(package.archive.parent / "huggingface") == []
    sizes = {path.name: path.stat().st_size / 1e6 for path in models.glob("model*")}
    assert {name: round(size) for name, size in sizes.items()} == {"model.pt": 11, "model_head.pt": 20, "model.ts": 11}


@pytest.mark.parametrize("limit", [10**9, 1000])
def test_a_file_with_its_head_inside(options, tmp_path, weights, quickly, monkeypatch, limit):
    """As training wrote it before: copied to the byte, or where it is over the limit in two files, which is said."""
    monkeypatch.setattr("scripts.zoo.model.LIMIT", limit)
    whole = load_region_encoder(weights / "model.pt")
    torch.save(whole.state_dict(), tmp_path / "old.pt")
    package = build_package(ROOT, tmp_path / "dist", options(model=tmp_path / "old.pt"))
    models, tokens = package.folder / "models", torch.randn(1, 12, 16, 16)
    is_copy = sha256_of(models / "model.pt") == sha256_of(tmp_path / "old.pt")
    assert is_copy == (limit > 1000) != (models / "model_head.pt").is_file()
    assert any("it is two files in the package" in remark for remark in package.remarks) != is_copy
    assert torch.equal(load_region_encoder(models / "model.pt", n_heads=2).project(tokens), whole.project(tokens))


def test_without_its_head_it_is_not_packaged(options, tmp_path, weights):
    """It says which file is missing, and makes nothing."""
    shutil.copyfile(weights / "model.pt", tmp_path / "model.pt")
    with pytest.raises(BundleError, match=r"no projection head beside it \(model_head\.pt"):
        build_package(ROOT, tmp_path / "dist", options(model=tmp_path / "model.pt"))
    assert not (tmp_path / "dist").exists()


def test_slide_ids_stay_at_home_unless_asked_for(package, options, tmp_path, quickly):
    """Ids of training slides may tell of patients: without --with_slide_ids no file holds one, and it is said."""
    holding = [path for path in package.folder.rglob("*") if path.is_file() and b"secret_slide" in path.read_bytes()]
    assert holding == [] and any("2 training slides stay here" in remark for remark in package.remarks)
    assert read_pretraining(package.folder / "models" / "model.pt") is None
    open_package = build_package(ROOT, tmp_path, options(with_slide_ids=True))
    assert read_pretraining(open_package.folder / "models" / "model.pt") == ["secret_slide_1", "secret_slide_2"]


def test_encoders_under_hipts_names_read_back_equal(package, weights):
    """Our loaders find in hipt/ the weights, heads and normalization that went in."""
    region, patch = (package.archive.parent / "hipt" / n for n in ("vit4k_xs_slpd.pth", "vit256_small_dino.pth"))
    found, expected = load_region_encoder(region).state_dict(), load_region_encoder(weights / "model.pt").state_dict()
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)
    tokens = [load_patch_encoder(path, 16) for path in (patch, weights / "patch_encoder.pt")]
    pixels = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    assert torch.equal(tokens[0](pixels), tokens[1](pixels)) and tokens[0].mean == (0.5, 0.5, 0.5)
    assert any("but not its sizes" in remark and "dim 32 (HIPT: 192)" in remark for remark in package.remarks)


def test_hipts_scripts_find_their_names(tmp_path, weights):
    """Under `teacher`, less `backbone.`, lie the names and shapes of HIPT's files: its loader keeps those it knows."""
    path = export_region_encoder(untrained_model(), tmp_path)
    teacher = read_weights(path)["teacher"]
    names = {n.removeprefix("backbone."): t.shape for n, t in teacher.items() if n.startswith("backbone.")}
    assert names == {name: tensor.shape for name, tensor in region_backbone().items()}
    assert differences_from_published(path) == []
    teacher["backbone.standard.mean"], teacher["backbone.standard.factor"] = torch.zeros(384), torch.ones(384)
    torch.save({"teacher": {**teacher, "mask_missing": torch.tensor(True)}}, tmp_path / "other.pth")
    habits = differences_from_published(tmp_path / "other.pth")
    assert [habit.split(" (")[0] for habit in habits] == ["tokens standardized", "missing tokens left out"]
    ours = select_backbone(read_weights(weights / "patch_encoder.pt")).backbone
    assert ours.keys() == patch_backbone(dim=12, depth=1).keys()


def test_other_heads_than_hipt_s_are_said_and_kept(tmp_path):
    """Shapes do not tell them: three heads were packaged without a word, and loaded as six."""
    model = RegionModel(Encoder(RegionViT(in_dim=384, dim=192, depth=6, n_heads=3), ProjectionHead(192)).eval())
    path = export_region_encoder(model, tmp_path)
    assert differences_from_published(path) == ["n_heads 3 (HIPT: 6)"]
    tokens = torch.randn(1, 384, 16, 16)
    assert torch.equal(load_region_encoder(path)(tokens), model.encoder(tokens))


def test_hub_layout(package, metadata):
    """huggingface/ has front matter, safetensors equal to both files of weights, and all of the bundle for MONAI's
    download."""
    hub = package.archive.parent / "huggingface"
    _, matter, body = (hub / "README.md").read_text().split("---\n", 2)
    fields = yaml.safe_load(matter)
    assert (fields["license"], fields["library_name"]) == ("apache-2.0", "monai") and "pathology" in fields["tags"]
    assert "[B, 12, 16, 16]" in body and "2 slides" in body and metadata["intended_use"] in body
    for file in ("model", "model_head"):
        state = torch.load(package.folder / "models" / f"{file}.pt", weights_only=True)
        tensors = load_file(hub / f"{file}.safetensors")
        assert tensors.keys() == state.keys() and all(torch.equal(tensors[name], state[name]) for name in state)
    shipped = {path.relative_to(package.folder) for path in package.folder.rglob("*") if path.is_file()}
    assert shipped <= {path.relative_to(hub) for path in hub.rglob("*") if path.is_file()}


def test_notes_stand_in_the_card(options, tmp_path, quickly):
    """What --notes says of data and results is in the card; without it the card says that nothing was said."""
    notes = tmp_path / "about.md"
    notes.write_text("Trained on 24 slides of a fictional cohort.")
    card = (build_package(ROOT, tmp_path / "dist", options(notes=notes)).folder / "README.md").read_text()
    assert "24 slides of a fictional cohort" in card and "said nothing" not in card


def test_files_over_the_limit_are_listed(package, monkeypatch, tmp_path):
    """With a limit of 11 kB: path, SHA-256 and address; a changed file breaks a rule."""
    monkeypatch.setattr("scripts.zoo.large_files.LIMIT", 11_000)
    folder = tmp_path / "pathology_slpd"
    shutil.copytree(package.folder, folder)
    listed = large_files.write_large_files(folder, "https://example.org/weights")
    entries = {
        entry["path"]: entry for entry in yaml.safe_load((folder / "large_files.yml").read_text())["large_files"]
    }
    assert set(listed) == set(entries) and "models/model.ts" in listed
    entry = entries["models/model.ts"]
    assert entry["url"] == "https://example.org/weights/model.ts"
    assert (entry["hash_type"], entry["hash_val"]) == ("sha256", sha256_of(folder / "models" / "model.ts"))
    assert broken_rules(folder) == []
    (folder / "LICENSE").write_text("another")
    assert broken_rules(folder) == ["LICENSE is another file than large_files.yml says"]


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("docs/README.md", "# Data\n", "no heading 'Model Overview'"),
        ("docs/extra.md", "[x](absent.md)", "names absent.md, which is not in the package"),
        ("docs/extra.md", "`tests/extra.py`", "names tests/extra.py, which is not in the package"),
        ("configs/train.json", "{}\n", "does not say what configs/train.yaml says"),
        ("configs/evaluate.json", "{}\n", "does not say what configs/evaluate.yaml says"),
        ("configs/extra.json", '{"a":  1}', "not JSON of indent 4"),
        ("bundle/extra.py", "PATH = '/home" + "/somebody/slides'", "a folder of one machine"),
    ],
)
def test_broken_rules_are_named(package, tmp_path, name, text, complaint):
    """Each rule catches what it is there for."""
    folder = tmp_path / "pathology_slpd"
    shutil.copytree(package.folder, folder)
    (folder / name).write_text(text)
    assert any(complaint in found for found in broken_rules(folder)), broken_rules(folder)


def test_without_a_trained_model_it_says_so(tmp_path):
    """No model.pt: an error with the ways out; random weights are called that in metadata, card and remarks."""
    with pytest.raises(BundleError, match=r"no trained model at .*--model.*--untrained"):
        read_model(tmp_path / "model.pt")


def test_files_under_other_terms_are_refused(options, tmp_path, weights):
    """A checkpoint of HIPT's or DINO's script is not passed on under this bundle's license."""
    state = torch.load(weights / "model.pt", weights_only=True)
    torch.save({"teacher": state, "args": Namespace(arch="vit4k_xs")}, tmp_path / "theirs.pth")
    with pytest.raises(BundleError, match="under terms of its own"):
        build_package(ROOT, tmp_path / "dist", options(model=tmp_path / "theirs.pth"))
    torch.save(state, tmp_path / "bare.pt")
    with pytest.raises(BundleError, match="not written by stage one"):
        build_package(ROOT, tmp_path / "dist", options(patch_encoder=tmp_path / "bare.pt"))
    assert not (tmp_path / "dist").exists()


def test_a_package_that_fails_is_not_kept(options, tmp_path, monkeypatch, quickly):
    """What was in dist/ stays, and nothing half made is left."""
    (tmp_path / "model_info.json").write_text("of before")

    def fail(*_):
        raise BundleError("the finished package fails")

    monkeypatch.setattr("scripts.zoo.build._verify", fail)
    with pytest.raises(BundleError, match="fails"):
        build_package(ROOT, tmp_path, options(is_verified=True))
    assert [path.name for path in tmp_path.iterdir()] == ["model_info.json"]
    assert (tmp_path / "model_info.json").read_text() == "of before"
