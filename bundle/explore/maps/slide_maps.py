"""Maps of a cohort: every embedding file to the files that are wanted of it."""

from __future__ import annotations

import json
import logging
import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...cohort import MAPPED, SlideOutcome
from ...core import (
    BundleError,
    Progress,
    SettingError,
    as_bool,
    as_whole,
    check_folder,
    read_json_file,
    sole_run,
    write_text,
)
from ...storage import SlideEmbeddings, find_embeddings, read_embeddings
from .layers import LAYERS, check_layers
from .map_request import MapRequest, Thumbnail

Writer = Callable[[SlideEmbeddings, MapRequest, Path], list[Path]]
_log = logging.getLogger(__name__)
_RECORD = ".maps.json"
_KEYS = ("settings_key", "source_key")  # by which inference tells embeddings of one slide apart


class SlideMaps:
    """Writes the maps of every slide into ``output_dir/<slide>/`` and ``maps.csv``, a line a slide, beside them.

    What is newer than its embedding file, and was made of the same embeddings with the same settings, is left as it is.
    A broken file is reported and the others go on.

    Args:
        dataset_dir: folder of embedding files, searched in depth, or one of them.
        output_dir: where the maps go.
        writers: format -> what writes it, such as :class:`OverlayPng`.
        formats: those of them that are wanted.
        layers: some of ``LAYERS``.
        prototype: similarity to this one only, from 1; None: to each.
        thumbnail: slide id -> RGB uint8 [h, w, 3] and its um/px (``bundle.slides.Thumbnails``), or None.
        settings: what else the maps depend on; other settings than last time make them anew.
        overwrite: make all maps anew.
        num_workers: processes that draw; 0 and 1: this one.

    Raises:
        SettingError: there is no such layer, prototype or format.
        BundleError: there is no embedding file.
    """

    def __init__(
        self,
        dataset_dir: str | Path,
        output_dir: str | Path,
        writers: Mapping[str, Writer],
        formats: Sequence[str],
        *,
        layers: Sequence[str] = LAYERS,
        prototype: int | None = None,
        thumbnail: Callable[[str], Thumbnail | None] | None = None,
        settings: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        num_workers: int = 0,
    ) -> None:
        check_layers(layers)
        self.files = find_embeddings(dataset_dir)
        self.output_dir = Path(output_dir)
        self.writers = {name: writers[name] for name in _known(formats, writers)}
        number = None if prototype is None else as_whole(prototype, "prototype", 1)
        self.request = MapRequest(tuple(layers), number, thumbnail)
        self.settings = {"layers": list(layers), "prototype": number, **(settings or {})}
        self.overwrite = as_bool(overwrite)
        self.num_workers = as_whole(num_workers, "num_workers")

    def run(self) -> list[SlideOutcome]:
        """Make what is missing.

        Returns:
            A record a slide, as in ``maps.csv``.

        Raises:
            BundleError: nothing can be written, another run writes there, or no slide worked.
        """
        check_folder(self.output_dir, "maps", "output_dir")
        with sole_run(self.output_dir, "maps", "output_dir"):
            return self._draw()

    def _draw(self) -> list[SlideOutcome]:
        with self._workers() as drawn:
            records = list(Progress(drawn, "drawing maps", len(self.files), unit="slide"))
        MAPPED.write(records, self.output_dir / "maps.csv", keeps_others=True)
        failed = [record for record in records if record.status == "failed"]
        if len(failed) == len(records):
            raise BundleError(f"no slide has a map; the first of {len(failed)} failures: {failed[0].error}")
        counts = ", ".join(f"{sum(r.status == s for r in records)} {s}" for s in ("done", "skipped", "failed"))
        _log.info("maps in %s: %s", self.output_dir, counts)
        return records

    @contextmanager
    def _workers(self) -> Iterator[Iterator[SlideOutcome]]:
        """Records in the order of the files, as they come."""
        n_workers = min(self.num_workers, len(self.files))
        if n_workers < 2:
            yield map(self.draw, self.files)
            return
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(n_workers, context) as pool:
            yield pool.map(self.draw, self.files)

    def __getstate__(self) -> dict[str, Any]:
        """What a process needs to draw: the list of files stays, tasks bring theirs."""
        return {**self.__dict__, "files": []}

    def draw(self, path: Path) -> SlideOutcome:
        """Make what is missing of one embedding file; what keeps it from being drawn is in the record."""
        started_s = time.monotonic()
        try:
            slide = read_embeddings(path)
            if len(slide) == 0:
                raise BundleError(f"{path} holds no region; run inference on this slide again.")
            prototype = self.request.prototype
            if prototype is not None and slide.n_prototypes < prototype:
                raise SettingError(
                    f"slide {slide.slide_id} has {slide.n_prototypes} prototypes and no number {prototype}; leave "
                    "--prototype out for similarity to each."
                )
            status, files = self._write(slide, path)
        except BundleError as error:
            _log.warning("%s", error)
            return SlideOutcome(path.stem, "failed", file=str(path), error=str(error))
        return SlideOutcome(
            slide.slide_id,
            status,
            regions=len(slide),
            prototypes=slide.n_prototypes,
            seconds=time.monotonic() - started_s,
            maps=";".join(files),
            file=str(path),
        )

    def _write(self, slide: SlideEmbeddings, path: Path) -> tuple[str, list[str]]:
        folder = self.output_dir / slide.slide_id
        settings = {**self.settings, "embeddings": _identity(slide, path)}
        made = self._made(folder, path, settings)
        missing = [name for name in self.writers if name not in made]
        for name in missing:
            try:
                folder.mkdir(exist_ok=True)
                made[name] = [written.name for written in self.writers[name](slide, self.request, folder)]
                record = {name: {"settings": settings, "files": files} for name, files in made.items()}
                write_text(folder / _RECORD, json.dumps(record, indent=1))
            except OSError as error:
                raise BundleError(
                    f"the {name} map of slide {slide.slide_id} cannot be written ({error}): make room, or choose "
                    "another output_dir."
                ) from error
        return "done" if missing else "skipped", [file for name in self.writers for file in made[name]]

    def _made(self, folder: Path, path: Path, settings: Mapping[str, Any]) -> dict[str, list[str]]:
        """Format -> its files, where they are there, newer than the embedding file, and made with these settings."""
        try:
            if self.overwrite or (folder / _RECORD).stat().st_mtime_ns < path.stat().st_mtime_ns:
                return {}
            record = read_json_file(folder / _RECORD)
            return {
                name: entry["files"]
                for name, entry in record.items()
                if entry["settings"] == json.loads(json.dumps(settings))
                and all((folder / file).is_file() for file in entry["files"])
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # none, or none of ours: made anew
            return {}


def _identity(slide: SlideEmbeddings, path: Path) -> dict[str, Any]:
    """What tells embeddings of a slide from others of the same slide: time alone does not, where folders differ."""
    if all(name in slide.attributes for name in _KEYS):
        return {name: str(slide.attributes[name]) for name in _KEYS}
    status = path.stat()
    return {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


def _known(formats: Sequence[str], writers: Mapping[str, Writer]) -> Sequence[str]:
    if not formats or not set(formats) <= set(writers):
        raise SettingError(f"formats are {list(formats)}; give some of {', '.join(writers)}.")
    return formats
