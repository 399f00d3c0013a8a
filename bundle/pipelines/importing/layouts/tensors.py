"""Arrays in .pt and .npz files: slide2vec (flat, in regions), CLAM's and TRIDENT's .pt, HIPT's and SLPD's regions."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ....core import BundleError, SlideError, insist_on_unpacked, read_json_file
from .h5_patches import clam_scale, coordinates_beside, folder_encoder, of_encoder
from .layout import (
    FOREIGN_DAMAGE,
    FeatureFile,
    Places,
    Said,
    as_positive,
    as_xy,
    opened_h5,
    slide_name,
    slide_size,
    stated_pitch,
    texts,
    whole,
)

_REGION_NAMES = "name regions in their order: <id>.csv with columns x, y (level-0 px), or a folder <id> of files x_y.*"


class TensorRows:
    """Rows [N, D] of an array [N, D], of regions [R, T, D], or of regions [R, D, P, P]; read where it is sliced.

    Args:
        stored: a tensor, mapped into memory, or an array.

    Attributes:
        region_patches: P of the regions; 0 where rows stand for themselves.
    """

    def __init__(self, stored: Any) -> None:
        self.dtype = str(stored.dtype).removeprefix("torch.")
        if stored.ndim == 4 and stored.shape[2] == stored.shape[3]:
            stored = stored.reshape(*stored.shape[:2], -1).swapaxes(1, 2)
        self.region_patches = math.isqrt(stored.shape[1]) if stored.ndim == 3 else 0
        if stored.ndim not in (2, 3) or (stored.ndim == 3 and self.region_patches**2 != stored.shape[1]):
            raise ValueError(f"features are {list(stored.shape)}; expected [N, D], [R, P * P, D] or [R, D, P, P]")
        self._stored, self._n_each = stored, stored.shape[1] if stored.ndim == 3 else 1
        self.shape = (stored.shape[0] * self._n_each, stored.shape[-1])

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        first, last = rows.start // self._n_each, -(-rows.stop // self._n_each)
        part = self._stored[first:last]
        if isinstance(part, torch.Tensor):
            part = (part.float() if part.dtype == torch.bfloat16 else part).numpy()
        start = rows.start - first * self._n_each
        return part.reshape(-1, self.shape[1])[start : start + rows.stop - rows.start]


def opened_tensor(path: Path, name: str) -> TensorRows:
    """An array of a .pt file (mapped, nothing in it is run) or of a .npz file (read whole: these are compressed).

    Raises:
        SlideError: it is cut short, holds something else, or objects that loading would have to run.
    """
    try:
        insist_on_unpacked(path)
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return TensorRows(file["features"])
        stored = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        stored = stored.get("features") if isinstance(stored, dict) else stored
        if not isinstance(stored, torch.Tensor):
            raise ValueError(f"it holds a {type(stored).__name__}, not a tensor")
        return TensorRows(stored.detach())
    except Exception as error:  # torch raises half a dozen unrelated types for broken files
        reason = " ".join(str(error).split())
        if "GLOBAL" in reason:
            raise SlideError(
                f"slide {name}: {path} was refused: it holds objects that could run code while they are loaded. Save "
                "the tensor of features alone, in an environment you trust."
            ) from error
        raise SlideError(
            f"slide {name}: {path} cannot be read ({reason[:120]}). It is cut short, still being written, or no file "
            "of features: copy it again or make it anew."
        ) from error


class TensorSlide(FeatureFile):
    """One file of features whose coordinates lie in another one."""

    def say(self) -> Said:
        """What the files say."""
        rows = opened_tensor(self.path, self.slide_id)
        return self._say(Said(*rows.shape, rows.dtype, region_patches=rows.region_patches))

    def coords(self) -> NDArray[np.float64]:
        """(x, y) of each patch or region."""
        rows = opened_tensor(self.path, self.slide_id)
        n_wanted = rows.shape[0] // max(1, rows.region_patches**2)
        path, found = self._coords()
        return as_xy(found, n_wanted, self.slide_id, path)

    @contextmanager
    def features(self) -> Iterator[TensorRows]:
        """Features [N, D]."""
        yield opened_tensor(self.path, self.slide_id)

    def _say(self, said: Said) -> Said:
        raise NotImplementedError

    def _coords(self) -> tuple[Path, Any]:
        raise NotImplementedError

    def _without_coords(self, ways_out: str) -> SlideError:
        return SlideError(f"slide {self.slide_id}: {self.path} has no coordinates, and none lie beside it: {ways_out}.")


class BagSlide(TensorSlide):
    """A CLAM or TRIDENT .pt [N, D]; coordinates in ``patches/`` or ``h5_files/``."""

    def _say(self, said: Said) -> Said:
        said = clam_scale(self.slide_id, self.path, self.places, said)
        said = said._replace(encoder=said.encoder or folder_encoder(self.path))  # a folder may be called features_tcga
        path = coordinates_beside(self.path, self.places)
        if path is None:
            return said
        with opened_h5(path, self.slide_id) as file:
            found = texts(file["coords"].attrs)
        level0 = as_positive(found.get("patch_size_level0"))
        if level0 is None:
            return said
        pitch = stated_pitch(said.patch_px, level0, found.get("overlap", 0))
        return said._replace(patch_level0=level0, pitch_level0=pitch, size=slide_size(found))

    def _coords(self) -> tuple[Path, Any]:
        path = coordinates_beside(self.path, self.places)
        beside = self.path.parent.parent / "h5_files" / f"{self.path.stem}.h5"
        path = beside if path is None and beside.is_file() else path
        if path is None:
            raise self._without_coords("give the folder patches/ with --coords_dir")
        with opened_h5(path, self.slide_id) as file:
            return path, whole(file, "coords", path)


class RegionSlide(TensorSlide):
    """HIPT's and SLPD's .pt [R, P * P, D] or [R, D, P, P]: no scale, and regions known by name or order only."""

    def _say(self, said: Said) -> Said:
        return said._replace(encoder=self.places.encoder, patch_px=self.places.patch_px or 256.0)

    def _coords(self) -> tuple[Path, Any]:
        folder = self.places.coords_dir or self.path.parent
        table = folder / f"{self.path.stem}.csv"
        if table.is_file():
            return table, _read_csv(table, self.slide_id)
        names = sorted((folder / self.path.stem).glob("*_*.*"))
        if not names:
            raise self._without_coords(f"--coords_dir must {_REGION_NAMES}")
        try:
            return folder / self.path.stem, [[float(part) for part in path.stem.split("_")[-2:]] for path in names]
        except ValueError as error:
            raise self._without_coords(f"{names[0]} is not called x_y; {_REGION_NAMES}") from error


class Slide2vecSlide(TensorSlide):
    """slide2vec: a .meta.json beside each array, coordinates in ``tiles/`` of hs2p."""

    def _say(self, said: Said) -> Said:
        meta, tiling = self._meta(), self._tiling()
        slide, how = tiling.get("slide", {}), tiling.get("tiling", {})
        patch = as_positive(meta.get("requested_tile_size_px"))
        mpp = as_positive(meta.get("requested_spacing_um"))
        base = as_positive(slide.get("base_spacing_um"))
        if how.get("is_within_tolerance") and meta.get("read_tile_size_px") == meta.get("requested_tile_size_px"):
            mpp = as_positive(how.get("read_spacing_um")) or mpp  # read as it is: the pixels keep their own scale
        whole = as_positive(how.get("tile_size_lv0"))
        level0 = mpp * patch / base if mpp and patch and base else None
        pitch = as_positive(how.get("step_px_lv0")) if not said.region_patches else None
        size = slide.get("dimensions")
        return said._replace(
            encoder=str(meta.get("encoder_name", "")) or self.places.encoder,
            patch_px=patch,
            patch_level0=whole if whole and not said.region_patches else level0,
            pitch_level0=pitch,
            level0_mpp=base,
            mpp=mpp,
            size=(int(size[0]), int(size[1])) if size else None,
        )

    def _coords(self) -> tuple[Path, Any]:
        path = self._tiles(".coordinates.npz")
        try:
            insist_on_unpacked(path)
            with np.load(path, allow_pickle=False) as file:
                return path, np.column_stack([file["x"], file["y"]])
        except FOREIGN_DAMAGE as error:
            raise self._without_coords(
                f"{path} cannot be read ({error}); give the folder tiles/ with --coords_dir"
            ) from error

    def _meta(self) -> dict[str, Any]:
        return _read_json(self.path.with_suffix(".meta.json"), self.slide_id)

    def _tiling(self) -> dict[str, Any]:
        path = self._tiles(".coordinates.meta.json")
        return _read_json(path, self.slide_id) if path.is_file() else {}

    def _tiles(self, suffix: str) -> Path:
        folder = self.places.coords_dir or self.path.parent.parent / "tiles"
        return folder / f"{self.path.stem}{suffix}"


class Slide2vecLayout:
    """Folders that slide2vec has written; regions are preferred where both are there."""

    name = "slide2vec"

    def slides(self, places: Places) -> list[FeatureFile]:
        """Files with a .meta.json beside them."""
        paths = [p for p in places.files(".pt", ".npz") if p.with_suffix(".meta.json").is_file()]
        for folder in ("hierarchical_embeddings", "tile_embeddings"):
            chosen = [path for path in paths if folder in path.parts]
            if chosen:
                return [Slide2vecSlide(path.stem, path, places) for path in chosen]
        return []


class PtLayout:
    """Folders of .pt files; the first one that can be read says whether its rows are patches or regions."""

    def __init__(self, name: str, kind: type[TensorSlide], is_regions: bool) -> None:
        self.name, self.kind, self.is_regions = name, kind, is_regions

    def slides(self, places: Places) -> list[FeatureFile]:
        """All .pt files of the folder, if the first readable one is of this kind."""
        paths = of_encoder(places.files(".pt", ".pth"), places.encoder)
        for path in paths:
            try:
                is_regions = bool(opened_tensor(path, path.stem).region_patches)
            except BundleError:
                continue
            return [self.kind(slide_name(p), p, places) for p in paths] if is_regions == self.is_regions else []
        return [self.kind(slide_name(p), p, places) for p in paths]


TENSOR_LAYOUTS = (
    Slide2vecLayout(),
    PtLayout("CLAM or TRIDENT .pt", BagSlide, False),
    PtLayout("HIPT or SLPD .pt", RegionSlide, True),
)


def _read_json(path: Path, name: str) -> dict[str, Any]:
    try:
        found = read_json_file(path)
    except (OSError, ValueError) as error:
        raise SlideError(f"slide {name}: {path} cannot be read ({error}); copy it again.") from error
    return found if isinstance(found, dict) else {}


def _read_csv(path: Path, name: str) -> NDArray[np.float64]:
    try:
        table = np.genfromtxt(path, delimiter=",", names=True, dtype=float, encoding="utf-8")
        return np.column_stack([np.atleast_1d(table["x"]), np.atleast_1d(table["y"])])
    except (OSError, ValueError, IndexError) as error:
        raise SlideError(f"slide {name}: {path} cannot be read ({error}); it needs the columns x and y.") from error
