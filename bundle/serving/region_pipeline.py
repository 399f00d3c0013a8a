"""A slide to its embeddings in three plain steps, for apps that bring their own engine, such as MONAI Deploy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..networks import Encoder, PatchTokenizer, RegionDescriber, StatedReading, TokenKind, read_about
from ..prototypes import slide_prototypes
from ..slides import ReadSettings, SlideRegions
from ..storage import SlideEmbeddings

_PATCHES_AT_ONCE = 64
_N_PROTOTYPES = 4  # as in configs/inference.yaml; fewer where a slide has fewer distinct regions


def stated_settings(
    models: Path, reading: Mapping[str, Any], encoding: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """How slides are read and encoded for the weights of a folder: as they say, where nobody says otherwise.

    Args:
        models: with ``model.pt``, ``model.json`` and ``patch_encoder.pt``.
        reading: what :func:`load_regions` takes; what is None is not given.
        encoding: what :func:`~bundle.networks.load_patch_encoder` takes.

    Returns:
        Both, complete.
    """
    named = {"patch_encoder": encoding.get("encoder"), "encoders_file": encoding.get("encoders_file")}
    sizes = {name: reading.get(name) for name in ("mpp", "patch_size", "region_patches")}
    found = StatedReading.of(models / "model.pt", models / "patch_encoder.pt", **named, **sizes)._asdict()
    how = {**reading, **{name: found[name] for name in sizes}}
    return how, {"patch_size": int(how["patch_size"]), "mpp": how["mpp"], **encoding}


def insist_on_kind(models: Path, patch_encoder: PatchTokenizer, how: Mapping[str, Any]) -> None:
    """Raise where the tokens would not be of the kind that ``model.pt`` was trained on.

    Raises:
        BundleError: the patch encoder, um/px or sizes are others.
    """
    tokens = {
        "encoder": f"{patch_encoder.name} sha256:{patch_encoder.sha256}",
        "mpp": float(how["mpp"]),
        "patch_size_px": int(how["patch_size"]),
        "region_patches": int(how["region_patches"]),
    }
    TokenKind(models / "model.pt", read_about(models / "model.pt")).insist(tokens, "this application")


def load_regions(
    path: str | Path, *, slide_id: str | None = None, section: int | None = None, **reading: Any
) -> SlideRegions:
    """Open a slide and find its regions, whose patches are read when they are iterated over; close it when done.

    Args:
        path: the file.
        slide_id: the slide's id, see :func:`~bundle.slides.find_slides`; the file's stem if None.
        section: which of several sections of the file.
        reading: settings of ``configs/inference.yaml`` that differ from its defaults, see
            :class:`~bundle.slides.ReadSettings`.

    Raises:
        SlideError: it cannot be opened, does not say its resolution, or has no tissue.
        SettingError: a setting is out of its range.
    """
    how = ReadSettings(**reading).checked()
    return SlideRegions(how.open(path, slide_id=slide_id, section=section), how)


@torch.inference_mode()
def encode_regions(
    regions: SlideRegions, patch_encoder: PatchTokenizer, region_encoder: Encoder, weights: str
) -> SlideEmbeddings:
    """Patches to tokens to region embeddings and the slide's prototypes: the numbers of ``configs/inference.yaml``.

    Args:
        regions: of one slide.
        patch_encoder: see :func:`~bundle.networks.load_patch_encoder`.
        region_encoder: on the same device, see :func:`~bundle.networks.load_region_encoder`.
        weights: which weights the region encoder has, see :func:`~bundle.networks.weights_name`; embeddings of other
            weights cannot be compared.

    Raises:
        SlideError: a region does not decode.
    """
    describe = RegionDescriber(region_encoder, attention=False)
    found = [
        describe(*_token_grid(patches, mask, patch_encoder))
        for patches, mask in zip(regions, regions.grid.mask, strict=True)
    ]
    features, points = (torch.cat([part[name].float().cpu() for part in found]) for name in ("pred", "projection"))
    slide_id = regions.slide.slide_id
    prototypes, assignment = slide_prototypes(points, slide_id, _N_PROTOTYPES)
    return SlideEmbeddings(
        slide_id=slide_id,
        features=features.numpy(),
        projection=points.numpy(),
        coords=regions.grid.coords,
        mask=regions.grid.mask,
        slide_embedding=features.double().mean(0).float().numpy(),
        prototypes=prototypes.numpy(),
        assignment=assignment.numpy(),
        attributes={
            **regions.attributes,
            "encoder": f"{patch_encoder.name} sha256:{patch_encoder.sha256}",
            **patch_encoder.contract.record(regions.how.patch_size),
            "region_encoder": weights,
        },
    )


def _token_grid(
    patches: NDArray[np.uint8], mask: NDArray[np.bool_], patch_encoder: PatchTokenizer
) -> tuple[Tensor, Tensor]:
    """Tokens in their places [1, D, P, P], zeros where there is no tissue, rounded to float16 as token files are; and
    where they are, [1, P, P]."""
    grid = torch.zeros(*mask.shape, patch_encoder.dim, device=patch_encoder.mean_255.device)
    parts = [patch_encoder(part.permute(0, 3, 1, 2)) for part in torch.from_numpy(patches).split(_PATCHES_AT_ONCE)]
    present = torch.from_numpy(mask).to(grid.device)
    grid[present] = torch.cat(parts).half().float()
    return grid.permute(2, 0, 1)[None], present[None]
