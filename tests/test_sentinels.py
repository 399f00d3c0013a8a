"""Weights of the user's survive every command that was not told to write there."""

from pathlib import Path

import pytest
import yaml
from cohorts import write_cohort
from region_models import write_encoder
from tiny_slides import write_slide
from tiny_training import NETWORK
from workflows import run_config

ROOT = Path(__file__).parents[1]
SHORT = {"n_local": 2, "max_epochs": 1, "lr_warmup_epochs": 0, "prototype_warmup_epochs": 0, "batch_size": 8}
COMMANDS = {
    "checking": ("check", {"dataset_dir": "slides", "mpp": 2.0}),
    "training": ("train", {**NETWORK, **SHORT, "dataset_dir": "tokens", "model_path": "elsewhere.pt"}),
    "inferring": ("inference", {"dataset_dir": "tokens", "region_encoder_ckpt": "given.pt"}),
    "mapping": ("maps", {"dataset_dir": "inferring/embeddings", "formats": ["geojson"]}),
    "charting": ("atlas", {"dataset_dir": "inferring/embeddings"}),
    "indexing": ("search", {"dataset_dir": "inferring/embeddings", "index_dir": "index"}),
    "querying": ("search", {"query": "slide_1", "index_dir": "index"}),
    "exporting": ("export", {"dataset_dir": "inferring/embeddings", "formats": ["trident"]}),
    "evaluating": (
        "evaluate",
        {"dataset_dir": "tokens", "slide_table": "tokens/slide_table.csv", "encoders": {"A": "given.pt"},
         "n_folds": 2, "protocols": ["knn"], "k_neighbors": 1, "train_fractions": [1.0]},
    ),
}  # fmt: skip
PATHS = {"dataset_dir", "model_path", "region_encoder_ckpt", "index_dir", "slide_table"}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A bundle's root with what commands read, and sentinels in place of its weights."""
    root = tmp_path_factory.mktemp("root")
    (root / "models").mkdir()
    for name in ("model.pt", "model_head.pt", "model.json", "patch_encoder.pt", "patch_encoder.json"):
        (root / "models" / name).write_text(f"mine: {name}")
    write_cohort(root / "tokens", regions=(3, 4, 2, 5))
    write_slide(root / "slides" / "a.tif", 200)
    write_encoder(root / "given.pt")
    return root


@pytest.mark.parametrize("verb", COMMANDS)
def test_weights_survive(root, verb):
    """Each command with all else as it is by default; they run in this order, on what the others have made."""
    name, ids = COMMANDS[verb]
    given = {key: root / value if key in PATHS else value for key, value in ids.items()}
    if "encoders" in given:
        given["encoders"] = {"A": str(root / "given.pt")}
    given |= {"bundle_root": root, "output_dir": root / verb, "device": "cpu"}
    run_config(f"{name}.yaml", kind="train" if verb == "training" else "infer", run_id=verb, **given)
    assert any((root / ("index" if verb == "indexing" else verb)).iterdir())
    left = {path.name: path.read_text() for path in (root / "models").iterdir()}
    assert left == {name: f"mine: {name}" for name in left} and len(left) == 5


def test_weights_are_written_by_training_alone():
    """No other config knows where weights go."""
    found = {
        path.stem for path in (ROOT / "configs").glob("*.yaml") if "model_path" in yaml.safe_load(path.read_text())
    }
    assert found == {"train", "train_patch_encoder"}
