"""A package's configs: the sizes of its weights, and the JSON that MONAI looks for."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from bundle.core import BundleError, write_text

from .model import RegionModel

AS_JSON = ("train", "inference", "multi_gpu_train")  # `load` reads the first two, the Zoo's unit tests all three


def set_knobs(text: str, knobs: Mapping[str, int | float | str], source: str | Path) -> str:
    """A config with other defaults at its top, comments kept.

    Raises:
        BundleError: an id is not there.
    """
    for name, value in knobs.items():
        text, n_found = re.subn(rf"^{name}: [^\s#]+", f"{name}: {value}", text, flags=re.MULTILINE)
        if n_found != 1:
            raise BundleError(f"{source} has {n_found} lines that begin with '{name}:', expected 1.")
    return text


def write_configs(folder: Path, model: RegionModel) -> None:
    """Give the region encoder of the package's ``train.yaml`` its sizes, and write the JSON that others look for beside
    the YAML, indented as in the Model Zoo.

    ``monai.bundle.load`` builds the network from ``configs/train.json`` before it looks at the weights: another size
    than theirs would leave it untrained without a word.
    """
    for path in sorted(folder.glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        if path.name == "train.yaml":
            text = set_knobs(text, model.knobs, path)
            write_text(path, text)
        if path.stem in AS_JSON:
            write_text(path.with_suffix(".json"), json.dumps(yaml.safe_load(text), indent=4) + "\n")


def true_metadata(metadata: Mapping[str, Any], model: RegionModel) -> dict[str, Any]:
    """The bundle's metadata with the shapes of these weights, and a word where they are not trained."""
    made = copy.deepcopy(dict(metadata))
    formats = made["network_data_format"]
    formats["inputs"]["image"]["num_channels"] = model.token_dim
    formats["outputs"]["pred"]["num_channels"] = model.dim
    made["pred_classes"] = re.sub(r"\d+-dimensional", f"{model.dim}-dimensional", made["pred_classes"])
    if not model.is_trained:
        made["description"] = f"UNTRAINED, random weights for trying the packaging. {made['description']}"
    return made
