"""The steps that MONAI Deploy's operators take, and the application itself where its SDK is installed."""

import os
import shutil
import subprocess
import tomllib

import numpy as np
import pytest
import yaml
from label_server import READING, write_models
from region_models import write_encoder
from tiny_slides import PATCH, damage_tiles, write_slide
from workflows import ROOT, run_config

from bundle.core import BundleError, SlideError
from bundle.networks import load_patch_encoder, load_region_encoder, weights_name, write_pretraining
from bundle.serving.region_pipeline import encode_regions, insist_on_kind, load_regions, stated_settings
from bundle.storage import Provenance, read_embeddings

READ = {"mpp": 2.0, "patch_size": PATCH, "min_tissue_patches": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A slide of nine regions, models, and what configs/inference.yaml finds in the slide."""
    folder = tmp_path_factory.mktemp("pipeline")
    write_slide(folder / "a.tif", 700)
    ids = {"dataset_dir": str(folder / "a.tif"), "output_dir": str(folder / "out"), "amp": "false"}
    ids |= {"tokens_dir": str(folder / "tokens")}
    run_config("inference.yaml", **{**READING, **write_models(folder / "models"), **ids})
    return folder


def assert_same(slide, wanted):
    """Regions, embeddings, prototypes and where they lie are the same; tokens are rounded once, in both."""
    for name in ("coords", "mask", "assignment"):
        np.testing.assert_array_equal(getattr(slide, name), getattr(wanted, name))
    for name in ("features", "projection", "slide_embedding", "prototypes"):
        np.testing.assert_allclose(getattr(slide, name), getattr(wanted, name), rtol=1e-3, atol=1e-4)
    assert len(slide) > 4 and slide.n_prototypes == 4
    for name in ("mpp", "level0_mpp", "level0_width", "region_size_level0", "patch_size_px", "encoder", "slide_path"):
        assert slide.attributes[name] == wanted.attributes[name]
    mine, others = Provenance.of(slide.attributes), Provenance.of(wanted.attributes)
    assert mine == others and mine.region_encoder.startswith("model sha256:") and not mine.difference(others)


def test_three_steps_give_what_inference_gives(folder):
    """Loading, encoding and clustering by hand are the numbers of configs/inference.yaml."""
    patch_encoder = load_patch_encoder(folder / "models" / "patch_encoder.pt", PATCH)
    region_encoder = load_region_encoder(folder / "models" / "model.pt")
    regions = load_regions(folder / "a.tif", **READ)
    slide = encode_regions(regions, patch_encoder, region_encoder, weights_name(folder / "models" / "model.pt"))
    regions.close()
    assert_same(slide, read_embeddings(folder / "out" / "embeddings" / "a.h5"))
    other = {**slide.attributes, "region_encoder": weights_name(write_encoder(folder / "other.pt", seed=1))}
    assert "region encoder" in Provenance.of(slide.attributes).difference(Provenance.of(other))


def test_a_slide_has_the_id_that_it_is_given(folder):
    """`find_slides` names a DICOM series after its folder, and doubles by their path; clusters are keyed by that id."""
    regions = load_regions(folder / "a.tif", slide_id="deep__a", **READ)
    patch_encoder = load_patch_encoder(folder / "models" / "patch_encoder.pt", PATCH)
    region_encoder = load_region_encoder(folder / "models" / "model.pt")
    assert encode_regions(regions, patch_encoder, region_encoder, "model").slide_id == "deep__a"
    regions.close()


def test_regions_are_read_as_they_are_asked_for(folder):
    """Patches of one region at a time, as many as its mask names; a damaged slide says so when it is read."""
    regions = load_regions(folder / "a.tif", **READ)
    counts = [len(patches) for patches in regions]
    regions.close()
    assert counts == regions.grid.mask.sum((1, 2)).tolist() and len(counts) == len(regions)
    damaged = load_regions(damage_tiles(write_slide(folder / "damaged.tif", 700), 0.9), **READ)
    with pytest.raises(SlideError, match="damaged"):
        list(damaged)
    damaged.close()
    with pytest.raises(SlideError, match="default_mpp"):
        load_regions(write_slide(folder / "unsaid.tif", 320, mpp=None), **READ)


def test_the_application_reads_as_the_weights_say(folder, tmp_path):
    """Sizes that app.yaml leaves open are those of model.json; another patch encoder is refused."""
    shutil.copytree(folder / "models", tmp_path / "models")
    weights, encoder = tmp_path / "models" / "model.pt", load_patch_encoder(folder / "models" / "patch_encoder.pt", 16)
    about = {"mpp": 2.0, "patch_size": PATCH, "patch_encoder": f"other sha256:{encoder.sha256}"}
    write_pretraining(weights, [], about)
    knobs = yaml.safe_load((ROOT / "scripts" / "deploy_app" / "app.yaml").read_text())
    reading, encoding = stated_settings(weights.parent, knobs["reading"], {"mean": 0.5})
    assert encoding == {"mpp": 2.0, "patch_size": PATCH, "mean": 0.5}
    assert (reading["mpp"], reading["patch_size"], reading["region_patches"]) == (2.0, PATCH, 16)
    insist_on_kind(weights.parent, encoder, reading)
    with pytest.raises(BundleError, match="at 2 um/px, and this application has patches at 0.5"):
        insist_on_kind(weights.parent, encoder, {**reading, "mpp": 0.5})
    write_pretraining(weights, [], {"patch_encoder": "other sha256:1"})
    with pytest.raises(BundleError, match="trained on tokens of other sha256:1"):
        insist_on_kind(weights.parent, encoder, reading)


@pytest.mark.slow
def test_the_deploy_application_writes_the_same(folder):
    """Holoscan runs the three operators on the slide; needs $DEPLOY_PYTHON, a Python with the SDK (docs/deploy.md)."""
    if "DEPLOY_PYTHON" not in os.environ:
        pytest.skip("$DEPLOY_PYTHON names no Python with the MONAI Deploy App SDK (docs/deploy.md)")
    app = folder / "app"
    app.mkdir()
    (app / "bundle").symlink_to(ROOT / "bundle")
    (app / "app.py").write_text((ROOT / "scripts" / "deploy_app" / "app.py").read_text())
    knobs = yaml.safe_load((ROOT / "scripts" / "deploy_app" / "app.yaml").read_text())
    knobs["reading"] |= READ
    (app / "app.yaml").write_text(yaml.safe_dump(knobs))
    folders = ["--input", folder / "a.tif", "--output", folder / "deployed", "--model", folder / "models"]
    command = 'ulimit -s 32768 2>/dev/null; exec "$0" "$@"'  # Holoscan asks for a large stack
    words = ["bash", "-c", command, os.environ["DEPLOY_PYTHON"], app / "app.py", *folders]
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert_same(read_embeddings(folder / "deployed" / "a.h5"), read_embeddings(folder / "out" / "embeddings" / "a.h5"))


def test_packaging_leaves_the_repository_as_it_is(tmp_path):
    """The document's lines: `monai-deploy package` gets the application with bundle/ beside, in a folder elsewhere."""
    document = (ROOT / "docs" / "deploy.md").read_text()
    lines = document.split("## Package it")[1].split("```bash\n")[1].split("```")[0]
    repository = tmp_path / "repository"
    shutil.copytree(ROOT / "scripts" / "deploy_app", repository / "scripts" / "deploy_app")
    (repository / "bundle").mkdir()
    (repository / "bundle" / "__init__.py").touch()
    before = sorted(repository.rglob("*"))
    stand_in = 'monai-deploy() { ls "$2" "$2/bundle" "$4"; }\n'
    (tmp_path / "temporary").mkdir()
    environment = {**os.environ, "TMPDIR": str(tmp_path / "temporary")}
    words = ["bash", "-ec", stand_in + lines]
    done = subprocess.run(words, cwd=repository, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert {"app.py", "app.yaml", "bundle", "requirements.txt", "__init__.py"} <= set(done.stdout.split())
    assert sorted(repository.rglob("*")) == before


def test_the_application_asks_for_what_the_bundle_needs():
    """The container's packages are those of pyproject.toml, the SDK, and what the SDK imports beside."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {line.split("  #")[0] for line in project["dependencies"]}
    listed = (ROOT / "scripts" / "deploy_app" / "requirements.txt").read_text().splitlines()
    given = {line for line in listed if line and not line.startswith("#")}
    assert given == wanted | {"monai-deploy-app-sdk>=4,<5", "highdicom>=0.27", "pydicom>=3"}
