"""Slides painted at random (colors x codecs x pyramids x tiles), and whether each reader gives what was painted."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from bundle.core import SlideError
from bundle.slides import open_slide, read_patches

Picture = NDArray[np.uint8]
READERS = ("cucim", "openslide", "tifffile")
_BYTES = ("none", "lzw", "zlib", "packbits", "zstd")
_RGB_CODECS = (*_BYTES, "predictor", "lzma", "png", "webp", "jpegxl", "jpeg2000", "aperio_ycbcr", "aperio_rgb")
KINDS: dict[str, tuple[str, ...]] = {  # what samples mean: the codecs that they are stored in
    "rgb": (*_RGB_CODECS, *["jpeg", "jpeg444", "jpeg420"] * 4),
    "ycbcr": _BYTES,
    "16_bits": (*_BYTES, "predictor", "jpeg2000"),
    "alpha": _BYTES,
    "premultiplied": _BYTES,
    "fourth": (*_BYTES, "png"),
    "planes": (*_BYTES, "jpeg"),
    "palette": _BYTES,
}
REFUSED = {  # a word of the reason
    "gray": "grayscale",
    "white_is_zero": "grayscale",
    "channels": "fluorescence",
    "pages": "fluorescence",
    "cmyk": "SEPARATED",
    "cielab": "CIELAB",
    "five": "5 samples",
    "float": "floating point",
    "signed": "signed",
    "12_bits": "how bright white is",
}
_COMPRESSION = {"predictor": "zlib", "jpeg444": "jpeg", "jpeg420": "jpeg", "aperio_ycbcr": 33003, "aperio_rgb": 33005}
_LOSSY = {"jpeg": 24, "jpeg444": 24, "jpeg420": 48, "jpegxl": 12}  # gray levels: 97 of 100 px differ less
_ROUNDING = {"ycbcr": 3, "alpha": 3, "premultiplied": 3, "palette": 1}
_TILES = (16, 32, 48, 64, 112, 128, 256)
_RINGING = 16
_PATCH = 32


class Recipe(NamedTuple):
    """How a slide is painted and written; ``holes`` are levels in which tiles have no bytes."""

    seed: int
    kind: str
    codec: str
    size: tuple[int, int]
    factors: tuple[int, ...]
    tile: tuple[int, int] | None
    is_aperio: bool
    is_big_endian: bool
    is_bigtiff: bool
    mpp: float
    holes: tuple[int, ...]


def draw(seed: int) -> Recipe:
    """A recipe; a quarter of them are of kinds that have to be refused."""
    random = np.random.default_rng(seed)
    weights = {"rgb": 6}
    kinds = list(REFUSED) if random.random() < 0.25 else [k for k in KINDS for _ in range(weights.get(k, 1))]
    kind = str(random.choice(kinds))
    codec = str(random.choice(KINDS.get(kind, ("none", "zlib"))))
    size = random.integers(150, 420, 2).tolist()
    factors = [(1,), (1, 2), (1, 2, 4), (1, 4)][random.integers(4)]
    is_aperio = codec.startswith("aperio") or (kind == "rgb" and random.random() < 0.3)
    is_tiled = is_aperio or kind in REFUSED or random.random() < 0.9
    tile = tuple(random.choice(_TILES, 2).tolist()) if is_tiled else None
    has_holes = kind in ("rgb", "ycbcr", "16_bits") and tile is not None
    holes = tuple(level for level in range(len(factors)) if has_holes and random.random() < 0.2)
    is_big_endian, is_bigtiff = (bool(not is_aperio and random.random() < share) for share in (0.15, 0.3))
    mpp = float(random.choice([0.2528, 0.46, 0.5, 1.0]))
    flags = is_aperio, is_big_endian, is_bigtiff
    return Recipe(seed, kind, codec, tuple(size), factors, tile, *flags, mpp, holes)


def write(recipe: Recipe, folder: Path) -> tuple[Path, list[Picture]]:
    """Paint and write a slide: its file, and RGB of each level as it has to be shown."""
    random = np.random.default_rng(recipe.seed + 1_000_000)
    width, height = recipe.size
    noise = ndimage.gaussian_filter(random.normal(size=(height, width, 3)), (14, 14, 0))
    picture = (noise / noise.std() * 35 + 150).clip(20, 235).astype(np.uint8)
    path = folder / f"{recipe.seed}.{'svs' if recipe.is_aperio else 'tif'}"
    shown, how = [], {"byteorder": ">" if recipe.is_big_endian else "<", "bigtiff": recipe.is_bigtiff}
    with tifffile.TiffWriter(path, ome=recipe.kind == "pages", **how) as file:
        for factor in recipe.factors:
            level = np.asarray(Image.fromarray(picture).reduce(factor)) if factor > 1 else picture
            samples, options, seen = _samples(recipe, level, random)
            file.write(samples, **_tags(recipe, factor), **options)
            shown.append(seen)
            if recipe.is_aperio and factor == 1:
                file.write(picture[::4, ::4], photometric="rgb", metadata=None)  # Aperio's thumbnail is the second page
    for level in recipe.holes:
        _punch(path, recipe, level, shown, random)
    return path, shown


def _tags(recipe: Recipe, factor: int) -> dict[str, Any]:
    codec = _COMPRESSION.get(recipe.codec, None if recipe.codec == "none" else recipe.codec)
    found: dict[str, Any] = {"tile": recipe.tile, "compression": codec}
    found["metadata"] = {"axes": "CYX"} if recipe.kind == "pages" else None
    if recipe.codec == "webp":
        found["compressionargs"] = {"lossless": True}
    if recipe.codec.startswith("jpeg4") or recipe.codec == "jpeg":
        found["compressionargs"] = {"level": 95}
    if recipe.codec == "predictor":
        found["predictor"] = True
    if recipe.is_aperio:
        said = f"Aperio Image Library v1\n{recipe.size[0]}x{recipe.size[1]}|AppMag = 20|MPP = {recipe.mpp}"
        return {**found, "description": said}
    unit = {"resolution": (1e4 / recipe.mpp / factor,) * 2, "resolutionunit": "CENTIMETER"}
    return {**found, **unit, "subfiletype": int(factor > 1)}


def _samples(recipe: Recipe, rgb: Picture, random: np.random.Generator) -> tuple[Any, dict[str, Any], Picture]:
    """Samples as they are stored, what the file says of them, and the RGB that they stand for."""
    kind, (height, width) = recipe.kind, rgb.shape[:2]
    ramp = np.broadcast_to(np.linspace(40, 255, width).astype(np.uint8)[None, :, None], (height, width, 1))
    if kind == "rgb" and recipe.codec in ("jpeg444", "jpeg420"):
        halved = (2, 2) if recipe.codec == "jpeg420" else (1, 1)
        return _ycbcr(rgb), {"photometric": "ycbcr", "subsampling": halved}, rgb
    if kind == "rgb":
        return _ycbcr(rgb) if recipe.codec == "aperio_ycbcr" else rgb, {"photometric": "rgb"}, rgb
    if kind == "ycbcr":
        return _ycbcr(rgb), {"photometric": "ycbcr"}, rgb
    if kind == "16_bits":
        wide = rgb.astype(np.uint16) * 257 + random.integers(-90, 91, rgb.shape)
        return wide.astype(np.uint16), {"photometric": "rgb"}, rgb
    if kind in ("alpha", "premultiplied"):
        is_done = kind == "premultiplied"
        lit = np.rint(rgb * (ramp / 255.0)).astype(np.uint8)
        how = {"photometric": "rgb", "extrasamples": ["assocalpha" if is_done else "unassalpha"]}
        return np.concatenate([lit if is_done else rgb, ramp], -1), how, lit + (255 - ramp)
    if kind == "fourth":
        how = {"photometric": "rgb", "extrasamples": ["unspecified"]}
        return np.concatenate([rgb, random.integers(0, 256, ramp.shape, np.uint8)], -1), how, rgb
    if kind == "planes":
        return np.moveaxis(rgb, -1, 0), {"photometric": "rgb", "planarconfig": "separate"}, rgb
    if kind == "palette":
        colors = random.integers(0, 256, (256, 3)).astype(np.uint8)
        table = colors.T.astype(np.uint16) * 257
        return rgb[..., 1], {"photometric": "palette", "colormap": table}, colors[rgb[..., 1]]
    return *_refused_samples(kind, rgb), rgb


def _refused_samples(kind: str, rgb: Picture) -> tuple[Any, dict[str, Any]]:
    gray, four = rgb[..., 1], np.concatenate([rgb, rgb[..., :1]], -1)
    most = {"extratags": [(281, "H", 3, (4095, 4095, 4095), True)]}
    found: dict[str, tuple[Any, dict[str, Any]]] = {
        "gray": (gray, {"photometric": "minisblack"}),
        "white_is_zero": (gray, {"photometric": "miniswhite"}),
        "channels": (four, {"photometric": "minisblack", "planarconfig": "contig"}),
        "pages": (np.moveaxis(four, -1, 0), {"photometric": "minisblack"}),
        "cmyk": (four, {"photometric": "separated"}),
        "cielab": (rgb, {"photometric": "cielab"}),
        "five": (np.concatenate([four, rgb[..., :1]], -1), {"photometric": "rgb"}),
        "float": ((rgb / 255).astype(np.float32), {"photometric": "rgb"}),
        "signed": ((rgb // 2).astype(np.int8), {"photometric": "rgb"}),
        "12_bits": (rgb.astype(np.uint16) * 16, {"photometric": "rgb", **most}),
    }
    return found[kind]


def _ycbcr(rgb: Picture) -> Picture:
    return np.asarray(Image.fromarray(rgb).convert("YCbCr"))


def _punch(path: Path, recipe: Recipe, level: int, shown: list[Picture], random: np.random.Generator) -> None:
    """Take a third of a level's tiles away: white at level 0, else what the level before shows."""
    assert recipe.tile is not None
    (rows, columns), (height, width) = recipe.tile, shown[level].shape[:2]
    with tifffile.TiffFile(path) as file:
        tag = file.series[0].levels[level].keyframe.tags["TileByteCounts"]
        place, n_bytes = tag.valueoffset, {3: 2, 4: 4, 16: 8}[int(tag.dtype)]
    across = -(-width // columns)
    below = np.full_like(shown[0], 255)
    if level:
        step = recipe.factors[level] // recipe.factors[level - 1]
        below = np.asarray(Image.fromarray(shown[level - 1]).reduce(step))
    shown[level] = shown[level].copy()
    with path.open("r+b") as raw:
        for tile in np.flatnonzero(random.random(across * -(-height // rows)) < 0.35).tolist():
            raw.seek(place + tile * n_bytes)
            raw.write(bytes(n_bytes))
            top, left = tile // across * rows, tile % across * columns
            window = np.s_[top : min(top + rows, height), left : min(left + columns, width)]
            shown[level][window] = below[window]


def faults_of(recipe: Recipe, folder: Path) -> tuple[list[str], list[str]]:
    """What is wrong with how a painted slide is read, a sentence each, and which readers read it."""
    path, shown = write(recipe, folder)
    found, refused, faults = [], {}, []
    for reader in (*READERS, "auto"):
        try:
            faults += [f"{reader}: {fault}" for fault in _differences(recipe, path, shown, reader)]
            found.append(reader)
        except SlideError as error:
            refused[reader] = str(error)
    path.unlink()
    if recipe.kind in REFUSED:
        faults += [f"{reader} reads it" for reader in found]
        faults += [f"auto says {refused['auto']}"] if REFUSED[recipe.kind] not in refused.get("auto", "") else []
    elif "auto" not in found:
        faults.append(f"{' and '.join(found) or 'nobody'} can read it, auto: {refused['auto']}")
    return faults, found


def _differences(recipe: Recipe, path: Path, shown: list[Picture], reader: str) -> list[str]:
    most = 4 if recipe.codec == "aperio_ycbcr" else _LOSSY.get(recipe.codec, _ROUNDING.get(recipe.kind, 1))
    end = -_RINGING if recipe.codec in _LOSSY else None  # where tiles go on in black beyond the border
    faults = []
    with open_slide(path, reader=reader) as slide:
        if abs(slide.mpp / recipe.mpp - 1) > 1e-3 or (slide.width, slide.height) != recipe.size:
            faults.append(f"{slide.width} x {slide.height} px of {slide.mpp} um")
        for level, (factor, expected) in enumerate(zip(recipe.factors, shown, strict=True)):
            picture, inside = slide.read(0, 0, expected.shape[1], expected.shape[0], recipe.mpp * factor)
            # of levels whose size was rounded OpenSlide interpolates, with white at the border
            share = 0.97 if recipe.codec in _LOSSY or (slide.reader == "openslide" and level) else 1.0
            apart = abs(picture.astype(int) - expected)[:end, :end][inside[:end, :end]]
            if apart.size and (apart.mean() > most / 8 + 1 or np.quantile(apart, share) > most):
                faults.append(f"level {level} differs by {apart.mean():.2f} on average, {apart.max()} at most")
        mask = np.ones((3, 3), bool)
        how: dict[str, Any] = {"mpp": recipe.mpp, "patch_size": _PATCH, "region_patches": 3}
        region, _ = slide.read(17.0, 30.0, 3 * _PATCH, 3 * _PATCH, recipe.mpp)
        parts = region.reshape(3, _PATCH, 3, _PATCH, 3).swapaxes(1, 2).reshape(9, _PATCH, _PATCH, 3)
        if not np.array_equal(read_patches(slide, (17, 30), mask, **how), parts):
            faults.append("its patches are not its region cut up")
    return faults


def main() -> int:
    """Paint slides and print what is wrong; exit status 1 if anything is."""
    parser = argparse.ArgumentParser(prog="scripts/painted", description=__doc__)
    parser.add_argument("n", type=int, nargs="?", default=500, help="slides (500)")
    parser.add_argument("--first", type=int, default=0, help="seed of the first one (0)")
    options = parser.parse_args()
    readers: Counter[str] = Counter()
    n_bad = 0
    with TemporaryDirectory() as folder:
        for seed in range(options.first, options.first + options.n):
            recipe = draw(seed)
            faults, found = faults_of(recipe, Path(folder))
            readers.update(found or ["nobody"])
            n_bad += bool(faults)
            if faults:
                print("\n    ".join([str(recipe), *faults]), flush=True)
    counts = ", ".join(f"{readers[name]} by {name}" for name in (*READERS, "auto", "nobody"))
    print(f"{options.n} slides, {n_bad} with faults; read: {counts}")
    return int(n_bad > 0)


if __name__ == "__main__":
    sys.exit(main())
