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

import os
import unittest

import torch
from test_pathology_slpd import BUNDLE_ROOT, TRAIN, OnTokens
from utils import export_config_and_run_mgpu_cmd


class TestPathologySLPDMGPU(OnTokens):
    def test_train_mgpu_config(self):
        model = os.path.join(self.output_dir, "trained.pt")
        override = {
            **TRAIN,
            "bundle_root": BUNDLE_ROOT,
            "dataset_dir": self.dataset_dir,
            "output_dir": os.path.join(self.output_dir, "run"),
            "model_path": model,
        }
        names = ("train.json", "multi_gpu_train.json")
        output_path = os.path.join(BUNDLE_ROOT, "configs/train_override.json")
        try:
            export_config_and_run_mgpu_cmd(
                config_file=[os.path.join(BUNDLE_ROOT, "configs", name) for name in names],
                logging_file=os.path.join(BUNDLE_ROOT, "configs/logging.conf"),
                meta_file=os.path.join(BUNDLE_ROOT, "configs/metadata.json"),
                override_dict=override,
                output_path=output_path,
                ngpu=torch.cuda.device_count() or 2,  # two processes on CPUs where there is no GPU
                # the check opens a process group, which only a runner under torchrun has the variables for
                check_config="LOCAL_RANK" in os.environ,
            )
        finally:
            if os.path.exists(output_path):
                os.remove(output_path)
        self.assertTrue(os.path.exists(model))


if __name__ == "__main__":
    unittest.main()
