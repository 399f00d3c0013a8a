"""Features as columns of a table (parquet), and wsidata's zarr stores; each needs a package that is an extra."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....core import BundleError, SlideError, read_json_file
from .layout import FeatureFile, Places, Said, as_positive, as_xy, slide_name, slide_size

_NO_FEATURES = {"x", "y", "tile_id", "tissue_id", "index", "level", "w", "h", "width", "height"}
_FLOATS = ("halffloat", "float", "double")  # as pyarrow calls its types
_TILES = "_tiles"


def required(module: str, extra: str, what: str) -> Any:
    """A package that only some layouts need.

    Raises:
        BundleError: it is not installed; the message names the extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise BundleError(f"{what} needs {module.partition('.')[0]}: pip install 'pathology-slpd[{extra}]'.") from error


class ArrayRows:
    """Rows [N, D] of anything that gives rows where it is sliced."""

    def __init__(self, stored: Any, shape: tuple[int, int]) -> None:
        self._stored, self.shape = stored, shape

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        return np.asarray(self._stored[rows])


class ParquetRows:
    """Rows of a parquet file, a row group at a time."""

    def __init__(self, file: Any, columns: list[str], shape: tuple[int, int]) -> None:
        self._file, self._columns, self.shape = file, columns, shape
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        self._first = np.concatenate([[0], np.cumsum(sizes)]).astype(int)
        self._cached: tuple[int, NDArray[Any]] | None = None

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        groups = range(
            int(np.searchsorted(self._first, rows.start, side="right")) - 1,
            int(np.searchsorted(self._first, rows.stop, side="left")),
        )
        parts = []
        for group in groups:
            first = int(self._first[group])
            parts.append(self._group(group)[max(0, rows.start - first) : rows.stop - first])
        return np.concatenate(parts)

    def _group(self, group: int) -> NDArray[Any]:
        if self._cached is None or self._cached[0] != group:
            self._cached = (group, _matrix(self._file.read_row_group(group, columns=self._columns), self._columns))
        return self._cached[1]


class ParquetSlide(FeatureFile):
    """One parquet file: ``x``, ``y`` in level-0 px, and a column a feature, or one column of lists."""

    def say(self) -> Said:
        """What its columns and its metadata say."""
        with self.features() as rows:
            words = {k.decode(): v.decode() for k, v in (self._words or {}).items() if not k.startswith(b"ARROW")}
        return Said(
            *rows.shape,
            "float32",
            encoder=words.get("encoder", "") or self.places.encoder,
            patch_px=as_positive(words.get("patch_size")) or self.places.patch_px,
            patch_level0=as_positive(words.get("patch_size_level0")),
            level0_mpp=as_positive(words.get("level0_mpp")),
            size=slide_size(words),
        )

    def coords(self) -> NDArray[np.float64]:
        """(x, y) of each row [N, 2]."""
        with self._opened() as file:
            table = file.read(columns=["x", "y"])
            return as_xy(_matrix(table, ["x", "y"]), None, self.slide_id, self.path)

    @contextmanager
    def features(self) -> Iterator[ParquetRows]:
        """Features [N, D]."""
        with self._opened() as file:
            self._words = file.schema_arrow.metadata
            columns = [field.name for field in file.schema_arrow if _is_feature(field)]
            if not columns:
                raise SlideError(
                    f"slide {self.slide_id}: {self.path} has no feature columns beside x and y: none of floating-point "
                    "numbers, or of lists of them."
                )
            dim = _matrix(next(file.iter_batches(1, columns=columns)), columns).shape[1]
            yield ParquetRows(file, columns, (file.metadata.num_rows, dim))

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        parquet = required("pyarrow.parquet", "parquet", f"{self.path} is a parquet file, which")
        try:
            with parquet.ParquetFile(self.path) as file:
                yield file
        except BundleError:
            raise
        except (OSError, ValueError, KeyError, StopIteration) as error:  # pyarrow's errors are of these kinds
            raise SlideError(
                f"slide {self.slide_id}: {self.path} cannot be read ({error}): it is cut short, empty, or lacks the "
                "columns x and y."
            ) from error


class ParquetLayout:
    """Folders of parquet files."""

    name = "plain parquet"

    def slides(self, places: Places) -> list[FeatureFile]:
        """All parquet files."""
        return [ParquetSlide(slide_name(path), path, places) for path in places.files(".parquet")]


class WsidataSlide(FeatureFile):
    """A SpatialData store: ``shapes/tiles`` (parquet), the tile's size in the attributes, ``tables/<model>_tiles``."""

    def say(self) -> Said:
        """What the store says."""
        with self.features() as rows:
            words = _attributes(self.path)
        spec = words.get("tile_spec", {}).get("tiles", {})
        slide = words.get("slide_properties", {})
        shape = slide.get("shape")
        level0 = float(spec.get("base_downsample", 1.0))
        width, stride = as_positive(spec.get("width")), as_positive(spec.get("stride_width"))
        return Said(
            *rows.shape,
            "float32",
            encoder=self._table().removesuffix(_TILES),
            patch_px=width,
            patch_level0=width and float(int(width * level0)),
            pitch_level0=stride and float(int(stride * level0)),
            level0_mpp=as_positive(slide.get("mpp")),
            size=(int(shape[1]), int(shape[0])) if shape else None,
        )

    def coords(self) -> NDArray[np.float64]:
        """(x, y) of each row of the table [N, 2], by ``tile_id``."""
        parquet = required("pyarrow.parquet", "wsidata", f"{self.path} is a wsidata store, which")
        try:
            table = parquet.read_table(self.path / "shapes" / "tiles" / "shapes.parquet", columns=["tile_id", "x", "y"])
            tiles = _matrix(table, ["tile_id", "x", "y"])
            ids = np.asarray(self._zarr()["obs"]["tile_id"][:])
        except (OSError, ValueError, KeyError) as error:
            raise self._unreadable(error) from error
        place_of = {int(tile): i for i, tile in enumerate(tiles[:, 0])}
        missing = [int(tile) for tile in ids if int(tile) not in place_of]
        if missing:
            raise SlideError(
                f"slide {self.slide_id}: {len(missing)} rows of {self._table()} are of tiles that shapes/tiles does "
                "not have: features and tiles are not of one run. Make the features anew."
            )
        return as_xy(tiles[[place_of[int(tile)] for tile in ids], 1:], len(ids), self.slide_id, self.path)

    @contextmanager
    def features(self) -> Iterator[ArrayRows]:
        """Features [N, D]."""
        try:
            stored = self._zarr()["X"]
            yield ArrayRows(stored, (int(stored.shape[0]), int(stored.shape[1])))
        except (OSError, KeyError, ValueError, AttributeError) as error:
            raise self._unreadable(error) from error

    def _zarr(self) -> Any:
        zarr = required("zarr", "wsidata", f"{self.path} is a wsidata store, which")
        return zarr.open_group(str(self.path / "tables" / self._table()), mode="r")

    def _table(self) -> str:
        names = sorted(path.name for path in (self.path / "tables").glob(f"*{_TILES}"))
        wanted = f"{self.places.encoder.removesuffix(_TILES)}{_TILES}"
        if self.places.encoder and wanted in names:
            return wanted
        if len(names) == 1 and not self.places.encoder:
            return names[0]
        raise SlideError(
            f"slide {self.slide_id}: {self.path} has features of {', '.join(names) or 'no encoder'}: choose one with "
            "--encoder."
        )

    def _unreadable(self, error: Exception) -> SlideError:
        return SlideError(
            f"slide {self.slide_id}: {self.path} cannot be read ({error}): it is cut short, still being written, or "
            "lacks shapes/tiles. Copy it again or make it anew."
        )


class WsidataLayout:
    """Folders of wsidata's stores."""

    name = "wsidata"

    def slides(self, places: Places) -> list[FeatureFile]:
        """All stores that have tables and shapes."""
        is_one = places.root.suffix == ".zarr"
        stores = [places.root] if is_one else sorted(places.root.rglob("*.zarr")) if places.root.is_dir() else []
        return [WsidataSlide(slide_name(p), p, places) for p in stores if (p / "shapes").is_dir()]


TABLE_LAYOUTS = (WsidataLayout(), ParquetLayout())


def _attributes(path: Path) -> dict[str, Any]:
    """Attributes of a store's root group, of zarr's format 3 or 2."""
    for name, key in (("zarr.json", "attributes"), (".zattrs", "")):
        file = path / name
        if file.is_file():
            found = read_json_file(file)
            return found.get(key, {}) if key else found
    return {}


def _is_feature(field: Any) -> bool:
    """Whether a column of a table holds features: labels, row numbers and pandas' index are no floats."""
    kind = getattr(field.type, "value_type", field.type)  # of lists
    return field.name not in _NO_FEATURES and str(kind) in _FLOATS


def _matrix(table: Any, columns: list[str]) -> NDArray[Any]:
    """Columns side by side; a column of lists is as wide as its lists."""
    parts = []
    for name in columns:
        column = table.column(name)
        values = column.to_numpy() if hasattr(column, "chunks") else column.to_numpy(zero_copy_only=False)
        parts.append(np.stack(list(values)) if values.dtype == object else values[:, None])
    return np.concatenate(parts, axis=1)
