"""Bottleneck features of every region, in one streaming pass of the teacher."""

from itertools import pairwise

import ignite.distributed as idist
import torch
from monai.networks.utils import eval_mode
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from ..core import Progress, as_amp
from ..networks import Encoder
from ..parallel import outlive_signals
from ..storage import collate_regions
from .transforms.token_crops import CenterTokenCrop, FullestTokenCrop


class RegionFeatures:
    """Calls ``encoder.project`` on the center crop of every region; the ranks share the work.

    Where the encoder masks what is missing, it is the crop with the most tokens, as close to the center as can be.

    Args:
        encoder: a :class:`~bundle.networks.Encoder` (the teacher's).
        dataset: item -> ``features`` [H, W, D] and ``present`` [H, W].
        batch_size: regions in a forward pass, on each rank.
        crop_size: tokens on a side of the crop.
        device: where to compute.
        num_workers: reading processes.
        amp: bfloat16 autocast.
    """

    def __init__(
        self,
        encoder: Encoder,
        dataset: Dataset,
        batch_size: int = 256,
        crop_size: int = 14,
        device: torch.device | str = "cpu",
        num_workers: int = 0,
        amp: bool = False,
    ) -> None:
        self.encoder = encoder
        self.dataset = dataset
        self.batch_size = int(batch_size)
        self.center, self.fullest = CenterTokenCrop(crop_size), FullestTokenCrop(crop_size)
        self.device = torch.device(device)
        self.num_workers = int(num_workers)
        self.uses_bf16 = as_amp(amp)

    @torch.inference_mode()
    def __call__(self) -> Tensor:
        """Features of all regions, float32 [N, d] on the device, the same on every rank."""
        n_regions, n_ranks = len(self.dataset), idist.get_world_size()  # type: ignore[arg-type]
        bounds = [rank * n_regions // n_ranks for rank in range(n_ranks + 1)]
        shares = [range(start, stop) for start, stop in pairwise(bounds)]
        local = self._embed(Subset(self.dataset, shares[idist.get_rank()]))
        if n_ranks == 1:
            return local
        longest = max(map(len, shares))
        padded = torch.nn.functional.pad(local, (0, 0, 0, longest - len(local)))
        parts = idist.all_gather(padded).split(longest)
        return torch.cat([part[: len(share)] for part, share in zip(parts, shares, strict=True)])

    def _embed(self, dataset: Dataset) -> Tensor:
        loader = DataLoader(
            dataset,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            collate_fn=collate_regions,
            worker_init_fn=outlive_signals,
        )
        features, n_done = torch.empty(0), 0
        with eval_mode(self.encoder):
            for batch in Progress(loader, desc="teacher features", unit="batch", leave=False, disable=len(loader) < 50):
                tokens, mask = self._crop(batch)
                with torch.autocast(self.device.type, torch.bfloat16, self.uses_bf16):
                    found = self.encoder.project(tokens.float(), mask).float()
                if not n_done:  # all at once: parts that are put together are there twice
                    features = found.new_empty((len(dataset), found.shape[1]))  # type: ignore[arg-type]
                features[n_done : n_done + len(found)] = found
                n_done += len(found)
        return features

    def _crop(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        tokens = batch["features"].to(self.device, non_blocking=True)
        return self.fullest(tokens, batch["present"]) if self.encoder.mask_missing else (self.center(tokens), None)
