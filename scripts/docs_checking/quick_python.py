"""A page's ``.venv``: that of the repository, with a Python that is quick to start."""

from __future__ import annotations

import runpy
from functools import cache
from pathlib import Path

from .printed import ROOT


def link_environment(folder: Path) -> None:
    """Make ``.venv`` in a copy of the repository.

    Its Python is forked from one that has imported MONAI (``tests/warm.py``), which is most of what a short command
    does. ``torchrun`` starts such ones, too.
    """
    own, real = folder / ".venv", (ROOT / ".venv").resolve()
    (own / "bin").mkdir(parents=True, exist_ok=True)
    for path in (*real.iterdir(), *(real / "bin").iterdir()):
        place = own / path.relative_to(real)
        if path.name not in ("bin", "python", "slpd", "torchrun") and not place.is_symlink():
            place.symlink_to(path)
    for name, words in (("python", ""), ("torchrun", " -m torch.distributed.run")):
        script = own / "bin" / name
        script.write_text(f'#!/bin/sh\nexport PYTHON_EXEC="{python()}"\nexec "{python()}"{words} "$@"\n', "utf-8")
        script.chmod(0o755)


@cache
def python() -> str:
    """What starts processes that begin with what takes long to import, for as long as this one is there."""
    found: str = runpy.run_path(str(ROOT / "tests" / "warm.py"))["python"]()
    return found
