"""Foreign features to token files: looks at all slides first, then lays and copies one after the other."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...cohort import SlideTable
from ...core import BundleError, Progress, SettingError, SlideError, as_bool, as_number, as_whole, check_folder, meeting
from ...slides import find_slides
from ...storage import NoRoomError, TokenFile, TokenFileWriter
from .copying import copy_features
from .detection import detect
from .geometry import ScaleFinder, inside
from .identity import Kinds
from .import_table import ImportRecord, summary, write_records
from .known_encoders import KnownEncoders, warn_of_mpp
from .laying import Laid, lay
from .layouts.layout import FOREIGN_DAMAGE, FeatureFile, Places, is_token_file
from .looking import Look, attributes, fingerprint, look_at, record_of
from .naming import insist_on_own, named_as_slides

logger = logging.getLogger(__name__)
_MOST_NOT_FINITE = 0.01  # of a slide's features; with more the encoder was at fault, and the rest is not to be trusted


class FeatureImporter:
    """Turns a folder of features into token files; the layout is found out, printed and recorded.

    Finished files are kept and skipped, unless their source or the settings are others by now; a file appears under its
    name only when it is complete. A bad slide is named and left out. ``output_dir`` gets ``slides.csv``. Processes of
    torchrun take one slide after the other, the largest first.

    Args:
        dataset_dir: folder of features, searched in depth; or one file.
        tokens_dir: where the token files go.
        output_dir: where the table goes.
        table: slide table.
        slides_dir: the slides, whose headers say level 0's um/px and size.
        coords_dir: folder of coordinates that do not lie beside the features.
        encoder: the encoder, where files do not say it; or which of several.
        encoders_file: YAML with further models whose contracts are known.
        patch_size: px on a patch's side, where files do not say it.
        default_mpp: um/px of level 0 of slides for which nobody says it.
        mpp: um/px by which the folder goes; None: the middle one.
        mpp_tolerance: share by which a slide's um/px may differ from it.
        region_patches: patches on a region's side; None: 16.
        region_um: um on a region's side instead, rounded to whole patches.
        min_tissue_patches: patches that a region needs; a slide's fullest region is always kept.
        snap: the longest way a patch may be moved to a cell, as a share of the pitch.
        dtype: of the stored tokens.
        overwrite: make finished files anew.
        apart_from: folders that runs write to; where they lie below ``dataset_dir`` they hold no features.
        is_shared: False: this process imports all, however many others torchrun has started.

    Raises:
        BundleError: (here) no folder, no layout that is known, an encoder to be chosen; (at ``run``) no slide worked,
            the disk is full, or ``tokens_dir`` holds tokens of another kind.
    """

    def __init__(
        self,
        dataset_dir: str | Path,
        tokens_dir: str | Path,
        output_dir: str | Path,
        *,
        table: SlideTable | None = None,
        slides_dir: str | Path | None = None,
        coords_dir: str | Path | None = None,
        encoder: str | None = None,
        encoders_file: str | Path | None = None,
        patch_size: float | None = None,
        default_mpp: float | None = None,
        mpp: float | None = None,
        mpp_tolerance: float = 0.05,
        region_patches: int | None = None,
        region_um: float | None = None,
        min_tissue_patches: int = 8,
        snap: float = 0.5,
        dtype: str = "float16",
        overwrite: bool = False,
        apart_from: Sequence[str | Path] = (),
        is_shared: bool = True,
    ) -> None:
        self.tokens_dir, self.output_dir = Path(tokens_dir), Path(output_dir)
        self.mpp = None if mpp is None else as_number(mpp, "mpp", 0.01, 20, "um/px")
        self.default_mpp = None if default_mpp is None else as_number(default_mpp, "default_mpp", 0.01, 20, "um/px")
        self.mpp_tolerance = as_number(mpp_tolerance, "mpp_tolerance", 0, 1)
        self.region_patches = as_whole(16 if region_patches is None else region_patches, "region_patches", 1)
        self.region_um = None if region_um is None else as_number(region_um, "region_um", 1, 1e6, "um")
        self.min_tissue_patches = as_whole(min_tissue_patches, "min_tissue_patches", 1)
        self.snap = as_number(snap, "snap", 0, 1)
        if dtype not in ("float16", "float32"):
            raise SettingError(f"dtype is {dtype!r}; tokens are stored as float16 or float32.")
        self.dtype, self.overwrite = dtype, as_bool(overwrite)
        self.together = meeting() if is_shared else None
        side = None if patch_size is None else as_number(patch_size, "patch_size", 1, 1e5, "px")
        self.encoder, self.known = str(encoder or ""), KnownEncoders(encoders_file)
        beside = None if coords_dir is None else Path(coords_dir)
        written = tuple(map(Path, apart_from))
        places = Places(Path(dataset_dir), beside, self.encoder, side, self.tokens_dir, written)
        self.layout, self.files = detect(places)
        logger.info("%s: features of %s, %d slides", dataset_dir, self.layout, len(self.files))
        refs = [] if slides_dir is None else find_slides(slides_dir)
        table = table or SlideTable({})
        self.files = named_as_slides(self.files, table, [ref.slide_id for ref in refs])
        table.match([file.slide_id for file in self.files])
        self.scales = ScaleFinder(table, {ref.slide_id: ref for ref in refs}, self.default_mpp)
        self.records: dict[str, ImportRecord] = {}

    def run(self) -> None:
        """Import every slide that has no file yet."""
        check_folder(self.output_dir, "the table of slides", "output_dir")
        check_folder(self.tokens_dir, "token files", "tokens_dir")
        if self.together is None or self.together.rank == 0:
            (self.output_dir / "slides.csv").unlink(missing_ok=True)
        own, is_done = list[FeatureFile](), False
        try:
            looks = self._look_at_all()
            kinds = self._agree_on_kind(looks)
            for file in Progress(self._share(), desc="importing", unit="slide", total=len(self.files)):
                own.append(file)
                if file.slide_id in looks:
                    self._try(file, looks[file.slide_id], kinds)
            is_done = True
        finally:
            own_records = [self.records[file.slide_id] for file in own if file.slide_id in self.records]
            records = self._report(own_records, is_done)
        if records and all(record.status == "failed" for record in records):
            raise BundleError(f"none of {len(records)} slides could be imported; the first: {records[0].error}")

    def _share(self) -> Iterable[FeatureFile]:
        """What this process imports."""
        if self.together is None:
            return self.files
        self.together.insist_on_shared(self.tokens_dir, "token files", "tokens_dir")
        shared = self.together.share_out(self.files, lambda f: f.slide_id, lambda f: f.path.stat().st_size)
        return (file for _, file in shared)

    def _look_at_all(self) -> dict[str, Look]:
        """Every process looks at every slide, so that all agree on what most slides are."""
        looks = {}
        for file in self.files:
            try:
                looks[file.slide_id] = look_at(file, self.scales, self.layout, self.encoder, self.known)
            except (BundleError, *FOREIGN_DAMAGE) as error:
                self._fail(file, error)
        return looks

    def _agree_on_kind(self, looks: dict[str, Look]) -> Kinds:
        kinds = {name: look.kind for name, look in looks.items()}
        mpps = {name: look.mpp for name, look in looks.items()}
        found = Kinds(kinds, mpps, self.tokens_dir, self.mpp, self.mpp_tolerance)
        if self.region_um is not None and found.kind is not None:
            self.region_patches = max(1, round(self.region_um / (found.mpp * found.kind.patch_px)))
        if found.kind is not None:
            text = "encoder %s, D = %d, patches of %d px at %.4g um/px, regions of %d x %d patches"
            logger.info(text, *found.kind, found.mpp, self.region_patches, self.region_patches)
            model = next(look.model for look in looks.values() if look.kind == found.kind)
            warn_of_mpp(model, found.kind.patch_px, found.mpp)
        return found

    def _try(self, file: FeatureFile, look: Look, kinds: Kinds) -> None:
        started_s = time.monotonic()
        try:
            kinds.check(file.slide_id, file.path, look.kind, look.mpp)
            insist_on_own(self._token_path(file), file.slide_id)
            xy = file.coords()
            settings = self._settings(file, look, xy)
            record = self._skipped(file, look, settings) or self._import(file, look, xy, settings | {"mpp": kinds.mpp})
            self.records[file.slide_id] = record._replace(seconds=time.monotonic() - started_s)
        except NoRoomError:
            raise
        except (BundleError, *FOREIGN_DAMAGE) as error:
            self._fail(file, error)

    def _import(self, file: FeatureFile, look: Look, xy: NDArray[np.float64], settings: dict[str, Any]) -> ImportRecord:
        xy = xy / (look.scale.level0_mpp if look.said.is_um else 1.0)
        is_inside = inside(xy, look.said, look.scale.size, file.slide_id)
        laid = lay(file, look.said, xy, is_inside, self.region_patches, self.snap, self.min_tissue_patches)
        rows, bad = laid.rows, list[int]()
        if self._write(file, look, settings, laid, rows, bad):
            logger.warning(
                "slide %s: %d features are not finite and are left out (rows %s)", file.slide_id, len(bad), bad[:5]
            )
            rows = np.where(np.isin(rows, bad), -1, rows)
            self._write(file, look, settings, laid, rows, [])
        recorded = {**attributes(look, laid), "not_finite": len(bad)}
        return record_of(file.slide_id, "done", look, recorded, int((rows >= 0).sum()), len(laid.coords))

    def _write(
        self,
        file: FeatureFile,
        look: Look,
        settings: dict[str, Any],
        laid: Laid,
        rows: NDArray[np.int64],
        bad: list[int],
    ) -> bool:
        """Write the token file; True if features that are not finite, added to ``bad``, kept it from being made."""
        is_kept = (rows >= 0).any((1, 2))
        writer = TokenFileWriter(
            self._token_path(file),
            region_patches=rows.shape[1],
            dim=look.said.dim,
            dtype=self.dtype,
            coords=laid.coords[is_kept],
            mask=rows[is_kept] >= 0,
            attributes={
                **settings,
                **attributes(look, laid._replace(rows=rows[is_kept])),
                "not_finite": int((rows < laid.rows).sum()),
            },
        )
        try:
            with file.features() as source, writer:
                bad += copy_features(source, rows[is_kept], writer)
                if bad:
                    raise _NotFinite
        except _NotFinite:
            if len(bad) > _MOST_NOT_FINITE * look.said.n_rows:
                raise SlideError(
                    f"slide {file.slide_id}: {len(bad)} of {look.said.n_rows} features in {file.path} are not finite "
                    f"(NaN or infinite), the first in row {min(bad)}: encode the slide again."
                ) from None
            return True
        return False

    def _settings(self, file: FeatureFile, look: Look, xy: NDArray[np.float64]) -> dict[str, Any]:
        """What decides the contents of a token file, beside its kind: with all of it equal, a file is kept."""
        own = {"snap": self.snap, "min_tissue_patches": self.min_tissue_patches, "dtype": self.dtype}
        return {**fingerprint(file, look, xy), **own}

    def _skipped(self, file: FeatureFile, look: Look, settings: dict[str, Any]) -> ImportRecord | None:
        """The record of a slide whose file is there and still what this run would write."""
        path = self._token_path(file)
        if self.overwrite or not path.is_file():
            return None
        try:
            stored = TokenFile(path)
        except BundleError as error:
            logger.warning("%s It is made anew.", error)
            return None
        found = stored.header
        if found.region_patches != self.region_patches and not look.said.region_patches:
            raise BundleError(
                f"slide {file.slide_id}: {path} has regions of {found.region_patches} patches on a side, this run lays "
                f"{self.region_patches}; choose another tokens_dir."
            )
        changes = [n for n, v in settings.items() if found.attributes.get(n, v) != v]
        if changes:
            logger.warning("slide %s is imported anew: %s changed", file.slide_id, ", ".join(changes))
            return None
        return record_of(file.slide_id, "skipped", look, found.attributes, int(stored.mask.sum()), len(stored))

    def _fail(self, file: FeatureFile, error: BaseException) -> None:
        reason = str(error) if isinstance(error, BundleError) else _unexpected(file, error)
        if self._token_path(file).is_file() and is_token_file(self._token_path(file)):
            reason += f" Its token file of an earlier run stays in {self.tokens_dir}."
        self.records[file.slide_id] = ImportRecord(file.slide_id, "failed", self.layout, error=reason)
        logger.warning("left out: %s", reason)

    def _token_path(self, file: FeatureFile) -> Path:
        return self.tokens_dir / f"{file.slide_id}.h5"

    def _report(self, records: list[ImportRecord], is_done: bool) -> list[ImportRecord]:
        """Write and show the table; the records of all processes, or none where another one writes them."""
        if self.together is not None and is_done:
            records = [ImportRecord(*row) for theirs in self.together.gather(records) for row in theirs]
        if self.together is not None and self.together.rank > 0:
            return []
        write_records(records, self.output_dir / "slides.csv")
        logger.info("%s", summary(records))
        return records


def _unexpected(file: FeatureFile, error: BaseException) -> str:
    return (
        f"slide {file.slide_id}: {file.path}, or a file that belongs to it, does not hold what its layout says "
        f"({type(error).__name__}: {error}): make it anew."
    )


class _NotFinite(Exception):
    """Ends a token file that cannot be completed as it was planned."""
