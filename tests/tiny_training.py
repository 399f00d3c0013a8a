"""A run of ``configs/train.yaml`` on a handful of regions, small enough to be repeated within a test."""

from workflows import workflow

TINY = {
    "embed_dim": 24,
    "depth": 1,
    "n_heads": 3,
    "out_dim": 64,
    "hidden_dim": 16,
    "bottleneck_dim": 8,
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
