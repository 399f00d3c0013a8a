"""Weights of another run are kept when a run is complete; those of the same run are replaced."""

import pytest
import torch
from engines import make_engine
from torch import nn

from bundle.core import BundleError
from bundle.networks import (
    Encoder,
    ProjectionHead,
    RegionViT,
    head_file,
    load_region_encoder,
    read_pretraining,
    save_encoder,
    sha256_of,
)
from bundle.training import ExportHandler

TOKENS = torch.linspace(-1, 1, 6 * 16 * 16).view(1, 6, 16, 16)


def export(path, output_dir, seed, slides=None, has_head=False):
    """What a run of one epoch in a folder exports."""
    torch.manual_seed(seed)
    output_dir.mkdir(exist_ok=True)
    module = Encoder(RegionViT(6, 32, 1, 1), ProjectionHead(32, 8, 4)) if has_head else nn.Linear(2, 2)
    make_engine(handlers=[ExportHandler(module, path, slides=slides, output_dir=output_dir)]).run([0], max_epochs=1)
    return sha256_of(path)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "models" / "model.pt"


def kept(path):
    """Hashes of weights beside it."""
    return {sha256_of(other) for other in path.parent.glob("*.pt") if other != path}


def test_weights_of_another_run_are_kept_with_their_slides(path, tmp_path, caplog):
    """Under a dated name that is said at the start and at the end; both files know their slides."""
    caplog.set_level("INFO")
    first = export(path, tmp_path / "a", 0, ["a"])
    second = export(path, tmp_path / "b", 1, ["b"])
    (aside,) = (other for other in path.parent.glob("*.pt") if other != path)
    assert sha256_of(aside) == first != second and aside.name.startswith("model.20")
    assert read_pretraining(aside) == ["a"] and read_pretraining(path) == ["b"]
    said = [record.getMessage() for record in caplog.records if aside.name in record.getMessage()]
    assert len(said) == 2 and "when this run is complete, it is kept as" in said[0] and "weights written" in said[1]


def test_weights_of_the_same_run_are_replaced(path, tmp_path):
    """A run that was resumed to more epochs writes over its own; not over what somebody has put there since."""
    export(path, tmp_path / "a", 0)
    export(path, tmp_path / "a", 1)
    assert kept(path) == set()
    path.write_bytes(b"mine")
    mine = sha256_of(path)
    export(path, tmp_path / "a", 2)
    assert kept(path) == {mine}


def test_what_tells_of_other_weights_does_not_stay_beside_new_ones(path, tmp_path):
    """Stage one has no .json of its own: that of the weights of before goes with them."""
    export(path, tmp_path / "a", 0, ["a"])
    export(path, tmp_path / "b", 1)
    assert not path.with_suffix(".json").exists()
    (aside,) = path.parent.glob("model.20*.pt")
    assert read_pretraining(aside) == ["a"]


def projected(path):
    """By which encoder and head are told, both at once."""
    return load_region_encoder(path).project(TOKENS)


def test_a_head_is_kept_with_its_encoder(path, tmp_path):
    """Under names by which both pairs load; a resumed run replaces its own pair."""
    export(path, tmp_path / "a", 0, ["a"], has_head=True)
    first = projected(path)
    export(path, tmp_path / "b", 1, ["b"], has_head=True)
    (aside,) = path.parent.glob("model.20*[0-9].pt")
    assert head_file(aside).is_file() and torch.equal(projected(aside), first)
    assert not torch.allclose(projected(path), first) and read_pretraining(aside) == ["a"]
    export(path, tmp_path / "b", 2, ["b"], has_head=True)
    assert len(list(path.parent.glob("*.pt"))) == 4 and torch.equal(projected(aside), first)


def test_weights_of_before_heads_had_files_are_kept_whole(path, tmp_path):
    """One file, under one dated name; and of the same run, as its note of then says, it is replaced."""
    module = Encoder(RegionViT(6, 32, 1, 1), ProjectionHead(32, 8, 4))
    path.parent.mkdir()
    torch.save(module.state_dict(), path)
    export(path, tmp_path / "a", 1, has_head=True)
    (aside,) = path.parent.glob("model.20*.pt")
    assert torch.equal(projected(aside), module.eval().project(TOKENS))
    torch.save(module.state_dict(), path)
    head_file(path).unlink()
    (tmp_path / "a" / "exported.json").write_text(f'{{"file": "{path}", "sha256": "{sha256_of(path)}"}}')
    export(path, tmp_path / "a", 2, has_head=True)
    assert kept(path) == {sha256_of(aside), sha256_of(head_file(path))}


def test_a_file_that_only_has_the_name_of_a_head_is_kept(path, tmp_path):
    """Somebody's own, where no weights were."""
    path.parent.mkdir()
    head_file(path).write_bytes(b"mine")
    mine = sha256_of(head_file(path))
    export(path, tmp_path / "a", 0, has_head=True)
    (aside,) = path.parent.glob("model_head.20*.pt")
    assert sha256_of(aside) == mine and torch.isfinite(projected(path)).all()


def test_a_run_that_is_killed_while_it_exports_keeps_the_pair_of_before(path, tmp_path, monkeypatch):
    """Once: when it is started again, the head of the first attempt is not taken for that of the weights of before."""
    export(path, tmp_path / "a", 0, has_head=True)
    first, save = projected(path), save_encoder

    def die(state, path):
        save(state, path.with_name("part.pt"))
        head_file(path.with_name("part.pt")).replace(head_file(path))
        path.with_name("part.pt").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("bundle.training.handlers.export.save_encoder", die)
        export(path, tmp_path / "b", 1, has_head=True)
    with pytest.raises(BundleError, match="another projection head"):
        load_region_encoder(path)
    export(path, tmp_path / "b", 1, has_head=True)
    (aside,) = path.parent.glob("model.20*[0-9].pt")
    assert torch.equal(projected(aside), first) and not torch.allclose(projected(path), first)
    assert len(list(path.parent.glob("*.pt"))) == 4
