"""A run of ``configs/train.yaml`` on a handful of regions, small enough to be repeated within a test."""

import csv

import torch
from workflows import workflow

NETWORK = {"embed_dim": 24, "depth": 1, "n_heads": 3, "out_dim": 64, "hidden_dim": 16, "bottleneck_dim": 8}
TINY = {
    **NETWORK,
    "n_local": 2,
    "batch_size": 6,
    "lr": 0.01,
    "lr_warmup_epochs": 1,
    "prototype_warmup_epochs": 1,
    "n_prototypes": 2,
    "device": "cpu",
}


def tiny_run(tokens, output, **ids):
    """The config, read and ready to run, for tokens with a slide table; ``ids`` come before the small ones."""
    paths = {"dataset_dir": tokens, "output_dir": output, "model_path": output / "model.pt"}
    paths["slide_table"] = tokens / "slide_table.csv"
    return workflow("train.yaml", kind="train", **{**TINY, **paths, **ids})


def history_of(output):
    """The rows of a run's table as they stand, but for clocks."""
    with (output / "history.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if "seconds" not in k} for row in csv.DictReader(file)]


def differences(a, b, path=""):
    """Where nested dictionaries and lists differ by a bit."""
    if torch.is_tensor(a):
        return [] if torch.equal(a, b) else [path]
    if isinstance(a, dict) and a.keys() == b.keys():
        return [found for k in a for found in differences(a[k], b[k], f"{path}/{k}")]
    if isinstance(a, list | tuple) and len(a) == len(b):
        return [found for i, (x, y) in enumerate(zip(a, b, strict=True)) for found in differences(x, y, f"{path}/{i}")]
    return [] if a == b else [path]
