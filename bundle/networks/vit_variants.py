"""Vision transformers on pixels as foundation models have them: registers, SwiGLU, LayerScale, any patch size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core import SettingError
from .blocks import Attention, Mlp
from .positions import resized_positions
from .vit import PatchEmbedding

_CHOICES = {
    "positions": ("patches", "class", "all"),
    "resize": ("offset", "plain", "antialias"),
    "output": ("class", "class+mean"),
}
_SIZES = ("image_size", "patch_size", "dim", "depth", "n_heads", "mlp_hidden")


@dataclass(frozen=True)
class VariantArchitecture:
    """All that makes a :class:`ViTVariant` but its weights.

    Attributes:
        image_size: px on a side of the images that the positions were learned on.
        patch_size: px on a side of what the ViT calls a patch.
        dim: width of a token.
        depth: number of blocks.
        n_heads: attention heads.
        mlp_hidden: width within an MLP; with SwiGLU that of one of its halves.
        swiglu: the MLP is SwiGLU, else GELU (exact).
        layer_scale: each branch is multiplied with a learned vector before it is added.
        n_registers: learned tokens between class token and patches, in no output.
        positions: which tokens have learned positions: ``patches``, ``class`` (token and patches) or ``all`` (registers
            as well).
        resize: how positions are stretched to another grid, always bicubically. ``offset``: by (n + 0.1) / side, as
            DINO and DINOv2 without registers; ``plain``: to n, as Hugging Face's ``ViTModel`` and ``Dinov2Model``;
            ``antialias``: to n, with antialiasing, as timm and DINOv2 with registers.
        norm_eps: of every LayerNorm.
        output: ``class``: the class token after the last norm; ``class+mean``: behind it the mean of the patches'
            tokens.

    Raises:
        SettingError: a size below 1, an image that is not whole patches, a choice that does not exist.
    """

    image_size: int
    patch_size: int
    dim: int
    depth: int
    n_heads: int
    mlp_hidden: int
    swiglu: bool = False
    layer_scale: bool = False
    n_registers: int = 0
    positions: str = "class"
    resize: str = "antialias"
    norm_eps: float = 1e-6
    output: str = "class"

    def __post_init__(self) -> None:
        sizes = {name: getattr(self, name) for name in _SIZES}
        if not all(isinstance(size, int) for size in sizes.values()) or min(sizes.values()) < 1 or self.n_registers < 0:
            raise SettingError(
                f"a ViT's sizes must be whole numbers from 1 up: got {sizes}, {self.n_registers} registers."
            )
        if self.image_size % self.patch_size:
            raise SettingError(
                f"the image size of a ViT must be a multiple of its patch size: got {self.image_size} and "
                f"{self.patch_size} px."
            )
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise SettingError(f"{name} must be one of {', '.join(choices)}: got {getattr(self, name)!r}.")
        if self.resize == "offset" and self.positions != "class":
            raise SettingError("resize: offset needs positions: class, as all models that stretch so have them.")

    @property
    def side(self) -> int:
        """Patches on a side of the grid that the positions were learned on."""
        return self.image_size // self.patch_size

    @property
    def n_placed(self) -> int:
        """Tokens before the patches that have a position."""
        return {"patches": 0, "class": 1, "all": 1 + self.n_registers}[self.positions]

    @property
    def out_dim(self) -> int:
        """Values of what the network gives for an image."""
        return self.dim if self.output == "class" else 2 * self.dim


class SwiGLU(nn.Module):
    """``fc2(silu(a) * b)`` with a and b the halves of ``fc1`` (Shazeer, "GLU variants improve transformer", 2020)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 2 * hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., dim) -> (..., dim)."""
        gate, values = self.fc1(x).chunk(2, -1)
        return self.fc2(F.silu(gate) * values)


class VariantBlock(nn.Module):
    """``x + scale1 attn(norm1(x))``, then ``x + scale2 mlp(norm2(x))``; the scales only with LayerScale."""

    scale1: Tensor | None
    scale2: Tensor | None

    def __init__(self, architecture: VariantArchitecture) -> None:
        super().__init__()
        dim = architecture.dim
        self.norm1 = nn.LayerNorm(dim, eps=architecture.norm_eps)
        self.attn = Attention(dim, architecture.n_heads)
        self.norm2 = nn.LayerNorm(dim, eps=architecture.norm_eps)
        self.mlp = (SwiGLU if architecture.swiglu else Mlp)(dim, architecture.mlp_hidden)
        for name in ("scale1", "scale2"):
            self.register_parameter(name, nn.Parameter(torch.ones(dim)) if architecture.layer_scale else None)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, dim) -> (B, N, dim)."""
        x = _add(x, self.attn(self.norm1(x)), self.scale1)
        return _add(x, self.mlp(self.norm2(x)), self.scale2)

    def first(self, x: Tensor) -> Tensor:
        """(B, N, dim) -> (B, 1, dim), equal to ``forward(x)[:, :1]`` with less work."""
        cls = _add(x[:, :1], self.attn.first(self.norm1(x)), self.scale1)
        return _add(cls, self.mlp(self.norm2(cls)), self.scale2)


def _add(x: Tensor, branch: Tensor, scale: Tensor | None) -> Tensor:
    return x + branch if scale is None else torch.addcmul(x, branch, scale)


class ViTVariant(nn.Module):
    """Normalized pixels to one vector an image, by the weights of a model that somebody else trained.

    Args:
        architecture: see :class:`VariantArchitecture`.

    References:
        Dosovitskiy et al., ICLR 2021 (ViT); Touvron et al., ICCV 2021 (LayerScale); Oquab et al., TMLR 2024 (DINOv2);
        Darcet et al., ICLR 2024 (registers).
    """

    registers: Tensor | None

    def __init__(self, architecture: VariantArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        dim, n_registers = architecture.dim, architecture.n_registers
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.register_parameter("registers", nn.Parameter(torch.zeros(1, n_registers, dim)) if n_registers else None)
        self.pos_embed = nn.Parameter(torch.zeros(1, architecture.n_placed + architecture.side**2, dim))
        self.patch_embed = PatchEmbedding(architecture.patch_size, dim)
        self.blocks = nn.ModuleList(VariantBlock(architecture) for _ in range(architecture.depth))
        self.norm = nn.LayerNorm(dim, eps=architecture.norm_eps)

    def forward(self, images: Tensor) -> Tensor:
        """Normalized images (B, 3, H, W) -> (B, out_dim).

        Raises:
            SettingError: H or W is not a multiple of the patch size.
        """
        pixels, (height, width) = self.architecture.patch_size, images.shape[-2:]
        if height % pixels or width % pixels:
            raise SettingError(
                f"this encoder takes images in whole patches of {pixels} px: got {height} x {width} px. "
                f"Scale or crop them, to {self.architecture.image_size} px if nothing speaks for another size."
            )
        x = self._sequence(self.patch_embed(images))
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x)
        if self.architecture.output == "class":
            return self.norm(last.first(x)).squeeze(1)  # type: ignore[operator]
        x = self.norm(last(x))
        return torch.cat([x[:, 0], x[:, 1 + self.architecture.n_registers :].mean(1)], 1)

    def _sequence(self, grid: Tensor) -> Tensor:
        """Embedded patches (B, h, w, dim) -> class token, registers, patches, with positions (B, N, dim)."""
        n_placed, (h, w) = self.architecture.n_placed, grid.shape[1:3]
        placed, cells = self._positions(h, w).split([n_placed, h * w], 1)
        before = self.cls_token if self.registers is None else torch.cat([self.cls_token, self.registers], 1)
        before = torch.cat([before[:, :n_placed] + placed, before[:, n_placed:]], 1)
        return torch.cat([before.expand(grid.shape[0], -1, -1), grid.flatten(1, 2) + cells], 1)

    def _positions(self, height: int, width: int) -> Tensor:
        side, n_placed = self.architecture.side, self.architecture.n_placed
        if height == side and width == side:
            return self.pos_embed
        if self.architecture.resize == "offset":
            return resized_positions(self.pos_embed, side, height, width)
        placed, cells = self.pos_embed.split([n_placed, side * side], 1)
        grid = cells.reshape(1, side, side, -1).permute(0, 3, 1, 2)
        antialias = self.architecture.resize == "antialias"
        grid = F.interpolate(grid, size=(height, width), mode="bicubic", align_corners=False, antialias=antialias)
        return torch.cat([placed, grid.permute(0, 2, 3, 1).flatten(1, 2)], 1)


def build_vit_variant(architecture: Mapping[str, Any]) -> ViTVariant:
    """A network without weights, from the arguments of :class:`VariantArchitecture`.

    Raises:
        SettingError: an argument is missing, unknown or outside its range.
    """
    known = {field.name: field.default is MISSING for field in fields(VariantArchitecture)}
    unknown = [name for name in architecture if name not in known]
    missing = [name for name, needed in known.items() if needed and name not in architecture]
    if unknown or missing:
        raise SettingError(
            f"this describes no ViT: unknown are {', '.join(map(str, unknown)) or 'none'}, missing "
            f"{', '.join(missing) or 'none'}. Arguments are {', '.join(known)}."
        )
    return ViTVariant(VariantArchitecture(**architecture))
