"""One pass over token files that embeds regions with several encoders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.inferers import Inferer
from numpy.typing import NDArray
from torch.nn.functional import normalize
from torch.utils.data import DataLoader, Subset

from ...core import Progress
from ...storage import TokenDataset, collate_regions
from .embedding_evaluator import EmbeddingEvaluator
from .region_encoders import TOKENS, RegionEncoders

Found = dict[str, dict[str, NDArray[np.float32]]]


def embed_regions(
    dataset: TokenDataset,
    encoders: RegionEncoders,
    parts: Sequence[tuple[range, list[str]]],
    *,
    device: torch.device | str = "cpu",
    amp: bool = False,
    batch_size: int = 64,
    num_workers: int = 0,
    inferer: Inferer | None = None,
) -> Iterator[Found]:
    """Embed parts of a data set, one after the other; tokens are read once for all encoders.

    Args:
        dataset: the token files.
        encoders: all there are.
        parts: regions, and the names of the encoders ("tokens" among them) that are wanted of them.
        device: where to compute.
        amp: bfloat16 autocast.
        batch_size: regions in a forward pass.
        num_workers: reading processes.
        inferer: runs the network.

    Yields:
        For each part ``embedding`` and ``projection`` (L2-normalized) of its regions by encoder, float32.
    """
    total = sum(len(regions) for regions, _ in parts)
    with Progress(total=total, desc="embedding regions", unit="region") as bar:
        for regions, names in parts:
            network = encoders.only([name for name in names if name != TOKENS])
            loader = DataLoader(
                Subset(dataset, list(regions)),
                batch_size=batch_size,
                num_workers=num_workers,
                collate_fn=collate_regions,
            )
            evaluator = EmbeddingEvaluator(device, loader, network, inferer, amp)
            batches: list[Found] = []

            def keep(engine: Engine, batches: list[Found] = batches, network: RegionEncoders = network) -> None:
                batches.append(_found(engine.state.output, network))
                bar.update(len(engine.state.output["slide"]))

            evaluator.add_event_handler(Events.ITERATION_COMPLETED, keep)
            evaluator.run()
            yield {name: _joined([batch[name] for batch in batches]) for name in names}


def _found(output: dict[str, torch.Tensor], network: RegionEncoders) -> Found:
    tokens = output["mean_token"]
    vectors = {TOKENS: (tokens, normalize(tokens, dim=1)), **network.split(output["embedding"])}
    return {
        name: {"embedding": embedding.cpu().numpy(), "projection": projection.cpu().numpy()}
        for name, (embedding, projection) in vectors.items()
    }


def _joined(batches: list[dict[str, NDArray[np.float32]]]) -> dict[str, NDArray[np.float32]]:
    return {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}
