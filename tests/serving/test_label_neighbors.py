"""Two bundles in one MONAI Label server, both with a package called `bundle`."""

import json
import urllib.parse

import numpy as np
import pytest
import torch
from label_server import READING, ROOT, LabelServer, write_models
from PIL import Image
from tiny_slides import write_slide

pytestmark = pytest.mark.label

MAIN = """
import importlib.util
from pathlib import Path

from monailabel.interfaces.app import MONAILabelApp
from monailabel.tasks.infer.bundle import BundleInferTask

spec = importlib.util.spec_from_file_location("slpd_main", {main!r})
slpd = importlib.util.module_from_spec(spec)
spec.loader.exec_module(slpd)


class Both(slpd.PathologySlpd, MONAILabelApp):
    def init_infers(self):
        path = str(Path(__file__).parent / "model" / "neighbor")
        other = BundleInferTask(path, self.conf, type="classification", add_post_restore=False)
        return {{**super().init_infers(), "neighbor": other}}
"""
INFERENCE = {
    "network_def": {"_target_": "bundle.networks.ChannelMeans"},
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
        ],
    },
    "inferer": {"_target_": "SimpleInferer"},
    "postprocessing": {"_target_": "Compose", "transforms": [{"_target_": "bundle.networks.Halved"}]},
}
NETWORKS = """
import torch


class ChannelMeans(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(1))

    def forward(self, image):
        return self.gain * image.mean((2, 3))


class Halved:
    def __call__(self, data):
        return {**data, "pred": data["pred"] / 2}
"""
# what MONAI Label imports of torchvision for its stock tasks; the CPU build of torch has no torchvision to go with it
TORCHVISION = "def make_grid(*args, **kwargs):\n    raise NotImplementedError\n\n\nsave_image = make_grid\n"


def write_neighbor(folder):
    """A bundle as MONAI Label's stock task takes it, whose own code lies in a package called `bundle`."""
    channels = {"num_channels": 3, "spatial_shape": [8, 8], "channel_def": {"0": "red", "1": "green", "2": "blue"}}
    metadata = {
        "version": "0.0.1",
        "description": "a neighbor",
        "network_data_format": {"inputs": {"image": channels}, "outputs": {"pred": channels}},
    }
    for name, text in {
        "bundle/__init__.py": "",
        "bundle/networks.py": NETWORKS,
        "configs/inference.json": json.dumps(INFERENCE),
        "configs/metadata.json": json.dumps(metadata),
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "models").mkdir()
    torch.save({"gain": torch.ones(1)}, folder / "models" / "model.pt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("neighbors")


@pytest.fixture(scope="module")
def server(folder):
    app = folder / "app"
    write_neighbor(app / "model" / "neighbor")
    (app / "model" / "pathology_slpd").symlink_to(ROOT)
    (app / "main.py").write_text(MAIN.format(main=str(ROOT / "scripts" / "monailabel_app" / "main.py")))
    (folder / "stand_in" / "torchvision").mkdir(parents=True)
    (folder / "stand_in" / "torchvision" / "__init__.py").touch()
    (folder / "stand_in" / "torchvision" / "utils.py").write_text(TORCHVISION)
    write_slide(folder / "studies" / "a.tif", 320)
    Image.fromarray(np.full((8, 8, 3), (40, 80, 120), np.uint8)).save(folder / "picture.png")
    conf = {**write_models(folder / "models"), **READING, "work_dir": str(folder / "work")}
    server = LabelServer(app, folder / "studies", conf, python_path=str(folder / "stand_in"))
    yield server
    server.stop()


def test_both_answer_in_turn(server, folder):
    """Each has its own `bundle` package: ours embeds a slide, the neighbor's network and transform are its own."""
    assert sorted(server.get("/info/")["models"])[:2] == ["attention_map", "neighbor"]
    image = urllib.parse.quote(str(folder / "picture.png"))
    for _ in range(2):
        status, text = server.infer("prototype_map", "a", location=[0, 0], size=[0, 0])
        assert status == 200, text
        status, text = server.ask("POST", f"/infer/neighbor?image={image}&output=json")
        assert status == 200, text + server.log()[-2000:]
        assert [found["score"] for found in json.loads(text)["prediction"]] == [20, 40, 60]
        (folder / "work" / "inference" / "embeddings" / "a.h5").unlink()
        write_slide(folder / "studies" / "a.tif", 320, seed=1)  # another slide of the same name is embedded anew
