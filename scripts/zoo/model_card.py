"""The page that a model hub shows: YAML front matter, then what the weights are and how to load them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from .model import RegionModel

_UNTRAINED = """> **These weights are random.** They are here to try the packaging; their embeddings mean nothing.
"""
_USE = """## Use

```python
import sys
import torch
from monai.bundle import load

sys.path.insert(0, "{folder}")  # the bundle brings modules of its own
encoder = load("{name}", bundle_dir=".", device="cpu").eval()
embedding = encoder(torch.rand(1, {token_dim}, 16, 16))  # [1, {dim}]
unit = encoder.project(torch.rand(1, {token_dim}, 16, 16))  # [1, {bottleneck}], where prototypes live
```

A token is the embedding of a patch of 128 um (256 px at 0.5 um/px, unless the table says otherwise) by
{patch_encoder}. From a slide to embeddings, and all other commands:
[docs/README.md](docs/README.md). Without Python, `models/model.ts` is the same network as TorchScript.
"""


def front_matter(metadata: Mapping[str, Any]) -> str:
    """The card's first lines, between ``---``."""
    fields = {
        "license": "apache-2.0",
        "library_name": "monai",
        "pipeline_tag": "feature-extraction",
        "tags": ["monai", "medical", "pathology", "whole-slide-images", "self-supervised-learning", metadata["name"]],
    }
    return f"---\n{yaml.safe_dump(fields, sort_keys=False)}---\n"


def model_card(metadata: Mapping[str, Any], model: RegionModel, has_patch_encoder: bool, notes: str | None) -> str:
    """The card of a package.

    Args:
        metadata: the package's.
        model: its weights.
        has_patch_encoder: ``models/patch_encoder.pt`` is in it.
        notes: what whoever trained the weights says of them (Markdown); None: nothing was said, and the card says so.
    """
    n_values = sum(tensor.numel() for tensor in model.state.values())
    patch_encoder = "`models/patch_encoder.pt`" if has_patch_encoder else "a patch encoder of your own (none is here)"
    use = _USE.format(
        folder=metadata["name"],
        name=metadata["name"],
        token_dim=model.token_dim,
        dim=model.dim,
        bottleneck=model.knobs["bottleneck_dim"],
        patch_encoder=patch_encoder,
    )
    rows = [
        ("input", f"`image`: token grid, float32 [B, {model.token_dim}, 16, 16]"),
        ("output", f"`pred`: region embedding, float32 [B, {model.dim}]"),
        ("backbone", f"ViT, {model.knobs['depth']} blocks, {model.knobs['n_heads']} heads"),
        ("parameters", f"{n_values:,}"),
        ("trained on", _trained_on(model)),
        ("tokens of", model.about.get("patch_encoder", "a patch encoder that is not recorded")),
        ("resolution of the tokens", f"{model.about['mpp']:g} um/px" if "mpp" in model.about else "not recorded"),
        ("version", metadata["version"]),
    ]
    table = "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])
    said = (
        notes.strip() if notes else "Whoever packaged these weights has said nothing on their data and their results."
    )
    parts = [
        front_matter(metadata),
        f"# {metadata['name']}\n",
        f"{metadata['description']}\n",
        *([] if model.is_trained else [_UNTRAINED]),
        f"{table}\n",
        f"## About these weights\n\n{said}\n",
        use,
        f"## Intended use\n\n{metadata['intended_use']}\n",
        f"## Limitations\n\n{_bullets(metadata['limitations'])}\n",
        f"## References\n\n{_bullets(metadata['references'])}\n",
    ]
    return "\n".join(parts)


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _trained_on(model: RegionModel) -> str:
    if not model.is_trained:
        return "nothing"
    return "not recorded" if model.slides is None else f"{len(model.slides)} slides"
