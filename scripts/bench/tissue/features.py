"""``python -m scripts.bench.tissue.features``: our tokens as files in TRIDENT's layout, and whether they came back."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bundle.storage import TokenFile

from ...pins.foreign_features import write_trident

ENCODER = "patch_encoder"


def widened(tokens: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Tokens [N, D] as [N, width]: as they are, or times a random matrix that is always the same one.

    Every value is a mixture of all D, of about the same size; lengths and angles are kept nearly, and nothing is added.
    """
    dim = tokens.shape[1]
    if width == dim:
        return tokens
    matrix = np.random.default_rng(0).standard_normal((dim, width)) / math.sqrt(width)
    return tokens @ matrix.astype(np.float32)


def patches(file: TokenFile) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Corners [N, 2] in level-0 px and tokens [N, D] of a slide's patches, from above, row by row.

    Patches that begin before the slide's corner are left out, as other tools have none (a slide that is narrower than
    a region lies in its middle).
    """
    region, row, column = np.nonzero(file.mask)
    xy = np.rint(file.coords[region] + _pitch(file) * np.stack([column, row], 1)).astype(np.int64)
    tokens = file.read()[region, row, column].astype(np.float32)
    order = np.lexsort((xy[:, 0], xy[:, 1]))
    order = order[(xy[order] >= 0).all(1)]
    return xy[order], tokens[order]


def write(tokens_dir: Path, features_dir: Path, width: int) -> None:
    """Write every slide's patches, ``features_dir/features_<encoder>/<slide_id>.h5``."""
    for path in sorted(tokens_dir.glob("*.h5")):
        file = TokenFile(path)
        found, pitch = file.header.attributes, _pitch(file)
        xy, tokens = patches(file)
        side = int(pitch) if pitch.is_integer() else pitch
        size, px = (int(found["level0_width"]), int(found["level0_height"])), int(found["patch_size_px"])
        place = features_dir / f"features_{ENCODER}" / path.name
        write_trident(place, xy, widened(tokens, width), ENCODER, px, side, size=size)


def compare(tokens_dir: Path, imported_dir: Path, width: int) -> dict[str, int]:
    """How many slides came back, every patch at its place and equal bit for bit; and in the same regions."""
    paths = sorted(tokens_dir.glob("*.h5"))
    found = {"slides": len(paths), "equal": 0, "in the same regions": 0, "patches": 0, "regions": 0}
    for path in paths:
        ours, imported = TokenFile(path), TokenFile(imported_dir / path.name)
        (xy, tokens), (xy_back, tokens_back) = patches(ours), patches(imported)
        wanted = widened(tokens, width).astype(np.float16).astype(np.float32)
        found["equal"] += np.array_equal(xy, xy_back) and np.array_equal(wanted, tokens_back)
        same = np.array_equal(ours.coords, imported.coords) and np.array_equal(ours.mask, imported.mask)
        found["in the same regions"] += same
        found["patches"] += len(xy_back)
        found["regions"] += len(imported)
    return found


def _pitch(file: TokenFile) -> float:
    """Level-0 px from patch to patch."""
    found = file.header.attributes
    return round(float(found["patch_size_px"]) * float(found["read_mpp"]) / float(found["level0_mpp"]), 6)


def main() -> None:
    """Write features, or compare what was imported of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=("write", "compare"))
    parser.add_argument("tokens_dir", type=Path, help="of our own tokenizing")
    parser.add_argument("other", type=Path, help="write: the folder of features; compare: the imported tokens")
    parser.add_argument("--width", type=int, required=True, help="length of a feature")
    parser.add_argument("--result", type=Path, help="compare: where the counts go, JSON")
    options = parser.parse_args()
    if options.action == "write":
        write(options.tokens_dir, options.other, options.width)
        return
    found = compare(options.tokens_dir, options.other, options.width)
    options.result.write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
