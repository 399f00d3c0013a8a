"""What a config that was started by MONAI's command, in this process, hands to its parts."""

import sys
import warnings
from pathlib import Path

import fire
import yaml
from monai.bundle import scripts

KEPT: list[dict] = []
IDS = {
    "dataset_dir": "$@bundle_root + '/tokens'",
    "slide_table": None,
    "label": "label",
    "query": None,
    "encoders": {"SLPD": "$@bundle_root + '/model.pt'"},
    "classes": None,
    "seed": 0,
    "amp": False,
    "cache": "auto",
}


def keep(**ids) -> None:
    """A part of the config: notes what it is made with."""
    KEPT.append(ids)


def write_config(folder: Path) -> Path:
    """Ids, and a part that is made with each of them, as the bundle's own configs hand them on."""
    config = {
        "imports": ["$from bundle.core.as_typed import values"],
        "bundle_root": str(folder),
        "device": "cpu",
        **IDS,
        "begin": {"_target_": "bundle.core.begin", "seed": "@seed", "device": "@device", "from_ids": "@imports#0"},
        "part": {"_target_": "typed_values.keep", **{name: f"@{name}" for name in IDS}, "below": {"label": "@label"}},
        "run": ["$@begin", "$@part"],
    }
    path = folder / "typed.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def started(config: Path, *words: str, monkeypatch) -> dict:
    """What the part got by ``python -m monai.bundle run --config_file CONFIG WORDS``."""
    argv = ["monai/bundle/__main__.py", "run", "--config_file", str(config), *words]
    with monkeypatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI's word on whom to trust, once a config
        for name, value in (("argv", argv), ("excepthook", sys.excepthook)):
            patch.setattr(sys, name, value)
        KEPT.clear()
        fire.Fire({"run": scripts.run}, argv[1:])
    return KEPT[-1]
