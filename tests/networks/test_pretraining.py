"""Weights know the slides they were trained on, by a file beside them."""

import json

import pytest
import torch
from engines import make_engine
from torch import nn

from bundle.networks.pretraining import pretraining_file, read_about, read_pretraining, write_pretraining
from bundle.training import ExportHandler


def export(path, slides, about=None):
    """What a run of one epoch exports."""
    make_engine(handlers=[ExportHandler(nn.Linear(2, 2), path, slides=slides, about=about)]).run([0], max_epochs=1)


def test_exported_weights_know_their_slides(tmp_path):
    """The handler writes both files; the weights stay a bare state dict."""
    export(tmp_path / "model.pt", ["b", "a"])
    assert read_pretraining(tmp_path / "model.pt") == ["a", "b"]
    assert set(torch.load(tmp_path / "model.pt", weights_only=True)) == {"weight", "bias"}


def test_exported_weights_know_what_shapes_do_not_tell(tmp_path):
    """Heads and tokens come back, and of other weights nothing does."""
    export(tmp_path / "model.pt", ["a"], {"n_heads": 3, "patch_encoder": "x sha256:1"})
    assert read_about(tmp_path / "model.pt") == {"n_heads": 3, "patch_encoder": "x sha256:1"}
    torch.save({}, tmp_path / "model.pt")
    assert read_about(tmp_path / "model.pt") == {}


def test_without_slides_there_is_no_file(tmp_path):
    """Nothing is known, and nothing is said."""
    export(tmp_path / "model.pt", None)
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]
    assert read_pretraining(tmp_path / "model.pt") is None


def test_a_file_of_other_weights_is_not_believed(tmp_path, caplog):
    """Weights that were copied over others do not inherit their slides."""
    export(tmp_path / "model.pt", ["a"])
    torch.save({}, tmp_path / "model.pt")
    assert read_pretraining(tmp_path / "model.pt") is None
    assert "belongs to other weights" in caplog.text


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"slides": 3, "weights_sha256": "0"}'])
def test_a_broken_file_is_a_warning(tmp_path, caplog, text):
    """Cut short, or something else: a warning that names it, and nothing is known."""
    torch.save({}, tmp_path / "model.pt")
    assert json.loads(write_pretraining(tmp_path / "model.pt", []).read_text())["slides"] == []
    pretraining_file(tmp_path / "model.pt").write_text(text)
    assert read_pretraining(tmp_path / "model.pt") is None
    assert "model.json" in caplog.text
