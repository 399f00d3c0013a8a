"""Architectures of published patch encoders, by name.

Sources: arguments that the models' own configs and cards, or those who load their files strictly, hand to timm
(``vit_large_patch16_224`` and the like), and configs of Hugging Face's transformers: UNI, UNI2-h, H-optimus, H0-mini,
Virchow, Virchow2, Prov-GigaPath, GPFM (mahmoodlab/TRIDENT, and for Virchow2 its ``config.json``), Kaiko
(``hubconf.py`` of kaiko-ai/towards_large_pathology_fms), Lunit (readme of lunit-io/benchmark-ssl-pathology), DINOv2
(``dinov2/hub/backbones.py``), Phikon and Hibou-B (``config.json``), Hibou-L (HistAI/hibou, where CellViT-Hibou loads
it), HIPT (mahmoodlab/HIPT), Phikon-v2 (its card: a ``Dinov2Model``, ViT-L/16, trained on 224 px).

``image_size: None``: what the positions in the file say. The cards of Midnight (from DINOv2's ViT-g/14) and
OpenMidnight (DINOv2's ViT-g/14 with registers) do not tell on which grid theirs lie.
"""

from __future__ import annotations

from typing import Any

_S = {"dim": 384, "depth": 12, "n_heads": 6, "mlp_hidden": 1536}
_B = {"dim": 768, "depth": 12, "n_heads": 12, "mlp_hidden": 3072}
_L = {"dim": 1024, "depth": 24, "n_heads": 16, "mlp_hidden": 4096}
_H = {"dim": 1280, "depth": 32, "n_heads": 16, "mlp_hidden": 3416, "swiglu": True}
_G = {"dim": 1536, "depth": 40, "n_heads": 24, "mlp_hidden": 4096, "swiglu": True}

_P8 = {"image_size": 224, "patch_size": 8}
_P14 = {"image_size": 224, "patch_size": 14}
_P16 = {"image_size": 224, "patch_size": 16}
_SCALED = {"layer_scale": True}
_DINO2 = {"image_size": 518, "patch_size": 14, **_SCALED, "resize": "offset"}
_DINO2_REGISTERS = {"image_size": 518, "patch_size": 14, **_SCALED, "n_registers": 4}
_OPTIMUS = {**_P14, **_SCALED, "n_registers": 4, "positions": "patches"}
_HIBOU = {**_P14, **_SCALED, "n_registers": 4, "swiglu": True}

VIT_ARCHITECTURES: dict[str, dict[str, Any]] = {
    "hipt": {**_S, **_P16, "resize": "offset"},
    "dinov2-s": {**_S, **_DINO2},
    "dinov2-b": {**_B, **_DINO2},
    "dinov2-s-registers": {**_S, **_DINO2_REGISTERS},
    "dinov2-b-registers": {**_B, **_DINO2_REGISTERS},
    "uni": {**_L, **_P16, **_SCALED},
    "uni2-h": {**_G, "depth": 24, **_P14, **_SCALED, "n_registers": 8, "positions": "patches"},
    "h-optimus-0": {**_G, **_OPTIMUS},
    "h-optimus-1": {**_G, **_OPTIMUS},
    "h0-mini": {**_B, **_OPTIMUS, "swiglu": True, "mlp_hidden": 2048},
    "virchow": {**_H, **_P14, **_SCALED, "output": "class+mean"},
    "virchow2": {**_H, **_P14, **_SCALED, "n_registers": 4, "positions": "all", "output": "class+mean"},
    "prov-gigapath": {**_G, **_P16, **_SCALED},
    "phikon": {**_B, **_P16, "norm_eps": 1e-12, "resize": "plain"},
    "phikon-v2": {**_L, **_P16, **_SCALED, "resize": "plain"},
    "hibou-b": {**_B, **_HIBOU, "mlp_hidden": 2048},
    "hibou-l": {**_L, **_HIBOU, "mlp_hidden": 2736},
    "midnight": {**_G, **_P14, "image_size": None, **_SCALED, "resize": "plain", "output": "class+mean"},
    "openmidnight": {**_G, **_P14, "image_size": None, **_SCALED, "n_registers": 4},
    "gpfm": {**_L, **_P14, **_SCALED},
    "kaiko-s8": {**_S, **_P8},
    "kaiko-s16": {**_S, **_P16},
    "kaiko-b8": {**_B, **_P8},
    "kaiko-b16": {**_B, **_P16},
    "kaiko-l14": {**_L, **_DINO2_REGISTERS, "positions": "patches"},
    "lunit-vits8": {**_S, **_P8},
    "lunit-vits16": {**_S, **_P16},
}
