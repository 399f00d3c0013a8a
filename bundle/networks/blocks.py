"""Pre-norm transformer blocks under DINO's names; the last one works for CLS alone."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core import SettingError
from .drop import add_scaled

_EPS = 1e-6  # of every LayerNorm in DINO and HIPT


class Groups(NamedTuple):
    """How the tokens of several groups of sequences lie in one tensor, one group after the other.

    shapes: (B, N) of each group: sequences, tokens of one.
    keys: of each group, see :func:`attend`.
    """

    shapes: list[tuple[int, int]]
    keys: list[Tensor | None]


def attend(q: Tensor, k: Tensor, v: Tensor, keys: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention, shapes (B, heads, tokens, width of a head).

    Fused everywhere, except in bfloat16 training on a CPU, where the fused kernel's backward is several times slower
    than three plain operations.

    Args:
        q, k, v: queries, keys, values.
        keys: bool (B, 1, 1, tokens), which keys are looked at, at least one of each sample's; None: all.
    """
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and q.requires_grad and torch.is_grad_enabled():
        scores = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-2, -1))
        return torch.matmul(_masked(scores, keys).softmax(-1).to(v.dtype), v)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=keys)


def _masked(scores: Tensor, keys: Tensor | None) -> Tensor:
    return scores if keys is None else scores.masked_fill(~keys, -float("inf"))


class Attention(nn.Module):
    """Multi-head self-attention with ``qkv`` and ``proj`` (both with bias).

    Args:
        dim: width of a token, a multiple of ``n_heads``.
        n_heads: number of heads.
    """

    def __init__(self, dim: int, n_heads: int) -> None:
        super().__init__()
        if dim % n_heads:
            raise SettingError(f"embed_dim must be a multiple of n_heads: got {dim} and {n_heads}.")
        self.n_heads = n_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, keys: Tensor | None = None) -> Tensor:
        """Every token attends, to those of ``keys`` (see :func:`attend`): (B, N, dim) -> (B, N, dim)."""
        B, N, dim = x.shape  # noqa: N806
        q, k, v = self.qkv(x).reshape(B, N, 3, self.n_heads, dim // self.n_heads).permute(2, 0, 3, 1, 4).unbind(0)
        y = attend(q, k, v, keys)
        return self.proj(y.transpose(1, 2).reshape(B, N, dim))

    def packed(self, x: Tensor, groups: Groups) -> Tensor:
        """``forward`` of several groups at once: all their tokens (sum of B N, 1, dim) -> the same."""
        attended = []
        for (B, N), keys, qkv in zip(*groups, _unpacked(self.qkv(x), groups.shapes), strict=True):  # noqa: N806
            q, k, v = qkv.view(B, N, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
            attended.append(attend(q, k, v, keys).transpose(1, 2).reshape(B * N, 1, -1))
        return self.proj(torch.cat(attended))

    def packed_first(self, x: Tensor, groups: Groups) -> Tensor:
        """``first`` of several groups at once: all their tokens (sum of B N, 1, dim) -> (sum of B, 1, dim)."""
        dim = x.shape[-1]
        weight_q, weight_kv = self.qkv.weight.split([dim, 2 * dim])
        bias_q, bias_kv = self.qkv.bias.split([dim, 2 * dim])
        queries = F.linear(packed_cls(x, groups.shapes), weight_q, bias_q).split([n for n, _ in groups.shapes])
        attended = []
        keys_values = _unpacked(F.linear(x, weight_kv, bias_kv), groups.shapes)
        for (B, N), keys, q, kv in zip(*groups, queries, keys_values, strict=True):  # noqa: N806
            k, v = kv.view(B, N, 2, self.n_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
            q = q.view(B, 1, self.n_heads, -1).transpose(1, 2)
            attended.append(attend(q, k, v, keys).transpose(1, 2).reshape(B, 1, dim))
        return self.proj(torch.cat(attended))

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query of the first token (B, heads, 1, d), keys and values of all (B, heads, N, d)."""
        B, N, dim = x.shape  # noqa: N806
        d = dim // self.n_heads
        weight_q, weight_kv = self.qkv.weight.split([dim, 2 * dim])  # indexing would fill a gradient for each part
        bias_q, bias_kv = self.qkv.bias.split([dim, 2 * dim])
        q = F.linear(x[:, :1], weight_q, bias_q).reshape(B, 1, self.n_heads, d).transpose(1, 2)
        k, v = F.linear(x, weight_kv, bias_kv).reshape(B, N, 2, self.n_heads, d).permute(2, 0, 3, 1, 4).unbind(0)
        return q, k, v

    def first(self, x: Tensor, keys: Tensor | None = None) -> Tensor:
        """Only the first token attends: (B, N, dim) -> (B, 1, dim), equal to ``forward(x, keys)[:, :1]``."""
        q, k, v = self.split(x)
        return self.proj(attend(q, k, v, keys).transpose(1, 2).reshape(x.shape[0], 1, x.shape[2]))

    def weights_of_first(self, x: Tensor, keys: Tensor | None = None) -> Tensor:
        """How much the first token looks at each: (B, N, dim) -> (B, heads, N), rows sum to 1; 0 outside ``keys``."""
        q, k, _ = self.split(x)
        scores = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-2, -1)).float()
        return _masked(scores, keys).softmax(-1).squeeze(2)


class Mlp(nn.Module):
    """``fc1``, GELU, ``fc2``."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., dim) -> (..., dim)."""
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """``x + attn(norm1(x))``, then ``x + mlp(norm2(x))``.

    Args:
        dim: width of a token.
        n_heads: attention heads.
        mlp_ratio: width of the MLP over ``dim``.
    """

    def __init__(self, dim: int, n_heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=_EPS)
        self.attn = Attention(dim, n_heads)
        self.norm2 = nn.LayerNorm(dim, eps=_EPS)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward(
        self, x: Tensor, keys: Tensor | None = None, attn_keep: Tensor | None = None, mlp_keep: Tensor | None = None
    ) -> Tensor:
        """(B, N, dim) -> (B, N, dim).

        Args:
            x: tokens.
            keys: which of them are looked at, see :func:`attend`.
            attn_keep, mlp_keep: stochastic depth, what each sample's branch is multiplied with, (B,); None: nothing.
        """
        return self._add_mlp(add_scaled(x, self.attn(self.norm1(x), keys), attn_keep), mlp_keep)

    def packed(self, x: Tensor, groups: Groups, attn_keep: Tensor | None, mlp_keep: Tensor | None) -> Tensor:
        """``forward`` of several groups at once, all their tokens in one tensor.

        Args:
            x: tokens (sum of B N, 1, dim).
            groups: where each group's lie, and which are looked at.
            attn_keep, mlp_keep: what a branch is multiplied with, for each token; None: nothing.
        """
        return self._add_mlp(add_scaled(x, self.attn.packed(self.norm1(x), groups), attn_keep), mlp_keep)

    def _add_mlp(self, x: Tensor, keep: Tensor | None) -> Tensor:
        return add_scaled(x, self.mlp(self.norm2(x)), keep)


class ClassBlock(Block):
    """The last block of a network of which only the CLS token is used: same parameters, exact, less work.

    Keys and values need all tokens; query, projection and MLP only CLS.
    """

    def forward(
        self, x: Tensor, keys: Tensor | None = None, attn_keep: Tensor | None = None, mlp_keep: Tensor | None = None
    ) -> Tensor:
        """(B, N, dim) -> (B, 1, dim), equal to ``Block.forward(...)[:, :1]``."""
        return self._add_mlp(add_scaled(x[:, :1], self.attn.first(self.norm1(x), keys), attn_keep), mlp_keep)

    def packed(self, x: Tensor, groups: Groups, attn_keep: Tensor | None, mlp_keep: Tensor | None) -> Tensor:
        """As in :class:`Block`, but ``attn_keep`` and ``mlp_keep`` are for each sample; -> (sum of B, 1, dim)."""
        branch, cls = self.attn.packed_first(self.norm1(x), groups), packed_cls(x, groups.shapes)
        return self._add_mlp(add_scaled(cls, branch, attn_keep), mlp_keep)


def packed_cls(x: Tensor, shapes: list[tuple[int, int]]) -> Tensor:
    """The first token of each sample: all tokens (sum of B N, 1, dim) -> (sum of B, 1, dim)."""
    groups = zip(shapes, _unpacked(x, shapes), strict=True)
    return torch.cat([own.view(*shape, -1)[:, :1] for shape, own in groups])


def _unpacked(x: Tensor, shapes: list[tuple[int, int]]) -> tuple[Tensor, ...]:
    return x.split([n * n_tokens for n, n_tokens in shapes])
