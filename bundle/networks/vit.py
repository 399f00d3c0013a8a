"""The two vision transformers of HIPT: pixels to a patch's token, tokens to a region's embedding."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core import SettingError, as_bool, as_whole
from .blocks import Block, ClassBlock, Groups
from .drop import keep_scales
from .positions import resized_positions
from .token_standard import TokenStandard

_INIT_STD = 0.02


class ClassTokenViT(nn.Module):
    """What both share: CLS, positions, blocks, norm. Subclasses turn an image into a grid of vectors by ``embed``.

    Args:
        dim: width of a token.
        depth: number of blocks.
        n_heads: attention heads.
        mlp_ratio: width of the MLP over ``dim``.
        n_positions: cells on a side of the learned grid; other grids are interpolated.
        drop_path: stochastic depth of the last block, in [0, 1); the blocks before rise to it linearly from 0.
    """

    __jit_unused_properties__ = ["architecture"]
    arguments: tuple[str, ...]  # of the subclass, as far as weights have them from it

    def __init__(
        self, dim: int, depth: int, n_heads: int, mlp_ratio: float, n_positions: int, drop_path: float
    ) -> None:
        super().__init__()
        if min(dim, depth, n_heads) < 1 or not 0 <= drop_path < 1:
            raise SettingError(
                f"embed_dim, depth and n_heads must be at least 1 and drop_path in [0, 1): got {dim}, {depth}, "
                f"{n_heads} and {drop_path}."
            )
        self.dim = dim
        self.n_heads = n_heads
        self.mlp_ratio = mlp_ratio
        self.n_positions = n_positions
        self.n_draws = 2 * depth
        rates = [drop_path * i / max(depth - 1, 1) for i in range(depth)]
        self.drop_rates: list[float] = [rate for rate in rates for _ in range(2)]
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + n_positions**2, dim))
        self.n_registers = 0
        self.register_parameter("register_tokens", None)
        self.blocks = nn.ModuleList(Block(dim, n_heads, mlp_ratio) for _ in range(depth - 1))
        self.blocks.append(ClassBlock(dim, n_heads, mlp_ratio))
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def _initialize(self) -> None:
        nn.init.trunc_normal_(self.cls_token, std=_INIT_STD)
        nn.init.trunc_normal_(self.pos_embed, std=_INIT_STD)
        if self.register_tokens is not None:
            nn.init.trunc_normal_(self.register_tokens, std=_INIT_STD)  # type: ignore[arg-type]
        self.apply(initialize_linear)

    def encode(self, grid: Tensor, mask: Tensor | None = None, draws: Tensor | None = None) -> Tensor:
        """Embedded cells (B, H, W, dim) -> CLS after the final norm (B, dim).

        Args:
            grid: embedded cells, without positions. Any crop of an embedded grid is one, too.
            mask: bool (B, H, W), cells that are there; nobody looks at the others. None: all.
            draws: uniforms (B, n_draws) beside them for stochastic depth; None drops nothing.
        """
        x, keys, kept = self._sequence(grid), _keys(mask, self.n_registers), self.kept(draws)
        for i, block in enumerate(self.blocks):
            if len(kept) > 0 and self.drop_rates[2 * i] > 0:
                x = block(x, keys, kept[2 * i], kept[2 * i + 1])
            else:
                x = block(x, keys)
        return self.norm(x.squeeze(1))

    def kept(self, draws: Tensor | None) -> list[Tensor]:
        """What each branch is multiplied with, 2 depth times (B,), see :class:`Block`; nothing without draws."""
        if draws is None:
            return []
        return list(keep_scales(draws, self.drop_rates, self.cls_token.dtype).unbind(1))

    def encode_groups(self, grids: Sequence[Tensor], masks: Sequence[Tensor | None], draws: Sequence[Tensor]) -> Tensor:
        """``encode`` of groups of different size, (B, H, W, dim), (B, H, W) and (B, n_draws) -> (sum of B, dim).

        What works on a token by itself, all but attention, works on those of all groups at once: half the launches, and
        larger products. Dropped branches are masked. Not in TorchScript.
        """
        sequences = [self._sequence(grid) for grid in grids]
        groups = Groups(
            [(x.shape[0], x.shape[1]) for x in sequences], [_keys(mask, self.n_registers) for mask in masks]
        )
        x = torch.cat([sequence.flatten(0, 1) for sequence in sequences]).unsqueeze(1)
        scales = keep_scales(torch.cat(list(draws)), self.drop_rates, self.cls_token.dtype).T
        parts = scales.split([n for n, _ in groups.shapes], 1)
        widths = [n for _, n in groups.shapes]
        repeated = [own[..., None].expand(-1, -1, n).flatten(1) for own, n in zip(parts, widths, strict=True)]
        of_tokens = torch.cat(repeated, 1)
        for i, block in enumerate(self.blocks):
            keep = scales if block is self.blocks[-1] else of_tokens
            pair = (keep[2 * i], keep[2 * i + 1]) if self.drop_rates[2 * i] > 0 else (None, None)
            x = block.packed(x, groups, *pair)  # type: ignore[operator]
        return self.norm(x.squeeze(1))

    def _sequence(self, grid: Tensor) -> Tensor:
        positions = resized_positions(self.pos_embed, self.n_positions, grid.shape[1], grid.shape[2])
        first, others = positions.split([1, positions.shape[1] - 1], 1)
        before = self.cls_token + first
        if self.register_tokens is not None:
            before = torch.cat([before, self.register_tokens], 1)  # type: ignore[list-item]
        before = before.expand(grid.shape[0], -1, -1)
        return torch.cat([before, grid.flatten(1, 2) + others], 1)

    def encode_and_attend(self, grid: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``encode`` without draws, and where CLS looks in the last block, (B, heads, H, W), in one pass.

        The weights are not negative; a head's sum to 1 minus what CLS and registers get. Not in TorchScript.
        """
        x, keys = self._sequence(grid), _keys(mask, self.n_registers)
        for block in self.blocks[:-1]:
            x = block(x, keys)
        last = self.blocks[-1]
        weights = last.attn.weights_of_first(last.norm1(x), keys)  # type: ignore[operator, union-attr]
        return self.norm(last(x, keys).squeeze(1)), weights[..., 1 + self.n_registers :].unflatten(
            -1, tuple(grid.shape[1:3])
        )

    @property
    def architecture(self) -> dict[str, int | float]:
        """The arguments that make a network for the same weights."""
        own = {"depth": len(self.blocks)}
        found = {name: own[name] if name in own else getattr(self, name) for name in self.arguments}
        return found | ({"n_registers": self.n_registers} if self.n_registers else {})

    def embed(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        """Image (B, C, height, width) -> grid (B, H, W, dim); ``mask`` as in ``encode``."""
        raise NotImplementedError

    def forward(self, image: Tensor, mask: Tensor | None = None, draws: Tensor | None = None) -> Tensor:
        """What ``embed`` takes -> embeddings (B, dim); ``mask`` and ``draws`` as in ``encode``."""
        return self.encode(self.embed(image, mask), mask, draws)

    def attention(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        """Where CLS looks: what ``embed`` takes -> (B, heads, H, W), see ``encode_and_attend``. Not in TorchScript."""
        return self.encode_and_attend(self.embed(image, mask), mask)[1]


class RegionViT(ClassTokenViT):
    """Region encoder (HIPT's ViT4096-256 [1]): token grid -> region embedding.

    Args:
        in_dim: values of a token, D.
        dim, depth, n_heads, mlp_ratio, n_positions, drop_path: see :class:`ClassTokenViT`. ``n_positions`` counts
            tokens; one token is one 256 px patch.
        standardized: has a place for the numbers of standardized tokens, which change nothing yet; ``auto``: has none.
        n_registers: learned tokens after CLS, without a position, never masked, in no output [2].

    Attributes:
        standard: what tokens go through first, see :class:`~bundle.networks.TokenStandard`; None: they stay as they
            are. A state dict that has its numbers brings it along.

    References:
        [1] Chen et al., "Scaling vision transformers to gigapixel images via hierarchical self-supervised learning",
        CVPR 2022. [2] Darcet et al., "Vision transformers need registers", ICLR 2024.
    """

    arguments = ("in_dim", "dim", "depth", "n_heads", "mlp_ratio", "n_positions")

    def __init__(
        self,
        in_dim: int = 384,
        dim: int = 192,
        depth: int = 6,
        n_heads: int = 6,
        mlp_ratio: float = 4.0,
        n_positions: int = 14,
        drop_path: float = 0.1,
        standardized: bool | str = False,
        n_registers: int = 0,
    ) -> None:
        super().__init__(dim, depth, n_heads, mlp_ratio, n_positions, drop_path)
        self.in_dim = in_dim
        self.n_registers = as_whole(n_registers, "n_registers")
        if self.n_registers:
            self.register_tokens = nn.Parameter(torch.zeros(1, self.n_registers, dim))
        has_standard = standardized != "auto" and as_bool(standardized)
        self.standard: TokenStandard | None = TokenStandard.without_numbers(in_dim) if has_standard else None
        self.phi = nn.Sequential(nn.Linear(in_dim, dim), nn.GELU(), nn.Dropout(0.0))
        self._initialize()

    def embed(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        """Tokens (B, in_dim, H, W) -> (B, H, W, dim), each by itself: crop before or after, the result is the same.

        What stands where ``mask`` (B, H, W) is False, be it NaN, reaches neither the result nor a gradient.
        """
        tokens = image.permute(0, 2, 3, 1)
        if self.standard is not None:
            tokens = self.standard(tokens, mask)
        elif mask is not None:
            tokens = tokens.masked_fill(~mask.unsqueeze(-1), 0.0)
        return self.phi(tokens)

    def has_standard_of(self, names: Container[str], prefix: str = "") -> None:
        """Standardize tokens if weights with these names do, by the numbers that are loaded next."""
        if f"{prefix}standard.mean" not in names:
            self.standard = None
        elif self.standard is None:
            self.standard = TokenStandard.without_numbers(self.in_dim).to(self.cls_token.device)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        self.has_standard_of(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *others)


class PatchViT(ClassTokenViT):
    """Patch encoder (HIPT's ViT256-16, a ViT-S/16): pixels -> token.

    Args:
        image_size: px on a side of the images that the positions are learned on (224 for published weights).
        patch_size: px on a side of what the ViT calls a patch.
        dim, depth, n_heads, mlp_ratio, drop_path: see :class:`ClassTokenViT`.

    References:
        Caron et al., "Emerging properties in self-supervised vision transformers", ICCV 2021.
    """

    arguments = ("image_size", "patch_size", "dim", "depth", "n_heads", "mlp_ratio")

    def __init__(
        self,
        image_size: int = 224,
        patch_size: int = 16,
        dim: int = 384,
        depth: int = 12,
        n_heads: int = 6,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.1,
    ) -> None:
        if patch_size < 1 or image_size < patch_size or image_size % patch_size:
            raise SettingError(
                f"the image size of a ViT (global_size) must be a multiple of its patch size (vit_patch_size): got "
                f"{image_size} and {patch_size} px."
            )
        super().__init__(dim, depth, n_heads, mlp_ratio, image_size // patch_size, drop_path)
        self.image_size = image_size
        self.patch_size = patch_size
        self.patch_embed = PatchEmbedding(patch_size, dim)
        self._initialize()

    def embed(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        """Normalized images (B, 3, H, W) -> (B, H / patch_size, W / patch_size, dim); ``mask`` changes nothing here."""
        return self.patch_embed(image)


class PatchEmbedding(nn.Module):
    """Cuts an image into squares and maps each linearly: (B, 3, H, W) -> (B, H / p, W / p, dim)."""

    def __init__(self, patch_size: int, dim: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(3, dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, image: Tensor) -> Tensor:
        """As one matrix product: quicker than the convolution of the same weights, on CPUs above all."""
        B, C, H, W = image.shape  # noqa: N806
        p = self.patch_size
        if H % p != 0 or W % p != 0:
            raise ValueError(f"image sides must be multiples of {p} px: got {H} x {W}.")
        squares = image.reshape(B, C, H // p, p, W // p, p).permute(0, 2, 4, 1, 3, 5).reshape(B, H // p, W // p, -1)
        return F.linear(squares, self.proj.weight.flatten(1), self.proj.bias)


def _keys(mask: Tensor | None, n_registers: int = 0) -> Tensor | None:
    """Cells that are there, bool (B, H, W) -> keys to look at, CLS and registers among them, (B, 1, 1, N)."""
    if mask is None:
        return None
    cells = mask.flatten(1)
    return torch.cat([cells.new_ones(cells.shape[0], 1 + n_registers), cells], 1).unsqueeze(1).unsqueeze(1)


def initialize_linear(module: nn.Module) -> None:
    """As DINO does, where the module is a linear layer."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=_INIT_STD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
