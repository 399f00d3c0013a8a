"""The unit tests for the Model Zoo's repository, in the form and place that its runner asks for."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from warm import run_python

ZOO_TESTS = Path(__file__).parents[1] / "zoo"


@pytest.mark.slow
def test_unit_tests_of_the_model_zoo(package, tmp_path):
    """Started beside models/pathology_slpd: training, inference, and training in two processes."""
    shutil.copytree(package.folder, tmp_path / "models" / "pathology_slpd")
    environment = os.environ | {
        "PYTHONPATH": str(ZOO_TESTS),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    call = [sys.executable, "-m", "unittest", "test_pathology_slpd", "test_pathology_slpd_dist"]
    done = run_python(call, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Ran 3 tests" in done.stderr and "skipped" not in done.stderr
