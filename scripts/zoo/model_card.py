"""The page that a model hub shows: YAML front matter, then what the weights are and how to load them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .model import RegionModel


def model_card(metadata: Mapping[str, Any], model: RegionModel, has_patch_encoder: bool, notes: str | None) -> str:
    """The card of a package, ``model_card.md.jinja`` filled in.

    Args:
        metadata: the package's.
        model: its weights.
        has_patch_encoder: ``models/patch_encoder.pt`` is in it.
        notes: what whoever trained the weights says of them (Markdown); None: nothing was said, and the card says so.
    """
    loader = FileSystemLoader(Path(__file__).parent)
    templates = Environment(
        loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return templates.get_template("model_card.md.jinja").render(
        metadata=metadata,
        model=model,
        n_values=sum(tensor.numel() for tensor in model.state.values()),
        has_patch_encoder=has_patch_encoder,
        notes=(notes or "").strip(),
    )
