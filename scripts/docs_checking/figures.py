"""Figures that a page states and that can be counted here: sizes, defaults of settings, what the demo makes."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from .printed import ROOT

_DEFAULT = re.compile(r"`(?:--)?([a-z]\w*)` \(([\d.,]+)\)")
_FLOAT16_BYTES = 2


def wrong_defaults(page: str) -> list[str]:
    """Settings whose value in brackets, as in "`max_slides` (200)", is none that a config has.

    Args:
        page: path from the root.
    """
    text, found = (ROOT / page).read_text(encoding="utf-8"), []
    for name, number in _DEFAULT.findall(text):
        known = _defaults().get(name)
        if known is not None and float(number.replace(",", "")) not in known:
            found.append(f"{page}: {name} is {number} there, and {sorted(known)} in the configs")
    return found


@cache
def _defaults() -> dict[str, set[float]]:
    """Numbers at the top of the configs, by id; of ids that are numbers everywhere."""
    found: dict[str, set[float]] = {}
    for path in sorted((ROOT / "configs").glob("*.yaml")):
        for name, value in yaml.safe_load(path.read_text(encoding="utf-8")).items():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                found.setdefault(name, set()).add(float(value))
    return found


def wrong_figures(entries: Iterable[dict[str, str]], demo: Path) -> list[str]:
    """Sentences that the page has no more, or whose number is another.

    Args:
        entries: ``page``, ``says``, and ``by``, a name of :data:`COUNTED`.
        demo: a folder in which ``slpd demo`` has run.
    """
    found = []
    for entry in entries:
        counted = COUNTED[entry["by"]](demo)
        if entry["says"] not in (ROOT / entry["page"]).read_text(encoding="utf-8"):
            found.append(f"{entry['page']}: does not say {entry['says']!r} any more (table.yaml, figures)")
        elif counted != entry["says"]:
            found.append(f"{entry['page']}: says {entry['says']!r}, and it is {counted!r}")
    return found


def _train(name: str) -> Any:
    return yaml.safe_load((ROOT / "configs" / "train.yaml").read_text(encoding="utf-8"))[name]


def _region_parameters(demo: Path) -> str:
    from bundle.networks import RegionViT

    network = RegionViT(384, dim=_train("embed_dim"), depth=_train("depth"), n_heads=_train("n_heads"))
    return f"{sum(weight.numel() for weight in network.parameters()) / 1e6:.1f} M parameters"


def _region_bytes() -> int:
    return 16 * 16 * 384 * _FLOAT16_BYTES


def _drawn_slides(demo: Path) -> str:
    from bundle.demo import make_demo_slides

    return f"{inspect.signature(make_demo_slides).parameters['n_slides'].default} slides and slide_table.csv"


def _n_files(demo: Path, below: str, pattern: str) -> int:
    return len(list((demo / below).glob(pattern)))


COUNTED: dict[str, Callable[[Path], str]] = {
    "parameters of the region encoder": _region_parameters,
    "bytes of a region": lambda demo: f"{_region_bytes() / 1e3:.0f} kB; {_region_bytes() * 62853 / 1e9:.0f} GB",
    "largest entropy": lambda demo: f"log(out_dim) = {math.log(_train('out_dim')):.1f}",
    "slides drawn": _drawn_slides,
    "slides of the demo": lambda demo: f"{_n_files(demo, 'slides', '*.tif')} slides of two diagnoses",
    "tokens of the demo": lambda demo: f"{_n_files(demo, 'tokens', '*.h5')} slides of two diagnoses",
    "embeddings of the demo": lambda demo: (
        f"{_n_files(demo, 'eval/inference/embeddings', '*.h5')} slides of two diagnoses"
    ),
}


def faults(entries: Iterable[dict[str, str]], pages: Sequence[str], demo: Path) -> list[str]:
    """All of it for some pages."""
    own = [entry for entry in entries if entry["page"] in pages]
    return [*wrong_figures(own, demo), *(fault for page in pages for fault in wrong_defaults(page))]
