"""The commands that faults are tried on: ``commands.yaml``, which says what the fields are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..golden_results.steps import option_words

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Command:
    """A command of the bundle; it runs in a folder of its own, reads below ``in`` there and writes below ``out``."""

    name: str
    options: Mapping[str, Any]
    needs: Mapping[str, str]
    run: str = ""
    module: str = ""
    resume: Mapping[str, Any] = field(default_factory=dict)
    locks: str | None = None
    grows: bool = False
    damaged: Sequence[str] | None = None

    def words(self, is_again: bool = False) -> list[str]:
        """What follows ``python -m``; ``is_again``: goes on with what an earlier start has made."""
        options = dict(self.options) | (dict(self.resume) if is_again else {})
        if self.module:
            return [self.module, *option_words(options)]
        verb, *names = self.run.split()
        files = [str(ROOT / "configs" / f"{name}.yaml") for name in names]
        given = {"config_file": repr(files) if len(files) > 1 else files[0], "bundle_root": ROOT, "device": "cpu"}
        return ["monai.bundle", "run", verb, *option_words(given | options)]


_LISTED = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))["commands"]
BY_NAME = {entry["name"]: Command(**entry) for entry in _LISTED}
