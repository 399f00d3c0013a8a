"""Weights of another run are kept when a run is complete; those of the same run are replaced."""

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from bundle.networks import read_pretraining, sha256_of
from bundle.training import ExportHandler


def export(path, output_dir, seed, slides=None):
    """What a run of one epoch in a folder exports."""
    torch.manual_seed(seed)
    output_dir.mkdir(exist_ok=True)
    engine = Engine(lambda engine, batch: None)
    ExportHandler(nn.Linear(2, 2), path, slides=slides, output_dir=output_dir).attach(engine)
    engine.run([0], max_epochs=1)
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
