"""Small region encoders as files, and slide tables, for tests of evaluations."""

import csv
from pathlib import Path

import torch

from bundle.networks import Encoder, ProjectionHead, RegionViT


def write_encoder(path: Path, seed: int = 0, token_dim: int = 12, mask_missing: bool = False) -> Path:
    """An untrained region encoder of width 32 with a head to 8 values."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        backbone = RegionViT(in_dim=token_dim, dim=32, depth=1, n_heads=1)
        encoder = Encoder(backbone, ProjectionHead(32, 16, 8), mask_missing)
        for parameter in encoder.parameters():  # positions and biases start at 0, which would hide mistakes
            parameter.data += 0.05 * torch.randn_like(parameter)
    torch.save(encoder.state_dict(), path)
    return path


def write_table(path: Path, rows: list[dict[str, object]]) -> Path:
    """A slide table with the columns of the first row."""
    lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    path.write_text("\n".join([*lines, ""]))
    return path


def read_table(path: Path) -> list[dict[str, str]]:
    """Rows of a table."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
