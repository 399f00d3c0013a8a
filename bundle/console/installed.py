"""The package ``slpd`` of a wheel: the bundle's root lies in it, and is found before any folder of the user's."""

import os
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent / "root"


def main() -> None:
    """The command ``slpd``; processes that it starts find the bundle as well."""
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    os.environ["PYTHONSAFEPATH"] = "1"
    sys.path.insert(0, str(ROOT))
    runpy.run_module("bundle.console", run_name="__main__")
