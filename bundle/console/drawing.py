"""The demo's slides, drawn once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from ..core.signals import end_when_told


def draw(folder: str) -> int:
    """Draw the demo's 48 slides, unless they are there.

    Args:
        folder: for slides and ``slide_table.csv``, which is written last.
    """
    if (Path(folder) / "slide_table.csv").is_file():
        return 0
    words = ["--task", "neighbors", "--n_slides", "48", "--mpp", "4", "--regions", "8", "--seed", "0"]
    end_when_told()
    command = [sys.executable, "-P", "-m", "bundle.demo", "--output_dir", folder, *words]
    drawing = subprocess.Popen(command, start_new_session=True)  # so that its own processes end with it
    try:
        return drawing.wait()
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(drawing.pid, signal.SIGTERM)
