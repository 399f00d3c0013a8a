"""Encoder and head in two files: what loads, what belongs together, and what is said where it does not."""

import os

import pytest
import torch
from region_models import write_encoder
from safetensors.torch import save_file

from bundle.core import BundleError
from bundle.evaluation import RegionEncoders
from bundle.networks import (
    Encoder,
    LastLayer,
    ProjectionHead,
    RegionDescriber,
    RegionViT,
    head_file,
    load_region_encoder,
    make_projection_head,
    make_region_encoder,
    make_student,
    read_weights,
    save_encoder,
    sha256_of,
    split_state,
)

TOKENS = torch.linspace(-2, 2, 2 * 12 * 16 * 16).view(2, 12, 16, 16)


@pytest.fixture
def old(tmp_path):
    """One file with encoder and head, as training wrote it before."""
    return write_encoder(tmp_path / "old.pt", mask_missing=True)


@pytest.fixture
def path(tmp_path, old):
    """The same weights in two files."""
    save_encoder(read_weights(old), tmp_path / "model.pt")
    return tmp_path / "model.pt"


def student_of(weights):
    return make_student(Encoder(RegionViT(12, 32, 1, 1), ProjectionHead(32, 16, 8)), LastLayer(8, 5), weights).encoder


@torch.inference_mode()
def test_two_files_are_the_encoder_of_one(path, old, tmp_path):
    """All that is computed is equal to the bit, from .safetensors, too; and so is a student that starts from them."""
    for name, state in zip(("other", "other_head"), split_state(read_weights(old)), strict=True):
        save_file(state, tmp_path / f"{name}.safetensors")
    whole, mask = load_region_encoder(old), torch.rand(2, 16, 16, generator=torch.Generator().manual_seed(0)) < 0.5
    assert not any(name.startswith("head.") for name in read_weights(path))
    assert all(name.startswith("head.") for name in read_weights(head_file(path)))
    for file in (path, tmp_path / "other.safetensors"):
        made = load_region_encoder(file)
        assert made.state_dict().keys() == whole.state_dict().keys() and made.mask_missing
        assert torch.equal(made.project(TOKENS, mask), whole.project(TOKENS, mask))
    parts = make_region_encoder(path), make_projection_head(make_region_encoder(path), path)
    found, expected = RegionDescriber(parts[0], head=parts[1])(TOKENS, mask), RegionDescriber(whole)(TOKENS, mask)
    assert parts[0].head is None and all(torch.equal(found[name], expected[name]) for name in expected)
    states = student_of(path).state_dict(), student_of(old).state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])


def test_a_link_finds_the_head_of_what_it_leads_to(path, tmp_path):
    """Such as models/model.pt that leads to a run's."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "dino.pt").symlink_to(path)
    assert load_region_encoder(tmp_path / "elsewhere" / "dino.pt").head is not None


def test_the_hash_of_the_encoder_s_file_stands_for_both(path, old, tmp_path):
    """Embeddings know their weights by it: another head gives other prototypes."""
    state = read_weights(old)
    state["head.mlp.4.bias"] = state["head.mlp.4.bias"] + 1
    save_encoder(state, tmp_path / "again" / "model.pt")
    assert sha256_of(tmp_path / "again" / "model.pt") != sha256_of(path)
    save_encoder(read_weights(old), tmp_path / "again" / "model.pt")
    assert sha256_of(tmp_path / "again" / "model.pt") == sha256_of(path)


USES = {
    "an encoder": load_region_encoder,
    "inference": lambda path: make_projection_head(make_region_encoder(path), path),
    "evaluation": lambda path: RegionEncoders.load({"SLPD": path}, 12),
    "training": student_of,
}


@pytest.mark.parametrize("use", USES)
def test_the_head_of_another_encoder_is_refused(path, tmp_path, use):
    """Whoever asks; it was a silent mixture of two trainings otherwise."""
    state = read_weights(write_encoder(tmp_path / "b.pt", seed=1))
    torch.save(split_state(state)[1], head_file(path))
    with pytest.raises(BundleError, match=r"model_head\.pt holds another projection head than that of .*model\.pt"):
        USES[use](path)


@pytest.mark.parametrize("use", ["inference", "evaluation"])
@pytest.mark.parametrize("names_it", [True, False])
def test_prototypes_without_a_head_are_refused(path, use, names_it):
    """They were made by a random one; the words tell a file that is missing from one that never was."""
    head_file(path).unlink()
    if not names_it:
        torch.save({name: t for name, t in read_weights(path).items() if name != "head_sha256"}, path)
    said = r"beside it \(model_head\.pt.*copy that file" if names_it else "head, and.*give weights that hold one"
    with pytest.raises(BundleError, match=said):
        USES[use](path)


def test_without_a_head_it_embeds_and_trains_on(path, old, caplog):
    """Both with a warning; what asks it to project, is told what to load."""
    head_file(path).unlink()
    made = load_region_encoder(path)
    assert torch.equal(made(TOKENS), load_region_encoder(old)(TOKENS))
    assert "model_head.pt" in caplog.text and "it gives embeddings, and no prototypes" in caplog.text
    for ask in (lambda: made.project(TOKENS), lambda: RegionDescriber(made)):
        with pytest.raises(BundleError, match="has no projection head"):
            ask()
    student_of(path)
    assert "it stays as it was initialized" in caplog.text
    with pytest.raises(BundleError, match="students are trained through a projection head"):
        make_student(made, LastLayer(8, 5))


def test_a_head_that_nothing_names_is_not_used(path, caplog):
    """Another file may be called so by chance."""
    torch.save({name: t for name, t in read_weights(path).items() if name != "head_sha256"}, path)
    assert load_region_encoder(path).head is None
    assert "does not say which projection head is its own: model_head.pt is not used" in caplog.text


def test_a_network_without_a_head_loads_either_form_strictly(path, old, tmp_path):
    """As MONAI's exports do, and TorchScript of it is as small as it should be."""
    for file in (path, old):
        network = Encoder(RegionViT(12, 32, 1, 1)).eval()
        network.load_state_dict(read_weights(file))
        assert torch.equal(network(TOKENS), load_region_encoder(old)(TOKENS)) and network.mask_missing
    script = torch.jit.script(make_region_encoder(path))
    assert torch.equal(script(TOKENS), load_region_encoder(old)(TOKENS))
    assert not any("head" in name for name in script.state_dict())
    with pytest.raises(torch.jit.Error, match="no projection head"):
        script.project(TOKENS)
    with pytest.raises(RuntimeError, match=r"Missing key.*head\.mlp"):
        Encoder(RegionViT(12, 32, 1, 1), ProjectionHead(32, 16, 8)).load_state_dict(read_weights(path))
    network.load_state_dict(read_weights(path))
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in read_weights(path).items())


def test_a_kill_between_the_two_names_leaves_no_pair(path, tmp_path, monkeypatch):
    """The head takes its name first: the encoder of before does not take it for its own."""
    replace, renamed = os.replace, []

    def die(source, target):
        if renamed:
            raise KeyboardInterrupt
        renamed.append(target)
        replace(source, target)

    state = read_weights(write_encoder(tmp_path / "b.pt", seed=1))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("bundle.core.atomic.os.replace", die)
        save_encoder(state, path)
    assert renamed == [head_file(path)]
    with pytest.raises(BundleError, match="another projection head"):
        load_region_encoder(path)
    save_encoder(state, path)
    found, expected = (load_region_encoder(file).project(TOKENS) for file in (path, tmp_path / "b.pt"))
    assert torch.equal(found, expected)


def test_a_full_disk_leaves_the_pair_of_before(path, tmp_path, monkeypatch):
    """Both are written before either takes its name."""
    save, before = torch.save, [sha256_of(file) for file in (path, head_file(path))]
    written = []

    def fill(obj, file):
        if written:
            raise OSError(28, "No space left on device")
        written.append(file.name)
        save(obj, file)

    state = read_weights(write_encoder(tmp_path / "b.pt", seed=1))
    monkeypatch.setattr(torch, "save", fill)
    with pytest.raises(BundleError, match="No space left"):
        save_encoder(state, path)
    assert written and [sha256_of(file) for file in (path, head_file(path))] == before
