"""One run of ``configs/train.yaml`` on a cohort in memory, forked where its method says so."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Events
from monai.bundle import ConfigParser
from numpy.typing import NDArray
from torch import nn

from bundle.core import CONFIGS, BundleError, quietly, target_of

from ..cohort import MadeUpTokens
from .cohorts import PlantedTokens
from .methods import Method
from .probes import probe

# Pictures, logs and exports take time and tell nothing here; a collapse is a result.
_LEFT_OUT = {"TensorBoardHandler", "ValidationHandler", "export_handler", "watching_handlers"}
_WATCHED = (
    *("self", "intra", "inter", "teacher_entropy", "intra_entropy", "inter_entropy"),
    *("teacher_spread", "instance_accuracy", "other_similarity"),
)


def parse(
    data: MadeUpTokens, folder: Path, ids: dict[str, Any], bank: str | None = None, features: str | None = None
) -> ConfigParser:
    """``configs/train.yaml`` with other ids, tokens in memory, and the handlers that training needs.

    Args:
        data: the tokens.
        folder: what the run writes.
        ids: that are other than in the config.
        bank, features: classes of the prototype bank and of the teacher's features; None: the config's.

    Raises:
        BundleError: an id is not in the config.
    """
    config = ConfigParser.load_config_files([str(CONFIGS / "train.yaml")])
    given = {**ids, "bundle_root": str(folder), "output_dir": str(folder), "device": "cpu", "amp": False}
    unknown = sorted(set(given) - set(config))
    if unknown:
        raise BundleError(f"configs/train.yaml has no id {', '.join(unknown)}; correct the method.")
    config.update(given, dataset=data, token_dim=data.token_dim, resume=True)
    train = config["train"]
    train["handlers"] = [h for h in train["handlers"] if target_of(h).rpartition(".")[2] not in _LEFT_OUT]
    config["run_state"]["identity"]["n_prototypes"] = 0  # methods with another K go on from the same warm-up
    for part, name in ((config["prototypes"], bank), (config["region_features"], features)):
        part["of"] = name or part["of"]
    parser = ConfigParser(config)
    parser.parse(True)
    return parser


def train(method: Method, data: PlantedTokens, seed: int, folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Train a method, or go on with it, and probe its teacher on the held-out slides.

    Args:
        method: what to train; its parent must have been trained in the same folder.
        data: the cohort.
        seed: of the run.
        folder: of the cohort's runs; checkpoints are kept there while they are needed.
        settings: ids that all methods share.

    Returns:
        ``scores`` (:func:`probe`), ``last`` (means of the last epoch), ``epochs`` (of each that was trained here) and
        ``seconds``.
    """
    ids = {**settings, **method.ids, "seed": seed}
    fork = settings["prototype_warmup_epochs"]
    own = folder / method.name
    own.mkdir(parents=True, exist_ok=True)
    if method.parent is None:
        ids["checkpoint_interval"] = fork
    elif not (own / "last.pt").exists():
        shutil.copy(folder / f"{method.parent}.pt", own / "last.pt")
    epochs: list[dict[str, float]] = []
    started = time.perf_counter()
    with quietly():
        parser = parse(data, own, {"checkpoint_interval": 0, **ids}, method.bank)
        parser.get_parsed_content("begin")
        trainer = parser.get_parsed_content("train#trainer")
        trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: epochs.append(_watched(trainer.state.record)))
        trainer.run()
    seconds = time.perf_counter() - started
    scores = probe(embed(parser.get_parsed_content("teacher").encoder, data.held_out), data.held_out)
    if method.parent is None:
        shutil.copy(own / f"epoch_{fork:04d}.pt", folder / f"{method.name}.pt")
    shutil.rmtree(own)
    return {"scores": scores, "last": epochs[-1], "epochs": epochs, "seconds": seconds}


def _watched(record: dict[str, float]) -> dict[str, float]:
    return {name: float(record[name]) for name in _WATCHED if name in record}


def untrained(data: PlantedTokens, seed: int, folder: Path, settings: dict[str, Any]) -> NDArray[np.float32]:
    """Embeddings [N, dim] of the held-out regions by the first weights of a seed's runs."""
    with quietly():
        parser = parse(data, folder, {**settings, "seed": seed})
        parser.get_parsed_content("begin")
        return embed(parser.get_parsed_content("teacher").encoder, data.held_out)


@torch.inference_mode()
def embed(encoder: nn.Module, data: PlantedTokens) -> NDArray[np.float32]:
    """Embeddings [N, dim] of whole regions."""
    encoder.eval()
    parts = [encoder(tokens.float().permute(0, 3, 1, 2)) for tokens in data.features.split(256)]
    return torch.cat(parts).numpy()
