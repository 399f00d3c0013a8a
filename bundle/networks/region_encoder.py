"""The region encoder that inference, export and servers build, with or without weights at hand."""

from __future__ import annotations

import copy
import logging
from pathlib import Path

import torch
from torch import Tensor, nn

from ..core import BundleError, as_amp, as_bool
from .encoder import Encoder
from .from_weights import insist_on_head, load_region_encoder
from .head import ProjectionHead
from .vit import RegionViT

_log = logging.getLogger(__name__)
_OWN_WEIGHTS = Path(__file__).resolve().parents[2] / "models" / "model.pt"  # of the bundle that this module belongs to


def make_region_encoder(weights: str | Path | None, *, device: torch.device | str = "cpu") -> Encoder:
    """The region encoder of a file, without its projection head; where there is no file, an untrained one.

    The head is twice as large, and no embedding needs it: what is exported of this network has none, whatever the file
    holds; :func:`make_projection_head` goes with it.

    An untrained one is for those who build a network first and load weights into it later: ``monai.bundle.load``,
    MONAI's export, the Model Zoo's checks, MONAI Label. It has the sizes of this bundle's own ``models/model.pt``
    wherever the current folder is; without that file it takes tokens of 384 values and gives 192, as published.

    Args:
        weights: see :func:`~bundle.networks.load_region_encoder`.
        device: where it goes.

    Raises:
        BundleError: the file is broken, or holds no region encoder.
    """
    if weights is not None and Path(weights).is_file():
        return load_region_encoder(weights, device=device, takes_centered=True, with_head=False)
    _log.warning("there is no region encoder at %s: an untrained one is made", weights)
    if not _OWN_WEIGHTS.is_file():
        return Encoder(RegionViT()).to(device).eval()
    own = load_region_encoder(_OWN_WEIGHTS, takes_centered=True, with_head=False)
    return _untrained_like(own).to(device).eval()


def make_projection_head(encoder: Encoder, weights: str | Path | None) -> nn.Module:
    """The projection head of an encoder that :func:`make_region_encoder` has made; of an untrained one, untrained.

    Args:
        encoder: it.
        weights: its file.

    Raises:
        BundleError: the file has no head, nor is one beside it, or it is another encoder's.
    """
    if encoder.head is not None:
        return encoder.head
    if weights is None or not Path(weights).is_file():
        return ProjectionHead(int(encoder.backbone.dim)).eval()  # type: ignore[arg-type]
    whole = load_region_encoder(weights, takes_centered=True)
    insist_on_head(whole, weights)
    assert whole.head is not None
    return whole.head


def untrained_encoder(like: Encoder, seed: int = 0) -> Encoder:
    """A region encoder as training begins with: the sizes of another, and weights of its own, drawn at random.

    What is not learned (buffers, whether it masks) is the other's. The caller's random state stays as it is.

    Args:
        like: whose sizes.
        seed: of the weights.

    Returns:
        The encoder in evaluation mode, on the device of the other.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        weights = dict(_untrained_like(like).named_parameters())
    made = copy.deepcopy(like).eval()
    for name, parameter in made.named_parameters():
        parameter.data.copy_(weights[name])
    return made


def _untrained_like(other: Encoder) -> Encoder:
    head = None
    if other.head is not None:
        mlp = other.head.mlp
        head = ProjectionHead(mlp[0].in_features, mlp[0].out_features, mlp[4].out_features)  # type: ignore[index, union-attr]
    backbone = RegionViT(**other.backbone.architecture)  # type: ignore[arg-type]
    backbone.has_standard_of(other.backbone.state_dict())
    return Encoder(backbone, head, other.mask_missing, "slide" if other.takes_centered else None)


class RegionDescriber(nn.Module):
    """All that is wanted of a region, in one pass.

    Args:
        encoder: the region encoder.
        attention: whether CLS's attention is wanted, too.
        amp: run in bfloat16 (autocast).
        head: in whose space prototypes are made; None: the encoder's own.

    Raises:
        BundleError: there is no head.
    """

    def __init__(
        self, encoder: Encoder, attention: bool = True, amp: bool = False, head: nn.Module | None = None
    ) -> None:
        super().__init__()
        if head is None and encoder.head is None:
            raise BundleError(
                "the region encoder has no projection head, in whose space prototypes are made: give weights that hold "
                "one, or copy its file (model_head.pt) beside theirs (model.pt)."
            )
        self.encoder = encoder
        self.head: nn.Module = encoder.head if head is None else head  # type: ignore[assignment]
        self.attends, self.amp = as_bool(attention), as_amp(amp)

    @property
    def token_dim(self) -> int:
        """Length D of the tokens that it takes."""
        return int(self.encoder.backbone.in_dim)  # type: ignore[arg-type]

    def forward(self, image: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Token grids (B, D, H, W) -> ``pred`` (B, dim), ``projection`` (B, d) and ``attention`` (B, heads, H, W).

        ``mask``, bool (B, H, W), says which tokens are there.
        """
        attention = {}
        with torch.autocast(image.device.type, torch.bfloat16, self.amp):
            if self.attends:
                pred, attention["attention"] = self.encoder.embed_and_attend(image, mask)
            else:
                pred = self.encoder(image, mask)
            return {"pred": pred, "projection": self.head(pred), **attention}
