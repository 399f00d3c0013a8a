"""Tokens value by value at mean 0 and standard deviation 1, by numbers that stay with the weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..core import SettingError

_CONSTANT = 1e-4  # a value whose deviation is less than this share of the largest tells nothing


class TokenStandard(nn.Module):
    """``(token - mean) / sd``, with mean and sd of a cohort's tokens, which do not learn.

    Some patch encoders give tokens that are nearly alike: all of length 10, say, and .15 apart. What a network can see
    of a slide is then a hundredth of what it is given, and missing tokens, which are zeros, are further from any tissue
    than two tissues from each other. Values that are the same everywhere become 0.

    Args:
        mean: [D].
        sd: [D], not negative.

    Raises:
        SettingError: numbers that are not finite, or no value that differs between tokens.
    """

    def __init__(self, mean: Tensor, sd: Tensor) -> None:
        super().__init__()
        largest = float(sd.max())
        if not (torch.isfinite(mean).all() and torch.isfinite(sd).all() and largest > 0):
            raise SettingError(
                "tokens cannot be standardized: all are the same, or some are not finite. Look at the token files, or "
                "set standardize_tokens to false."
            )
        factor = torch.where(sd > _CONSTANT * largest, 1 / sd.clamp(min=1e-30), torch.zeros_like(sd))
        self.mean = nn.Buffer(mean.float().clone())
        self.factor = nn.Buffer(factor.float())

    @classmethod
    def without_numbers(cls, dim: int) -> TokenStandard:
        """One that changes nothing, for weights to be loaded into."""
        return cls(torch.zeros(dim), torch.ones(dim))

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Tokens (..., D), float32 -> the same, standardized; where ``mask`` (...) is False: 0.

        Without a mask tokens that are all zeros are missing, and stay so.
        """
        present = (tokens != 0).any(-1) if mask is None else mask
        return ((tokens.float() - self.mean) * self.factor).masked_fill(~present.unsqueeze(-1), 0.0)
