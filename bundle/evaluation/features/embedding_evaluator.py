"""The engine that turns token grids into region embeddings for metrics."""

from typing import Any

import torch
from monai.engines import Evaluator
from monai.inferers import Inferer, SimpleInferer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ...core import as_amp


class EmbeddingEvaluator(Evaluator):
    """Embeds regions; ``engine.state.output`` has ``embedding`` [B, dim], ``mean_token`` [B, D], ``slide`` and
    ``region_id`` [B].

    ``mean_token`` is the mean over a region's tissue tokens: the baseline that any region encoder has to beat.

    Args:
        device: where to compute.
        val_data_loader: yields ``features`` [B, H, W, D], ``mask`` and ``present`` [B, H, W], ``slide`` and
            ``region_id`` [B].
        network: region encoder, [B, D, H, W] and the tokens that are there, [B, H, W], -> [B, dim].
        inferer: runs it.
        amp: bfloat16 autocast.
        options: what MONAI's evaluator takes: ``key_val_metric`` and ``additional_metrics``, Ignite metrics over the
            output, and ``val_handlers``.
    """

    def __init__(
        self,
        device: torch.device | str,
        val_data_loader: DataLoader,
        network: nn.Module,
        inferer: Inferer | None = None,
        amp: bool = False,
        **options: Any,
    ) -> None:
        self.network = network
        self.inferer = SimpleInferer() if inferer is None else inferer
        self.uses_bf16 = as_amp(amp)
        super().__init__(device=device, val_data_loader=val_data_loader, decollate=False, **options)

    def _iteration(self, engine: Any, batchdata: dict[str, Any]) -> dict[str, Tensor]:
        device = engine.state.device
        tokens = batchdata["features"].to(device).float()
        mask, present = batchdata["mask"].to(device), batchdata["present"].to(device)
        kind = torch.device(device).type
        with torch.inference_mode(), self.mode(self.network), torch.autocast(kind, torch.bfloat16, self.uses_bf16):
            embedding = self.inferer(tokens.permute(0, 3, 1, 2), self.network, present)
        of_tissue = tokens.masked_fill(~mask.unsqueeze(-1), 0.0).sum((1, 2))
        mean_token = of_tissue / mask.sum((1, 2)).clamp(min=1).unsqueeze(-1)
        found = {"embedding": embedding.float(), "mean_token": mean_token, "region_id": batchdata["region_id"]}
        return found | {"slide": batchdata["slide"].to(device)}
