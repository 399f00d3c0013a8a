"""TRIDENT, AtlasPatch, CLAM, STAMP and plain files: an HDF5 file a slide, told apart by what lies in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ....core import BundleError, SlideError
from .layout import (
    FOREIGN_DAMAGE,
    N_SAMPLES,
    FeatureFile,
    Places,
    Rows,
    Said,
    as_positive,
    as_xy,
    opened_h5,
    slide_name,
    slide_size,
    spread,
    stated_pitch,
    stored_in,
    texts,
    whole,
)


class H5Slide(FeatureFile):
    """One HDF5 file; subclasses say what its attributes mean."""

    features_key = "features"

    def say(self) -> Said:
        """What the file says."""
        with self._open() as file:
            stored = self._stored(file)
            rows = Rows(stored)
            return self._say(file, Said(*rows.shape, str(stored.dtype)))

    def coords(self) -> NDArray[np.float64]:
        """(x, y) of each patch [N, 2]."""
        with self._open() as file:
            n_rows = Rows(self._stored(file)).shape[0]
            return as_xy(self._coords(file), n_rows, self.slide_id, self.path)

    @contextmanager
    def features(self) -> Iterator[Rows]:
        """Features [N, D], read from the file where they are sliced."""
        with self._open() as file:
            yield Rows(self._stored(file))

    def _open(self) -> Any:
        return opened_h5(self.path, self.slide_id)

    def _stored(self, file: h5py.File) -> Any:
        return stored_in(file, self.features_key, self.path)

    def _coords(self, file: h5py.File) -> Any:
        if "coords" not in file:
            raise SlideError(
                f"slide {self.slide_id}: {self.path} has features and no coordinates; without them no region can be "
                "laid. Make the file anew with coordinates."
            )
        return whole(file, "coords", self.path)

    def _say(self, file: h5py.File, said: Said) -> Said:
        raise NotImplementedError


class TridentSlide(H5Slide):
    """TRIDENT: attributes of ``coords`` say the geometry, attributes of ``features`` the encoder."""

    def _say(self, file: h5py.File, said: Said) -> Said:
        found = texts(file["coords"].attrs) if "coords" in file else {}
        encoder = str(texts(file["features"].attrs).get("encoder", "")).replace("None", "")
        patch, patch_level0 = as_positive(found.get("patch_size")), as_positive(found.get("patch_size_level0"))
        return said._replace(
            encoder=encoder or folder_encoder(self.path) or self.places.encoder,
            patch_px=patch,
            patch_level0=patch_level0,
            pitch_level0=stated_pitch(patch, patch_level0, found.get("overlap", 0)),
            size=slide_size(found),
        )


class AtlasSlide(H5Slide):
    """AtlasPatch: a group of encoders, geometry in the file's attributes."""

    def _stored(self, file: h5py.File) -> Any:
        names = [name for name in file["features"] if not name.startswith("__")]
        if self.places.encoder and self.places.encoder in names:
            return stored_in(file, f"features/{self.places.encoder}", self.path)
        if not self.places.encoder and len(names) == 1:
            return stored_in(file, f"features/{names[0]}", self.path)
        raise SlideError(
            f"slide {self.slide_id}: {self.path} has features of {', '.join(names) or 'no encoder'}"
            f"{f', not of {self.places.encoder}' if self.places.encoder else ''}: choose one with --encoder."
        )

    def _say(self, file: h5py.File, said: Said) -> Said:
        found = texts(file.attrs)
        patch, patch_level0 = as_positive(found.get("patch_size")), as_positive(found.get("patch_size_level0"))
        return said._replace(
            encoder=self._stored(file).name.rpartition("/")[2],
            patch_px=patch,
            patch_level0=patch_level0,
            pitch_level0=stated_pitch(patch, patch_level0, found.get("overlap", 0)),
            level0_mpp=as_positive(found.get("mpp")),
            size=slide_size(found),
        )


class StampSlide(H5Slide):
    """STAMP: coordinates in um, and so its tile; before version 2 in px of the tile, which is refused."""

    features_key = "feats"

    def _say(self, file: h5py.File, said: Said) -> Said:
        found = texts(file.attrs)
        side_um = as_positive(found.get("tile_size_um", found.get("tile_size")))
        side_px = as_positive(found.get("tile_size_px")) or self.places.patch_px
        if found.get("unit") != "um" or side_um is None or side_px is None:
            raise SlideError(
                f"slide {self.slide_id}: {self.path} does not say the size of its tiles in um and px (STAMP before "
                "version 2.1): make it anew with stamp preprocess, or give --patch_size where only the px are missing."
            )
        if found.get("feat_type", "tile") != "tile":
            raise SlideError(f"slide {self.slide_id}: {self.path} holds features of a {found['feat_type']}, not tiles.")
        encoder = str(found.get("extractor", "")) or self.places.encoder
        return said._replace(
            encoder=encoder,
            patch_px=side_px,
            patch_level0=side_um,
            pitch_level0=side_um,
            mpp=side_um / side_px,
            is_um=True,
        )


class ClamSlide(H5Slide):
    """CLAM: no attribute beside the features; the scale lies in ``patches/``, which may be anywhere."""

    def _say(self, file: h5py.File, said: Said) -> Said:
        return clam_scale(self.slide_id, self.path, self.places, said)


class PlainSlide(H5Slide):
    """A file of one's own: ``features``, and ``x`` and ``y`` in level-0 px; attributes as TRIDENT's, if any."""

    def _coords(self, file: h5py.File) -> Any:
        if "x" not in file:
            return super()._coords(file)
        return np.column_stack([whole(file, name, self.path) for name in "xy"])

    def _say(self, file: h5py.File, said: Said) -> Said:
        found = texts(file.attrs)
        return said._replace(
            encoder=str(found.get("encoder", "")) or self.places.encoder,
            patch_px=as_positive(found.get("patch_size")) or self.places.patch_px,
            patch_level0=as_positive(found.get("patch_size_level0")),
            level0_mpp=as_positive(found.get("level0_mpp")),
            size=slide_size(found),
        )


class H5Layout:
    """Folders of one of these kinds: most of a sample of files decide, the others say for themselves."""

    def __init__(self, name: str, kind: type[H5Slide]) -> None:
        self.name, self.kind = name, kind

    def slides(self, places: Places) -> list[FeatureFile]:
        """All feature files of the folder, if it is of this kind."""
        paths = of_encoder(_without_coordinates_only(places.files(".h5", ".hdf5")), places.encoder)
        told = filter(None, map(kind_of, spread(paths)))  # those that cannot be read tell nothing
        kinds = Counter(islice(told, N_SAMPLES))
        if not kinds or kinds.most_common(1)[0][0] != self.name:
            return []
        return [self.kind(slide_name(path), path, places) for path in paths]


def kind_of(path: Path) -> str:
    """Name of a file's layout; empty where it cannot be read, or is nobody's."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            if isinstance(file.get("features"), h5py.Group):
                return "AtlasPatch"
            if "feats" in file:
                return "STAMP"
            if "features" not in file or file["features"].ndim < 2 or "mask" in file:
                return ""
            if "x" in file and "y" in file:
                return "plain h5"
            has_words = "encoder" in file["features"].attrs or "patch_size_level0" in file["coords"].attrs
            if "coords" in file and has_words:
                return "TRIDENT"
            return "plain h5" if "encoder" in file.attrs else "CLAM"
    except FOREIGN_DAMAGE:
        return ""


H5_LAYOUTS = (
    H5Layout("TRIDENT", TridentSlide),
    H5Layout("AtlasPatch", AtlasSlide),
    H5Layout("STAMP", StampSlide),
    H5Layout("CLAM", ClamSlide),
    H5Layout("plain h5", PlainSlide),
)


def of_encoder(paths: list[Path], encoder: str) -> list[Path]:
    """Of the files in folders that are named after an encoder, those of the one that is asked for.

    Raises:
        BundleError: there are several such folders, and none was chosen.
    """
    by_name: dict[str, list[Path]] = {}
    for path in paths:
        by_name.setdefault(folder_encoder(path), []).append(path)
    names = sorted(name for name in by_name if name)
    if encoder and encoder in names:
        return by_name[encoder]
    if len(names) > 1:
        raise BundleError(
            f"there are features of several encoders: {', '.join(names)}. Choose one with --encoder; each goes into a "
            "tokens_dir of its own."
        )
    return paths


def folder_encoder(path: Path) -> str:
    """The encoder after which TRIDENT names a folder of features, or nothing."""
    name = path.parent.name
    for start in ("patch_features_", "features_"):
        if name.startswith(start):
            return name.removeprefix(start)
    return ""


def clam_scale(slide_id: str, path: Path, places: Places, said: Said) -> Said:
    """What CLAM's ``patches/<id>.h5`` says of the scale, or ``patch_size`` where there is none."""
    patches = coordinates_beside(path, places)
    if patches is None:
        return said._replace(encoder=places.encoder, patch_px=places.patch_px)
    with opened_h5(patches, slide_id) as file:
        found = texts(file["coords"].attrs)
    side, scale = as_positive(found.get("patch_size")), found.get("downsample", 1)
    scale = as_positive(scale[0] if isinstance(scale, list) else scale) or 1.0
    scale *= as_positive(found.get("custom_downsample")) or 1.0
    size = found.get("level_dim") if found.get("patch_level") == 0 else None
    return said._replace(
        encoder=places.encoder,
        patch_px=side or places.patch_px,
        patch_level0=None if side is None else side * scale,
        size=(int(size[0]), int(size[1])) if size else None,
    )


def coordinates_beside(path: Path, places: Places) -> Path | None:
    """CLAM's or TRIDENT's file of coordinates that belongs to a file of features, or None."""
    folders = [path.parent / "patches", path.parent.parent / "patches", path.parent.parent.parent / "patches"]
    if places.coords_dir is not None:
        folders = [places.coords_dir, places.coords_dir / "patches"]
    names = (f"{slide_name(path)}.h5", f"{slide_name(path)}_patches.h5")
    return next((folder / name for folder in folders for name in names if (folder / name).is_file()), None)


def _without_coordinates_only(paths: list[Path]) -> list[Path]:
    """Without files of whole slides, and without folders ``patches/`` whose files hold coordinates alone.

    AtlasPatch calls the folder of its features so, too.
    """
    folders: dict[Path, list[Path]] = {}
    for path in paths:
        if not any(part.startswith("slide_features_") for part in path.parts):
            folders.setdefault(path.parent, []).append(path)
    return [
        path
        for folder, members in folders.items()
        for path in members
        if folder.name != "patches" or any(kind_of(member) for member in members[:N_SAMPLES])
    ]
