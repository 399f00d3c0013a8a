"""The demo's slides, drawn once."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path


def draw(folder: str) -> int:
    """Draw the demo's 48 slides, unless they are there.

    Args:
        folder: for slides and ``slide_table.csv``, which is written last.
    """
    if (Path(folder) / "slide_table.csv").is_file():
        logging.getLogger(__name__).info("the slides are there")
        return 0
    words = ["--task", "neighbors", "--n_slides", "48", "--mpp", "4", "--regions", "8", "--seed", "0"]
    return subprocess.call([sys.executable, "-P", "-m", "bundle.demo", "--output_dir", folder, *words])
