"""What is compared: each method is a handful of ids of ``configs/train.yaml``, written in ``methods.yaml``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import yaml

_WRITTEN = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
SETTINGS: dict[str, Any] = _WRITTEN["settings"]


class Method(NamedTuple):
    """One way to train.

    Attributes:
        name: of its row.
        ids: what it changes of the settings.
        parent: the method from whose warm-up it goes on; None: from its initialization.
        bank: class of the prototype bank, where it is not the paper's.
    """

    name: str
    ids: dict[str, Any]
    parent: str | None = None
    bank: str | None = None


def _methods(kind: str, suffix: str = "", **shared: Any) -> list[Method]:
    found = []
    for name, change in _WRITTEN[kind].items():
        ids = shared | change
        bank = f"scripts.bench.learning.banks.{ids.pop('bank')}" if "bank" in ids else None
        found.append(Method(name.format(suffix), ids, None if name == "DINO{}" else f"DINO{suffix}", bank))
    return found


PLAIN = _methods("family")
SHIFTED = _methods("family", ", token shift", token_shift="covariance")
ABLATIONS = _methods("ablations")
REGIONAL = [method for name, ids in _WRITTEN["views"].items() for method in _methods("pair", f", {name}", **ids)]
ASSIGNED = [*_methods("assigned"), *_methods("assigned", ", region shift", token_shift="region")]
SHIFTED_ABLATIONS = [
    *_methods("ablations", ", token shift", token_shift="covariance"),
    *_methods("family", ", token swap", token_shift="swap"),
]
