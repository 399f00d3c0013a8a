"""A slide to its embeddings in three plain steps, for apps that bring their own engine, such as MONAI Deploy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..networks import Encoder, PatchTokenizer
from ..prototypes import slide_prototypes
from ..slides import ReadSettings, RegionGrid, Slide, open_slide, plan_slide, read_patches
from ..storage import SlideEmbeddings

_PATCHES_AT_ONCE = 64


@dataclass(frozen=True)
class LoadedRegions:
    """The regions of an open slide. Patches are read when they are iterated over, a region at a time.

    Attributes:
        slide: open; :meth:`close` it when done.
        grid: where its regions lie, and which of their patches hold tissue.
        how: how it is read.
    """

    slide: Slide
    grid: RegionGrid
    how: ReadSettings

    def __len__(self) -> int:
        return len(self.grid.coords)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """Tissue patches of each region, row-major, uint8 [n, p, p, 3].

        Raises:
            SlideError: a region does not decode.
        """
        how = self.how
        sizes = {"mpp": how.mpp, "patch_size": how.patch_size, "region_patches": how.region_patches}
        for xy, mask in zip(*self.grid, strict=True):
            yield read_patches(self.slide, xy, mask, **sizes)  # type: ignore[arg-type]

    def close(self) -> None:
        """Close the slide's file."""
        self.slide.close()


def load_regions(path: str | Path, *, slide_id: str | None = None, **reading: Any) -> LoadedRegions:
    """Open a slide and find its regions.

    Args:
        path: the file.
        slide_id: the slide's id, see :func:`~bundle.cohort.find_slides`; the file's stem if None.
        reading: settings of ``configs/inference.yaml`` that differ from its defaults: ``mpp``, ``default_mpp``,
            ``patch_size``, ``region_patches``, ``min_tissue``, ``min_tissue_patches``, ``wsi_reader``.

    Raises:
        SlideError: it cannot be opened, does not say its resolution, or has no tissue.
        SettingError: a setting is out of its range.
    """
    defaults = ReadSettings("auto", 0.5, None, 16, 256, 0.1, 8)
    how = defaults._replace(**reading).checked()
    slide = open_slide(path, reader=how.wsi_reader, default_mpp=how.default_mpp, slide_id=slide_id)
    try:
        sizes = how._asdict()
        grid = plan_slide(slide, **{name: sizes[name] for name in sizes if name not in ("wsi_reader", "default_mpp")})
    except BaseException:
        slide.close()
        raise
    return LoadedRegions(slide, grid, how)


@torch.inference_mode()
def encode_regions(
    regions: LoadedRegions,
    patch_encoder: PatchTokenizer,
    region_encoder: Encoder,
    weights: str,
    *,
    n_prototypes: int = 4,
) -> SlideEmbeddings:
    """Patches to tokens to region embeddings and the slide's prototypes: the numbers of ``configs/inference.yaml``.

    Args:
        regions: of one slide.
        patch_encoder: see :func:`~bundle.networks.load_patch_encoder`.
        region_encoder: on the same device, see :func:`~bundle.networks.load_region_encoder`.
        weights: which weights the region encoder has, see :func:`~bundle.networks.weights_name`; embeddings of other
            weights cannot be compared.
        n_prototypes: K; fewer where the slide has fewer distinct regions.

    Raises:
        SlideError: a region does not decode.
    """
    pred, projection = [], []
    for patches, mask in zip(regions, regions.grid.mask, strict=True):
        image = _token_grid(patches, mask, patch_encoder)
        pred.append(region_encoder(image).float().cpu())
        projection.append(region_encoder.project_embedding(pred[-1].to(image.device)).float().cpu())
    features, points = torch.cat(pred), torch.cat(projection)
    slide, how = regions.slide, regions.how
    size_px = how.region_patches * how.patch_size
    prototypes, assignment = slide_prototypes(points, slide.slide_id, n_prototypes)
    return SlideEmbeddings(
        slide_id=slide.slide_id,
        features=features.numpy(),
        projection=points.numpy(),
        coords=regions.grid.coords,
        mask=regions.grid.mask,
        slide_embedding=features.double().mean(0).float().numpy(),
        prototypes=prototypes.numpy(),
        assignment=assignment.numpy(),
        attributes={
            "mpp": how.mpp,
            "level0_mpp": slide.mpp,
            "level0_width": slide.width,
            "level0_height": slide.height,
            "region_size_level0": round(size_px * how.mpp / slide.mpp),
            "region_size_px": size_px,
            "patch_size_px": how.patch_size,
            "slide_path": slide.path.name,
            "reader": slide.reader,
            "encoder": f"{patch_encoder.name} sha256:{patch_encoder.sha256}",
            "region_encoder": weights,
        },
    )


def _token_grid(patches: NDArray[np.uint8], mask: NDArray[np.bool_], patch_encoder: PatchTokenizer) -> Tensor:
    """Tokens in their places [1, D, P, P], zeros where there is no tissue; rounded to float16 as token files are."""
    grid = torch.zeros(*mask.shape, patch_encoder.dim, device=patch_encoder.mean_255.device)
    parts = [patch_encoder(part.permute(0, 3, 1, 2)) for part in torch.from_numpy(patches).split(_PATCHES_AT_ONCE)]
    grid[torch.from_numpy(mask).to(grid.device)] = torch.cat(parts).half().float()
    return grid.permute(2, 0, 1)[None]
