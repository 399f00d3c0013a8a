"""The notebook does what it shows."""

import json
import os
import sys
from pathlib import Path

from warm import run_python

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "tour.ipynb").read_text(encoding="utf-8")
NOTEBOOK = json.loads(TEXT)
CODE = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
MADE = "print(sorted(path.name for path in WORK.iterdir()), (WORK / 'models' / 'model.pt').stat().st_size > 0)"


def test_the_cells_run_one_after_the_other(tmp_path):
    """With fewer slides and epochs, from the folder of the pages: all is made, and nothing beside the notebook."""
    (tmp_path / "tour.py").write_text("\n\n".join([*CODE, MADE]), encoding="utf-8")
    own = {"SLPD_TOUR_SMALL": "1", "TMPDIR": str(tmp_path), "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}
    before = sorted((ROOT / "docs").iterdir())
    run = run_python([sys.executable, str(tmp_path / "tour.py")], cwd=ROOT / "docs", env={**os.environ, **own})
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout.splitlines()[-1] == "['atlas', 'eval', 'index', 'models', 'slides', 'tokens'] True"
    assert sorted((ROOT / "docs").iterdir()) == before


def test_the_notebook_is_as_it_was_run():
    """Cells were run in their order without an error; outputs are small and name no folder of who ran it."""
    code = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert {output["output_type"] for cell in code for output in cell["outputs"]} == {"stream", "display_data"}
    assert len(TEXT) < 300_000 and NOTEBOOK["nbformat"] == 4
    assert not [word for word in ("/tmp", "Traceback", "site-packages") if word in TEXT]
