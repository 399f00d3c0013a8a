"""Inference through MONAI's own entry points, as users and servers start it."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from cohorts import write_cohort
from encoder_files import own_file
from region_models import write_encoder
from tiny_slides import PATCH, write_slide
from warm import ENVIRONMENT, run_python
from workflows import run_config, workflow

from bundle.core import BundleError
from bundle.core.command_line import user_error
from bundle.storage import read_embeddings
from scripts.bench.processes import bundle_command

ROOT = Path(__file__).parents[1]
READ = {"mpp": 2.0, "patch_size": PATCH, "region_patches": 16, "min_tissue_patches": 2}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with an untrained patch encoder (12 values) and an untrained region encoder for its tokens."""
    folder = tmp_path_factory.mktemp("models")
    write_encoder(folder / "model.pt")
    own_file(folder / "patch_encoder.pt")
    return folder


def inferring(models, dataset_dir, output_dir, **overrides):
    """The config, initialized."""
    paths = {"dataset_dir": dataset_dir, "output_dir": output_dir, "tokens_dir": output_dir / "tokens"}
    weights = {"region_encoder_ckpt": models / "model.pt", "patch_encoder_ckpt": models / "patch_encoder.pt"}
    return workflow("inference.yaml", **{**paths, **weights, "device": "cpu", **overrides})


def index(output_dir):
    """Rows of slides.csv by slide."""
    return {row["slide"]: row for row in csv.DictReader((output_dir / "slides.csv").open(newline=""))}


def test_it_has_all_that_monai_asks_for(models, tmp_path):
    """check_properties finds nothing missing, and the ids that MONAI Label takes are built."""
    made = inferring(models, write_cohort(tmp_path / "tokens"), tmp_path / "out")
    assert made.check_properties() == []
    item = made.preprocessing({"features": np.ones((16, 16, 12), np.float16)})
    found = made.inferer(item["image"][None], made.network_def)
    assert item["image"].shape == (12, 16, 16) and found.shape == (1, 32)
    assert made.postprocessing({"pred": found})["pred"].dtype == torch.float32


def test_slides_become_embeddings(models, tmp_path):
    """Slides are tokenized and embedded by one run; the index has the slide table's columns."""
    for name in ("a", "b"):
        write_slide(tmp_path / "slides" / f"{name}.tif", 320, seed=ord(name))
    (tmp_path / "table.csv").write_text("slide,label\na.tif,benign\n")
    out = tmp_path / "out"
    inferring(models, tmp_path / "slides", out, slide_table=tmp_path / "table.csv", file_type="both", **READ).run()
    rows = index(out)
    assert [(row["status"], row["label"]) for row in rows.values()] == [("done", "benign"), ("done", "")]
    slide = read_embeddings(out / rows["a"]["file"])
    assert slide.attributes["slide_path"] == "a.tif" and slide.attributes["level0_mpp"] == pytest.approx(2.0, abs=0.01)
    assert slide.features.shape == (len(slide), 32) and slide.attention.shape == (len(slide), 1, 16, 16)
    with np.load(out / "embeddings" / "a.npz") as file:
        np.testing.assert_array_equal(file["features"], slide.features)
        assert '"slide_id": "a"' in str(file["attributes"])


def test_slides_that_were_tokenized_are_not_encoded_again(models, tmp_path):
    """Tokenizing and then inferring, neither with a folder for tokens: inferring used to encode every slide again."""
    write_slide(tmp_path / "slides" / "a.tif", 320)
    root = {"bundle_root": tmp_path, "tokens_dir": None, **READ}
    given = {"dataset_dir": tmp_path / "slides", "output_dir": tmp_path / "tokenize", "device": "cpu"}
    run_config("tokenize.yaml", patch_encoder_ckpt=models / "patch_encoder.pt", **given, **root)
    inferring(models, tmp_path / "slides", tmp_path / "out", **root).run()
    assert {row["status"] for row in index(tmp_path / "out" / "tokenize").values()} == {"skipped"}
    assert {row["status"] for row in index(tmp_path / "out").values()} == {"done"}
    assert [path.name for path in (tmp_path / "tokens").glob("*.h5")] == ["a.h5"]


@pytest.mark.slow
def test_the_command_of_the_documents(models, tmp_path):
    """MONAI's command line makes files and an index, and says how many."""
    ids = {
        "dataset_dir": write_cohort(tmp_path / "tokens"),
        "output_dir": tmp_path / "out",
        "region_encoder_ckpt": models / "model.pt",
        "device": "cpu",
    }
    done = run_python(bundle_command("inferring", ["configs/inference.yaml"], **ids), cwd=ROOT, env=ENVIRONMENT)
    assert done.returncode == 0 and "4 done" in done.stdout, done.stderr
    assert {row["status"] for row in index(tmp_path / "out").values()} == {"done"}


def test_without_weights_the_network_is_built_and_the_run_refuses(models, tmp_path, monkeypatch):
    """The Model Zoo and MONAI Label build the network before they load weights; a run without them says what to do."""
    monkeypatch.setattr("bundle.networks.region_encoder._OWN_WEIGHTS", tmp_path / "none.pt")  # the demo leaves some
    tokens = write_cohort(tmp_path / "tokens")
    made = inferring(models, tokens, tmp_path / "out", region_encoder_ckpt=tmp_path / "none.pt")
    scripted = torch.jit.script(made.network_def)
    assert scripted(torch.zeros(2, 384, 16, 16)).shape == (2, 192)
    with pytest.raises(Exception) as caught:
        made.run()
    mistake = user_error(caught.value)
    assert isinstance(mistake, BundleError) and "there is no region encoder at" in str(mistake)
    assert not (tmp_path / "out").exists()


def test_a_real_slide(models, real_slide, tmp_path):
    """CMU-1-Small-Region.svs at 0.5 um/px: one region, padded, with its tissue and a prototype of its own."""
    encoder = own_file(tmp_path / "patch_encoder.pt", image_size=256, patch_size=64)
    inferring(models, real_slide, tmp_path, patch_encoder_ckpt=encoder).run()
    slide = read_embeddings(tmp_path / "embeddings" / "CMU-1-Small-Region.h5")
    assert len(slide) == 1 and slide.n_prototypes == 1 and slide.level0_size == (2220, 2967)
    assert (slide.coords < 0).all() and 30 < slide.mask.sum() < 120
    np.testing.assert_allclose(slide.similarity, 1, atol=1e-5)
