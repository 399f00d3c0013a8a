"""Python in a process of its own that sees one package and nothing else of this bundle."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def run_in_package(folder: Path, module: str, *arguments: str, cwd: Path, tools: Path | None = None) -> str:
    """Run ``python -m module`` with a package's modules on the path, on the CPU, leaving no bytecode behind.

    The hash seed is fixed: TorchScript writes constants in the order of a set.

    Args:
        folder: the package.
        module: what is run.
        arguments: its command line.
        cwd: where it runs.
        tools: a folder behind the package on the path, for a module that a package does not have.

    Returns:
        The end of what it said on stderr where it failed, else nothing.
    """
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(str(path.resolve()) for path in (folder, tools) if path is not None),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "CUDA_VISIBLE_DEVICES": "",
    }
    call = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(call, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    return (done.stderr.strip()[-1500:] or f"exit status {done.returncode}") if done.returncode else ""
