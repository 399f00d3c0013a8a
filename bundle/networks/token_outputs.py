"""What comes out at chosen tokens of a view, beside its CLS; tokens that are hidden from a student."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .blocks import Block
from .vit import ClassTokenViT, _keys

MASK_TOKEN = "mask_token"  # of a student's state dict; exported encoders have none


class TokenChoice(NamedTuple):
    """Tokens of V views (V, H, W) whose outputs are wanted.

    Attributes:
        places: shape (N,), int64, counted through all cells of all views.
        hidden: bool (V, H, W), cells in which the mask token stands in place of what is there; None: all are seen.
    """

    places: Tensor
    hidden: Tensor | None


class TokenOutputs(nn.Module):
    """A backbone that gives chosen tokens, too; all of its last block works, not for CLS alone.

    Args:
        backbone: the vision transformer.
    """

    def __init__(self, backbone: ClassTokenViT) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(
        self, image: Tensor, mask: Tensor | None, draws: Tensor | None, choice: TokenChoice, mask_token: Tensor | None
    ) -> Tensor:
        """Images of V views -> their CLS and after them the N chosen tokens, after the final norm, (V + N, dim).

        The mask token is put among embedded tokens, before their positions; it has part in the result (with a gradient
        of zeros) where nothing is hidden, too.

        Args:
            image, mask, draws: as ``ClassTokenViT.forward`` takes them.
            choice: what is wanted, and what is hidden.
            mask_token: shape (1, 1, dim); of use where something is hidden.
        """
        net = self.backbone
        grid = net.embed(image, mask)
        if choice.hidden is not None:
            assert mask_token is not None
            grid = torch.where(choice.hidden.unsqueeze(-1), mask_token, grid)
        x, keys = net._sequence(grid), _keys(mask, net.n_registers)
        kept = net.kept(draws)
        for i, block in enumerate(net.blocks):
            branches = kept[2 * i : 2 * i + 2] if net.drop_rates[2 * i] > 0 else []
            x = Block.forward(block, x, keys, *branches)  # type: ignore[arg-type]
        cls, cells = x[:, 0], x[:, 1 + net.n_registers :].flatten(0, 1)
        return net.norm(torch.cat([cls, cells.index_select(0, choice.places)]))
