"""What others do with a package: download, load, create a workflow, run, all from another folder."""

import json
import os
import re
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from cohorts import write_cohort
from warm import run_python

from bundle.networks import sha256_of

ROOT = Path(__file__).parents[2]
USE = """
import json, sys, torch
from monai.bundle import create_workflow, download, load

download(name="pathology_slpd", source="url", url=sys.argv[1], bundle_dir=".", progress=False)
sys.path.insert(0, "pathology_slpd")
script, metadata, _ = load("pathology_slpd", bundle_dir=".", device="cpu", load_ts_module=True)
networks = [load("pathology_slpd", bundle_dir=".", device="cpu", workflow_type=kind) for kind in ("train", "inference")]
workflow = create_workflow(
    config_file="pathology_slpd/configs/inference.json", workflow_type="infer", bundle_root="pathology_slpd",
    dataset_dir=sys.argv[2], output_dir="made",
)
missing = workflow.check_properties()
workflow.run()
exec(open("pathology_slpd/README.md").read().split("```python")[1].split("```")[0])
image = torch.linspace(-1, 1, 12 * 256).view(1, 12, 16, 16)
outputs = [network.eval()(image).tolist() for network in (script, *networks)]
found = {"outputs": outputs, "missing": missing, "version": metadata["version"], "card": list(unit.shape)}
json.dump(found, open("found.json", "w"))
"""


class Quiet(SimpleHTTPRequestHandler):
    """Says nothing on the console."""

    def log_message(self, *_):
        pass


@pytest.fixture
def address(package):
    """The folder with the zip, over HTTP on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=package.archive.parent))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/{package.archive.name}"
    server.shutdown()
    server.server_close()


def run(*call, cwd):
    """A process that knows nothing of this checkout; what it said, where it failed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = run_python([sys.executable, *call], cwd=cwd, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]


def test_download_load_and_create_workflow(package, address, tmp_path):
    """From the zip's address to embeddings, in a folder that knows only the download; the card's lines run there."""
    from bundle.networks import load_region_encoder

    tokens = write_cohort(tmp_path / "tokens")
    (tmp_path / "elsewhere").mkdir()
    run("-c", USE, address, str(tokens), cwd=tmp_path / "elsewhere")
    found = json.loads((tmp_path / "elsewhere" / "found.json").read_text())
    encoder = load_region_encoder(package.folder / "models" / "model.pt")
    with torch.no_grad():
        expected = encoder(torch.linspace(-1, 1, 12 * 256).view(1, 12, 16, 16))
    for output in found["outputs"]:
        torch.testing.assert_close(torch.tensor(output), expected, atol=1e-5, rtol=0)
    assert found["missing"] == [] and found["card"] == [1, 8]
    made = sorted(path.name for path in (tmp_path / "elsewhere" / "made" / "embeddings").glob("*.h5"))
    assert made == [f"slide_{i}.h5" for i in range(4)]


def test_run_from_another_folder(package, tmp_path):
    """`python -m monai.bundle run` with absolute paths needs no PYTHONPATH."""
    tokens = write_cohort(tmp_path / "tokens", regions=(2, 1))
    options = {
        "config_file": package.folder / "configs" / "inference.yaml",
        "bundle_root": package.folder,
        "dataset_dir": tokens,
        "output_dir": tmp_path / "made",
    }
    arguments = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    run("-m", "monai.bundle", "run", "inferring", *arguments, cwd=tmp_path)
    assert len(list((tmp_path / "made" / "embeddings").glob("*.h5"))) == 2


@pytest.mark.slow
def test_the_command_checks_the_zip_and_makes_the_same_bytes(package, weights, tmp_path):
    """MONAI's checks pass on the unpacked zip, none is skipped; no byte differs from another run."""
    dist = tmp_path / "dist"
    call = ["-m", "scripts.zoo", "--model", str(weights / "model.pt"), "--output_dir", str(dist)]
    call += ["--patch_encoder", str(weights / "patch_encoder.pt")]
    done = run_python([sys.executable, *call], cwd=ROOT)
    assert done.returncode == 0, done.stderr
    outcomes = dict(match[::-1] for match in re.findall(r"^  (passed|skipped|FAILED) +(.+?)  ", done.stdout, re.M))
    names = ["the Model Zoo's rules", "verify_metadata", "verify_net_in_out", "ckpt_export", "models/model.ts"]
    names += ["projection head"]
    assert outcomes == {name: "passed" for name in [*names, "onnx_export", "monai.bundle.load"]}, done.stdout
    before = package.archive.parent
    files = [
        package.archive.name,
        "model_info.json",
        *(f"huggingface/{n}.safetensors" for n in ("model", "model_head")),
    ]
    files += sorted(path.relative_to(before).as_posix() for path in (before / "hipt").iterdir())
    assert len(files) == 6
    assert [sha256_of(before / name) for name in files] == [sha256_of(dist / name) for name in files]


def test_scripts_package_without_a_model(tmp_path):
    """It stops with one sentence, and an exit status."""
    call = ["-m", "scripts.zoo", "--model", str(tmp_path / "none.pt"), "--output_dir", str(tmp_path / "dist")]
    done = run_python([sys.executable, *call], cwd=ROOT)
    assert done.returncode == 1 and done.stderr.startswith("Stopped: there is no trained model at")
    assert not (tmp_path / "dist").exists()
