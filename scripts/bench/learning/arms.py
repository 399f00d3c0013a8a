"""What is compared: each arm is a handful of ids of ``configs/train.yaml``, written in ``arms.yaml``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import yaml

_WRITTEN = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
SETTINGS: dict[str, Any] = _WRITTEN["settings"]


class Arm(NamedTuple):
    """One way to train.

    Attributes:
        name: of its row.
        ids: what it changes of the settings.
        parent: the arm from whose warm-up it goes on; None: from its initialization.
        bank: class of the prototype bank, where it is not the paper's.
    """

    name: str
    ids: dict[str, Any]
    parent: str | None = None
    bank: str | None = None


def _arms(kind: str, suffix: str = "", **shared: Any) -> list[Arm]:
    found = []
    for name, change in _WRITTEN[kind].items():
        ids = shared | change
        bank = f"scripts.bench.learning.banks.{ids.pop('bank')}" if "bank" in ids else None
        found.append(Arm(name.format(suffix), ids, None if name == "DINO{}" else f"DINO{suffix}", bank))
    return found


PLAIN = _arms("family")
SHIFTED = _arms("family", ", token shift", token_shift="covariance")
ABLATIONS = _arms("ablations")
REGIONAL = [arm for name, ids in _WRITTEN["views"].items() for arm in _arms("pair", f", {name}", **ids)]
ASSIGNED = [*_arms("assigned"), *_arms("assigned", ", region shift", token_shift="region")]
SHIFTED_ABLATIONS = [
    *_arms("ablations", ", token shift", token_shift="covariance"),
    *_arms("family", ", token swap", token_shift="swap"),
]
