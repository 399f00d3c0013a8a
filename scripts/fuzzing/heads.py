"""Saved heads: what is said of them, and their numbers."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from bundle.heads.head_files import load_head

from .changes import changed_bytes, changed_json
from .drawing import Target


def head_targets(folder: Path) -> Iterator[Target]:
    """Parsers of heads; ``folder`` is theirs."""
    numbers = save({"weight": np.ones((2, 3)), "bias": np.zeros(2), "mean": np.zeros(3), "scale": np.ones(3)})
    record: dict[str, Any] = {
        "kind": "slide_head", "head_version": 1, "protocol": "linear", "task": "classification", "label": "l",
        "classes": ["a", "b"], "features": "region_embedding", "dim": 3, "harmonize": None, "encoder": {"mpp": 0.5},
        "threshold": 0.5, "temperature": 1.0, "held_out": 3, "patients": ["x"], "slides": ["y"],
        "figures": {"auc": [0.5, 0.4, 0.6]},
        "seed": 0, "bundle_version": "1", "tensors_sha256": hashlib.sha256(numbers).hexdigest(),
    }  # fmt: skip

    def of_record(path: Path) -> None:
        (folder / "h.safetensors").write_bytes(numbers)
        shutil.copy(path, folder / "h.json")
        _use_head(folder / "h.json")

    def of_numbers(path: Path) -> None:
        shutil.copy(path, folder / "h.safetensors")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        (folder / "h.json").write_text(json.dumps({**record, "tensors_sha256": digest}))
        _use_head(folder / "h.json")

    yield Target("head JSON", ".json", changed_json([record]), of_record)
    yield Target("head numbers", ".safetensors", changed_bytes([numbers]), of_numbers)


def _use_head(path: Path) -> None:
    head = load_head(path)
    head.misfit({"mpp": 0.5}, 3), head.has_seen("p", "s"), head.labels, head.groups
    head.called(head.of_bags([np.ones((2, 3), np.float32)]))
