"""The demo's patch encoder, taught by the drawing program which tissue a patch shows.

    python -m scripts.bench.learning.demo_encoder models/demo_patch_encoder.pt      two minutes on two cores

It stands in for a foundation model of pathology in a demo that may download nothing: a small ViT that gives a patch's
tissues away whatever the stain. Slides are drawn from seeds that no demo and no test uses; diagnoses are not looked at.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from bundle.core import save_atomically
from bundle.demo.arrangements import CELL_UM, TASKS
from bundle.demo.demo_slides import draw_slide, plan_demo_cohort
from bundle.demo.tissue import Tissue, classify
from bundle.networks import PatchViT

MPP, PATCH_PX = 4.0, 32
FIRST_SEED, HELD_OUT_SEED = 1000, 2000
MEAN, STD = (0.70, 0.55, 0.70), (0.20, 0.25, 0.20)
_CELLS = round(PATCH_PX * MPP / CELL_UM)  # on a patch's side
_LEAST_TISSUE = 0.1
STRENGTH_SPREAD, CROSS_TALK = 0.25, 0.06  # of the stains that patches are given
GLASS_SPREAD, MOST_NOISE, MOST_BLUR = 0.03, 2.0, 0.3  # of the scanners; noise in gray levels
PLAIN_WEIGHT = 1.0
_ARCHITECTURE = {"image_size": PATCH_PX, "patch_size": 8, "dim": 96, "depth": 3, "n_heads": 3, "mlp_ratio": 2.0}


class Patches(NamedTuple):
    """Pixels, uint8 [N, 3, 32, 32], and the share of each tissue in them, float32 [N, n tissues]."""

    pixels: Tensor
    shares: Tensor


def draw_patches(n_slides: int, seed: int, regions: int = 2) -> Patches:
    """All patches with tissue of slides of both tasks, half of each; every slide has a stain of its own."""
    pixels, shares = [], []
    for i, task in enumerate(TASKS):
        for slide in plan_demo_cohort(n_slides // 2, seed + i, regions, task):
            picture, drawing = draw_slide(slide, MPP)
            found = _squares(np.eye(len(Tissue), dtype=np.float32)[classify(drawing.layout.scores)], _CELLS)
            share = found.mean((1, 2))
            is_tissue = share[:, Tissue.GLASS] < 1 - _LEAST_TISSUE
            pixels.append(_squares(picture, PATCH_PX)[is_tissue])
            shares.append(share[is_tissue])
    return Patches(
        torch.from_numpy(np.concatenate(pixels)).permute(0, 3, 1, 2), torch.from_numpy(np.concatenate(shares))
    )


def _squares(image: NDArray[Any], side: int) -> NDArray[Any]:
    """[H, W, C] -> whole squares [n, side, side, C]."""
    rows, columns = image.shape[0] // side, image.shape[1] // side
    cut = image[: rows * side, : columns * side].reshape(rows, side, columns, side, -1)
    return cut.transpose(0, 2, 1, 3, 4).reshape(rows * columns, side, side, -1)


def normalized(pixels: Tensor) -> Tensor:
    """uint8 (B, 3, H, W) -> what the network takes."""
    return (pixels.float() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def varied(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Patches turned, flipped, stained and scanned otherwise, each by itself, by more than slides differ.

    Optical densities go through a matrix near the identity; then brightness of the glass, noise and blur follow.
    """

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    pixels = pixels.rot90(int(torch.randint(4, (), generator=generator)), (2, 3))
    if torch.rand((), generator=generator) < 0.5:
        pixels = pixels.flip(3)
    n = len(pixels)
    strength = torch.exp(STRENGTH_SPREAD * (drawn(n, 1) + 0.7 * drawn(n, 3))).diag_embed()
    matrix = strength + CROSS_TALK * drawn(n, 3, 3)
    density = -(pixels.float().clamp(min=1) / 255).log()
    light = 255 * torch.exp(-torch.einsum("bij,bjhw->bihw", matrix, density))
    light = light * torch.exp(GLASS_SPREAD * drawn(n, 3, 1, 1))
    light = light + MOST_NOISE * torch.rand(n, 1, 1, 1, generator=generator) * drawn(*light.shape)
    weight = MOST_BLUR * torch.rand(n, 1, 1, 1, generator=generator)
    blurred = F.avg_pool2d(F.pad(light, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return (light * (1 - weight) + weight * blurred).clamp(0, 255)


def teach(patches: Patches, n_steps: int, batch_size: int = 128, seed: int = 0) -> PatchViT:
    """A ViT whose class token tells the shares of tissues by a linear layer, and by little else.

    A second linear layer says the token from the shares, and the token is drawn to what it says: what shares cannot
    tell, such as the slide's stain, fades from it. Both layers are thrown away afterwards.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    backbone = PatchViT(**_ARCHITECTURE, drop_path=0.0)  # type: ignore[arg-type]
    told = nn.Linear(backbone.dim, patches.shares.shape[1])
    expected = nn.Linear(patches.shares.shape[1], backbone.dim)
    weights = [*backbone.parameters(), *told.parameters(), *expected.parameters()]
    optimizer = torch.optim.AdamW(weights, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.002, n_steps, pct_start=0.15)
    started, losses = time.perf_counter(), []
    for step in range(n_steps):
        rows = torch.randint(len(patches.pixels), (batch_size,), generator=generator)
        token, shares = backbone(normalized(varied(patches.pixels[rows], generator))), patches.shares[rows]
        loss = F.cross_entropy(told(token), shares) + PLAIN_WEIGHT * F.mse_loss(token, expected(shares))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % 100 == 99:
            print(f"step {step + 1} of {n_steps}: {np.mean(losses[-100:]):.3f} ({time.perf_counter() - started:.0f} s)")
    return backbone.eval()


@torch.inference_mode()
def tokens(backbone: PatchViT, patches: Patches) -> NDArray[np.float32]:
    """[N, dim]"""
    return torch.cat([backbone(normalized(part)) for part in patches.pixels.split(512)]).numpy()


def probe(backbone: PatchViT, seen: Patches, held_out: Patches) -> tuple[float, float]:
    """How often a linear probe of tokens names the commonest tissue of held-out patches; chance."""
    truth = [np.asarray(patches.shares[:, 1:].argmax(1)) for patches in (seen, held_out)]
    linear = LogisticRegression(C=0.1, max_iter=300).fit(tokens(backbone, seen)[::8], truth[0][::8])
    return float(linear.score(tokens(backbone, held_out), truth[1])), float(np.bincount(truth[1]).max() / len(truth[1]))


def write(backbone: PatchViT, path: Path) -> None:
    """The file, in the form of stage one's, in float16."""
    contents = {
        "teacher": {name: tensor.half() for name, tensor in backbone.state_dict().items()},
        "architecture": backbone.architecture,
        "normalization": {"mean": list(MEAN), "std": list(STD)},
        "contract": {"name": "demo", "input_px": PATCH_PX, "mpp": MPP, "dim": backbone.dim},
    }
    save_atomically(contents, path)


def main() -> None:
    """Draw, teach, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="file to write")
    parser.add_argument("--slides", type=int, default=60, help="drawn slides to learn from (60)")
    parser.add_argument("--steps", type=int, default=900, help="steps of 128 patches (900)")
    options = parser.parse_args()
    seen, held_out = draw_patches(options.slides, FIRST_SEED), draw_patches(20, HELD_OUT_SEED)
    print(f"{len(seen.pixels)} patches to learn from, {len(held_out.pixels)} held out")
    backbone = teach(seen, options.steps).half().float()
    accuracy, commonest = probe(backbone, seen, held_out)
    print(f"tissue of a patch on held-out slides, linear probe: {accuracy:.3f} (commonest tissue: {commonest:.3f})")
    write(backbone, options.output)


if __name__ == "__main__":
    main()
