"""Subcommands that are no config's: the estimate, Slurm, and what serves slides to viewers."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ..core.errors import BundleError
from ..core.places import ROOT
from . import doctor, slurm


def run(name: str, words: Sequence[str]) -> int:
    """``slpd doctor``, ``slpd estimate``, ``slpd slurm``, ``slpd label``."""
    return {"doctor": doctor.main, "estimate": _estimate, "slurm": slurm.main, "label": _label}[name](words)


def _estimate(words: Sequence[str]) -> int:
    import runpy

    own = Path("models", "patch_encoder.pt")
    if own.is_file() and not any(word.startswith("--patch_encoder_ckpt") for word in words):
        words = [*words, "--patch_encoder_ckpt", str(own)]
    sys.argv = ["slpd estimate", *words]
    try:
        runpy.run_module("bundle.pipelines.estimate", run_name="__main__", alter_sys=False)
    except SystemExit as told:
        return told.code if isinstance(told.code, int) else int(told.code is not None)
    return 0


def _label(words: Sequence[str]) -> int:
    """The start script, with this Python; this process becomes it."""
    script = ROOT / "scripts" / "label"
    if not script.is_file():
        raise BundleError(f"there is no {script}: MONAI Label starts from a clone, or from a wheel, of the bundle.")
    os.execvpe("bash", ["bash", str(script), *words], {**os.environ, "SLPD_PYTHON": sys.executable})
