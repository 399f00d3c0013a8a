"""Files of features in the layouts of other tools, written from what is known of each layout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

DIM = 24
PITCH = 512  # level-0 px: 256 px at 0.5 um/px on a slide of 0.25
MPP = 0.25
SIZE = (20000, 18000)


def lattice(
    seed: int = 0,
    columns: int = 36,
    rows: int = 30,
    share: float = 0.6,
    origin: tuple[int, int] = (0, 0),
    pitch: float = PITCH,
) -> NDArray[Any]:
    """Corners of patches on a lattice, most of them there, row by row; int64 [N, 2]."""
    random = np.random.default_rng(seed)
    cells = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).reshape(-1, 2)
    return cells[random.random(len(cells)) < share] * pitch + np.array(origin)


def features(n: int, seed: int = 0, dim: int = DIM) -> NDArray[np.float32]:
    """Features that float16 holds exactly, so that they can be compared bit for bit."""
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float16).astype(np.float32)


def write_trident(
    path: Path,
    xy: NDArray[Any],
    values: NDArray[Any],
    encoder: str = "theirs_v1",
    patch: int = 256,
    patch_level0: float = PITCH,
    overlap: int = 0,
    size: tuple[int, int] = SIZE,
    **extra: Any,
) -> Path:
    """TRIDENT: chunks of a row, geometry on ``coords``, encoder on ``features``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        data = file.create_dataset("features", data=values, chunks=(1, *values.shape[1:]) if len(xy) else None)
        data.attrs.update({"encoder": encoder, "name": path.stem, "savetodir": "out"})
        coords = file.create_dataset("coords", data=xy)
        coords.attrs.update(
            {
                "patch_size": patch,
                "patch_size_level0": patch_level0,
                "level0_magnification": 40,
                "target_magnification": 20,
                "overlap": overlap,
                "name": path.stem,
                "level0_width": size[0],
                "level0_height": size[1],
                **extra,
            }
        )
    return path


def write_atlas(path: Path, xy: NDArray[Any], encoders: Mapping[str, NDArray[Any]]) -> Path:
    """AtlasPatch: a group of encoders, five columns of coordinates, attributes on the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["coords"] = np.column_stack([xy, np.full((len(xy), 2), 256), np.ones(len(xy))]).astype(np.int32)
        for name, values in encoders.items():
            file[f"features/{name}"] = values
        sizes = {"level0_width": SIZE[0], "level0_height": SIZE[1], "overlap": 0, "mpp": MPP}
        file.attrs.update({"patch_size": 256, "patch_size_level0": PITCH, **sizes})
    return path


def write_clam(
    folder: Path,
    name: str,
    xy: NDArray[Any],
    values: NDArray[Any],
    patches: bool = True,
    h5: bool = True,
    pt: bool = False,
) -> Path:
    """CLAM: features without attributes, the scale in ``patches/``, a .pt beside."""
    for sub in ("h5_files", "pt_files", "patches"):
        (folder / sub).mkdir(parents=True, exist_ok=True)
    if h5:
        with h5py.File(folder / "h5_files" / f"{name}.h5", "w") as file:
            file["features"], file["coords"] = values, xy.astype(np.int32)
    if pt:
        torch.save(torch.from_numpy(values), folder / "pt_files" / f"{name}.pt")
    if patches:
        with h5py.File(folder / "patches" / f"{name}.h5", "w") as file:
            file["coords"] = xy
            file["coords"].attrs.update(
                {"patch_size": 256, "patch_level": 1, "downsample": np.array([2.0, 2.0]), "level_dim": [10000, 9000]}
            )
    return folder


def write_stamp(
    path: Path, xy: NDArray[Any], values: NDArray[Any], mpp: float = MPP, extractor: str = "theirs"
) -> Path:
    """STAMP: ``feats`` in float16, coordinates in um as float32."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["feats"], file["coords"] = values.astype(np.float16), (xy * mpp).astype(np.float32)
        file.attrs.update({"unit": "um", "tile_size_um": 128.0, "tile_size_px": 256, "extractor": extractor})
        file.attrs.update({"stamp_version": "2.4.0", "feat_type": "tile"})
    return path


def write_slide2vec(root: Path, name: str, xy: NDArray[Any], values: NDArray[Any], is_npz: bool = False) -> Path:
    """slide2vec and hs2p: [N, D] of tiles, or [R, T, D] of regions, with their .meta.json and coordinates."""
    is_regions = values.ndim == 3
    folder = root / ("hierarchical_embeddings" if is_regions else "tile_embeddings")
    for made in (folder, root / "tiles"):
        made.mkdir(parents=True, exist_ok=True)
    if is_npz:
        np.savez_compressed(folder / f"{name}.npz", features=values)
    else:
        torch.save(torch.from_numpy(values), folder / f"{name}.pt")
    meta: dict[str, Any] = {"encoder_name": "virchow2", "requested_tile_size_px": 256, "read_tile_size_px": 256}
    meta |= {"requested_spacing_um": 0.5, "region_tile_multiple": 16 if is_regions else None}
    (folder / f"{name}.meta.json").write_text(json.dumps(meta))
    side = PITCH * 16 if is_regions else PITCH
    index = np.arange(len(xy), dtype=np.int32)
    np.savez_compressed(root / "tiles" / f"{name}.coordinates.npz", x=xy[:, 0], y=xy[:, 1], tile_index=index)
    tiling = {"tile_size_lv0": side, "step_px_lv0": side, "read_spacing_um": 0.5, "is_within_tolerance": True}
    slide = {"dimensions": list(SIZE), "base_spacing_um": MPP}
    text = json.dumps({"slide": slide, "tiling": tiling})
    (root / "tiles" / f"{name}.coordinates.meta.json").write_text(text)
    return root


def write_plain(path: Path, xy: NDArray[Any], values: NDArray[Any], **attributes: Any) -> Path:
    """A file of one's own: features, x, y, and a few attributes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["features"], file["x"], file["y"] = values, xy[:, 0], xy[:, 1]
        file.attrs.update(attributes)
    return path


def random_slide(path: Path, columns: int, rows: int, share: float, dim: int, seed: int = 0) -> None:
    """A slide of random features in TRIDENT's layout, on a lattice of which a share is tissue."""
    xy = lattice(seed, columns, rows, share)
    values = np.random.default_rng(seed).standard_normal((len(xy), dim), np.float32)
    write_trident(path, xy, values, "random", size=(columns * PITCH, rows * PITCH))
