"""The order of ``handlers`` in a training config cannot matter: each one has its turn."""

import csv
import random
from pathlib import Path

import pytest
import torch
from cohorts import write_cohort
from monai.bundle import ConfigParser

import bundle.training
from bundle.training.handlers.turn import Turn, in_turn

CONFIGS = Path(__file__).parents[2] / "configs"
STAGES = ["train.yaml", "train_patch_encoder.yaml"]
TINY = {
    "embed_dim": 24,
    "depth": 1,
    "n_heads": 3,
    "out_dim": 64,
    "hidden_dim": 16,
    "bottleneck_dim": 8,
    "n_local": 2,
    "batch_size": 6,
    "max_epochs": 3,
    "lr": 0.01,
    "lr_warmup_epochs": 1,
    "prototype_warmup_epochs": 1,
    "n_prototypes": 2,
    "checkpoint_interval": 2,
    "device": "cpu",
}


class Listed:
    """Stands for a handler of a config."""

    def __init__(self, handler):
        target = handler["_target_"]
        self.name = handler.get("name", target)
        if target.startswith("bundle.training."):
            self.turn = getattr(bundle.training, target.rpartition(".")[2]).turn


def listed(stage):
    """The handlers of a config as it lists them."""
    parser = ConfigParser()
    parser.read_config(str(CONFIGS / stage))
    return [Listed(handler) for handler in parser["train"]["handlers"]]


@pytest.mark.parametrize("stage", STAGES)
def test_every_order_is_put_right(stage):
    """All swaps of two handlers, and some shuffles: only those that share a turn may change places."""
    handlers = listed(stage)
    assert in_turn(handlers) == handlers, "the config itself lists them by turn, for those who read it"
    orders = []
    for first in range(len(handlers)):
        for second in range(first):
            order = list(handlers)
            order[first], order[second] = order[second], order[first]
            orders.append(order)
    orders += [random.Random(seed).sample(handlers, len(handlers)) for seed in range(100)]
    by_turn = {turn: {h.name for h in handlers if getattr(h, "turn", Turn.MEASURE) == turn} for turn in Turn}
    for order in orders:
        put = in_turn(order)
        for turn in Turn:
            place = [h.name for h in put[: len(by_turn[turn])]]
            assert set(place) == by_turn[turn]
            put = put[len(by_turn[turn]) :]


def trained(tokens, output, order):
    """Weights, checkpoints, best checkpoint and history of a run whose handlers are listed in another order."""
    parser = ConfigParser()
    parser.read_meta(str(CONFIGS / "metadata.json"))
    parser.read_config(str(CONFIGS / "train.yaml"))
    paths = {"dataset_dir": tokens, "output_dir": output, "model_path": output / "model.pt"}
    table = {"slide_table": str(tokens / "slide_table.csv"), "bundle_root": str(CONFIGS.parent)}
    for name, value in ({**TINY, **table} | {name: str(path) for name, path in paths.items()}).items():
        parser[name] = value
    parser["train#handlers"] = order(parser["train"]["handlers"])
    torch.manual_seed(0)
    parser.get_parsed_content("train#trainer").run()
    with (output / "history.csv").open(newline="") as file:
        rows = [{k: v for k, v in row.items() if not k.endswith("seconds")} for row in csv.DictReader(file)]
    files = {path.name: torch.load(path, weights_only=True) for path in output.glob("*.pt")}
    return rows, files


def checkpoint_second(handlers):
    """What used to lose ``best.pt``, with exit code 0."""
    names = [handler["_target_"].rpartition(".")[2] for handler in handlers]
    saver = names.index("CheckpointHandler")
    return [handlers[0], handlers[saver], *handlers[1:saver], *handlers[saver + 1 :]]


def reverse(handlers):
    return handlers[::-1]


def shuffle(handlers):
    return random.Random(1).sample(handlers, len(handlers))


def same(a, b):
    """Equal to the bit, in depth."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if torch.is_tensor(a) else a == b


def test_a_run_is_the_same_in_any_order(tmp_path, monkeypatch):
    """History, checkpoints (``best.pt`` used to be missing), exported weights: all equal to the bit."""
    monkeypatch.setattr("bundle.training.handlers.history.plot_training", lambda rows, path: None)  # most of the time
    tokens = write_cohort(tmp_path / "tokens", regions=(3, 4, 1, 5, 4, 4))
    rows, files = trained(tokens, tmp_path / "right", list)
    assert set(files) == {"last.pt", "best.pt", "epoch_0002.pt", "model.pt", "model_head.pt"} and len(rows) == 4
    for order in (checkpoint_second, reverse, shuffle):
        other_rows, other_files = trained(tokens, tmp_path / order.__name__, order)
        assert other_rows == rows, order.__name__
        assert same(other_files, files), order.__name__
