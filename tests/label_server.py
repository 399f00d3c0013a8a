"""A real MONAI Label server for tests, in the environment that `scripts/label --install` makes."""

import json
import os
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from encoder_files import own_file
from region_models import write_encoder
from tiny_slides import PATCH

from scripts.slurm_chain.cluster import end, free_ports

ROOT = Path(__file__).parents[1]
PYTHON = ROOT / ".venv-label" / "bin" / "python"
READING = {"mpp": "2.0", "patch_size": str(PATCH), "min_tissue_patches": "2", "device": "cpu"}


def write_models(folder: Path) -> dict[str, str]:
    """An untrained patch encoder (12 values) and an untrained region encoder (32), as ``--conf`` pairs."""
    folder.mkdir(parents=True, exist_ok=True)
    write_encoder(folder / "model.pt")
    own_file(folder / "patch_encoder.pt")
    names = {"region_encoder_ckpt": "model.pt", "patch_encoder_ckpt": "patch_encoder.pt"}
    return {name: str(folder / file) for name, file in names.items()}


class LabelServer:
    """Starts the server, asks it, stops it.

    Args:
        app_dir: folder with ``main.py``.
        studies: folder of slides.
        conf: ``--conf`` pairs.
        python_path: further folders for Python's path.
    """

    def __init__(self, app_dir: Path, studies: Path, conf: dict[str, str], python_path: str = "") -> None:
        if not PYTHON.is_file():
            pytest.skip("MONAI Label is not installed: run scripts/label --install, or scripts/test --label")
        self.port = free_ports(1)[0]
        self.log_path = app_dir.parent / f"{app_dir.name}.log"
        words = [word for name, value in conf.items() for word in ("--conf", name, value)]
        command = [PYTHON, "-m", "monailabel.main", "start_server", "--app", app_dir, "--studies", studies]
        with self.log_path.open("w") as log:
            self.process = subprocess.Popen(
                [*map(str, command), "--host", "127.0.0.1", "--port", str(self.port), *words],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": python_path},
            )
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                self.get("/info/")
                return
            except OSError:
                time.sleep(0.2)
        self.stop()
        raise RuntimeError(f"the server did not start: {self.log()[-3000:]}")

    def log(self) -> str:
        return self.log_path.read_text()

    def ask(self, method: str, path: str, data: bytes | None = None, kind: str = "") -> tuple[int, str]:
        """Status and text."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, method=method)
        if kind:
            request.add_header("Content-Type", kind)
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def get(self, path: str):
        """JSON of a GET request."""
        status, text = self.ask("GET", path)
        assert status == 200, text
        return json.loads(text)

    def post(self, path: str, values: dict) -> tuple[int, str]:
        """POST of JSON."""
        return self.ask("POST", path, json.dumps(values).encode(), "application/json")

    def infer(self, model: str, image: str, output: str = "json", **wsi) -> tuple[int, str]:
        """A ``wsi_v2`` request, as a form."""
        query = urllib.parse.urlencode({"image": image, "output": output})
        form = urllib.parse.urlencode({"wsi": json.dumps(wsi)}).encode()
        kind = "application/x-www-form-urlencoded"
        return self.ask("POST", f"/infer/wsi_v2/{model}?{query}", form, kind)

    def stop(self) -> None:
        end(self.process)


def link_app(folder: Path) -> Path:
    """An app folder as `scripts/label` makes it."""
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "pathology_slpd").symlink_to(ROOT)
    (folder / "main.py").symlink_to(ROOT / "scripts" / "monailabel_app" / "main.py")
    return folder
