# Copyright (c) pathology-slpd contributors
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

import json
import os
import shutil
import sys
import tempfile
import unittest

import numpy as np
from monai.bundle import ConfigWorkflow
from utils import check_workflow

BUNDLE_ROOT = "models/pathology_slpd"
TRAIN = {
    "max_epochs": 2,
    "prototype_warmup_epochs": 1,
    "batch_size": 4,
    "out_dim": 64,
    "n_local": 2,
    "n_prototypes": 2,
    "val_interval": 1,
}


def write_tokens(folder, n_slides=3, n_regions=3):
    """Token files as configs/tokenize.yaml writes them, with tokens as long as the bundle's weights take them."""
    from bundle.storage import TokenFileWriter

    with open(os.path.join(BUNDLE_ROOT, "configs/metadata.json")) as file:
        dim = json.load(file)["network_data_format"]["inputs"]["image"]["num_channels"]
    rng = np.random.default_rng(0)
    for slide in range(n_slides):
        path = os.path.join(folder, f"slide_{slide}.h5")
        coords = np.stack([np.arange(n_regions) * 4096, np.zeros(n_regions)], 1)
        attributes = {
            "slide_id": f"slide_{slide}",
            "slide_path": f"slide_{slide}.tif",
            "level0_mpp": 0.5,
            "mpp": 0.5,
            "region_size_px": 4096,
            "region_size_level0": 4096,
            "patch_size_px": 256,
            "level0_width": 4096 * n_regions,
            "level0_height": 4096,
            "encoder": "test",
            "reader": "test",
        }
        mask = np.ones((n_regions, 16, 16), bool)
        with TokenFileWriter(path, region_patches=16, dim=dim, coords=coords, mask=mask, attributes=attributes) as file:
            for region in range(n_regions):
                file.write(region, rng.normal(size=(16, 16, dim)))
    with open(os.path.join(folder, "slide_table.csv"), "w") as table:
        rows = [f"slide_{slide},{'ab'[slide % 2]}" for slide in range(n_slides)]
        table.write("\n".join(["slide,label", *rows, ""]))


class OnTokens(unittest.TestCase):
    """With token files, and a folder for results."""

    def setUp(self):
        sys.path.insert(0, BUNDLE_ROOT)
        self.dataset_dir = tempfile.mkdtemp()
        self.output_dir = tempfile.mkdtemp()
        write_tokens(self.dataset_dir)

    def tearDown(self):
        sys.path.remove(BUNDLE_ROOT)
        shutil.rmtree(self.dataset_dir)
        shutil.rmtree(self.output_dir)


class TestPathologySLPD(OnTokens):
    def workflow(self, kind, config, **override):
        return ConfigWorkflow(
            workflow_type=kind,
            config_file=os.path.join(BUNDLE_ROOT, "configs", config),
            logging_file=os.path.join(BUNDLE_ROOT, "configs/logging.conf"),
            meta_file=os.path.join(BUNDLE_ROOT, "configs/metadata.json"),
            bundle_root=BUNDLE_ROOT,
            dataset_dir=self.dataset_dir,
            output_dir=self.output_dir,
            **override,
        )

    def test_train_config(self):
        model = os.path.join(self.output_dir, "trained.pt")
        table = os.path.join(self.dataset_dir, "slide_table.csv")
        trainer = self.workflow("train", "train.json", model_path=model, slide_table=table, **TRAIN)
        check_workflow(trainer, check_properties=True)
        self.assertTrue(os.path.exists(model))

    def test_infer_config(self):
        inferrer = self.workflow("infer", "inference.json")
        check_workflow(inferrer, check_properties=True)
        files = os.listdir(os.path.join(self.output_dir, "embeddings"))
        self.assertEqual(sorted(name for name in files if name.endswith(".h5")), [f"slide_{i}.h5" for i in range(3)])


if __name__ == "__main__":
    unittest.main()
