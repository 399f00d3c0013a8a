"""What a saved head says of the slides of a run: a table of slides, one of patients, and maps of regions."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cohort import SlideOutcome, SlideTable
from ..core import BundleError, EarlierResults, as_bool, check_folder, sole_run, write_text
from ..heads import Head, load_head
from ..networks import Encoder, weights_name
from ..pages import csv_text
from ..storage import SlideEmbeddings, read_embeddings, read_token_header
from .inputs import InferenceInputs
from .pipeline import SlidePipeline

_log = logging.getLogger(__name__)
_NAMED = 3
_TABLES = ("predictions.csv", "patients.csv")
_MAPS = "head_maps"
MapWriter = Callable[[SlideEmbeddings, Head, Path], Path]


class HeadPredictions:
    """Applies a head to the embeddings that a run has made, or found.

    ``predictions.csv`` has a line a slide, ``patients.csv`` one a patient, of all whose slides together, as the head
    was trained. Without a head nothing is done.

    Args:
        head: file of :func:`~bundle.heads.save_head`; None: no head.
        output_dir: of the run; embeddings lie in it.
        table: says which patient a slide is of; a slide without one is a patient.
        weights: file of the region encoder that is used.
        network: that encoder.
        inputs: slides or token files of the run.
        tokens: makes the tokens of slides; None where there are none.
        classes: the head must tell these apart; None: whatever it does.
        has_maps: write a map of each slide into ``head_maps``.
        maps: writes one.

    Raises:
        BundleError: the head is missing, damaged, or tells other classes apart.
    """

    def __init__(
        self,
        head: str | Path | None,
        output_dir: str | Path,
        table: SlideTable,
        *,
        weights: str | Path,
        network: Encoder,
        inputs: InferenceInputs,
        tokens: SlidePipeline | None = None,
        classes: Sequence[str] | None = None,
        has_maps: bool = True,
        maps: MapWriter | None = None,
    ) -> None:
        self.head = None if head is None else load_head(head)
        self.output_dir, self.table, self.weights = Path(output_dir), table, Path(weights)
        self.network, self.inputs, self.tokens = network, inputs, tokens
        self.maps = maps if as_bool(has_maps) else None
        if self.head is not None:
            self.head.insist_on_classes([classes] if isinstance(classes, str) else classes)
        elif classes is not None:
            raise BundleError("classes are asked for without a head: give --head as well.")

    def around(self, evaluator: SlidePipeline) -> None:
        """A run, and the predictions of what it has made: until they are written no other run predicts there.

        Tables and maps of the same head and folder are removed before, those of another step aside.

        Raises:
            BundleError: the head is of other encoders, nothing can be written, another run predicts into the folder,
                or the run ends with one.
        """
        self.check()
        if self.head is None or not self.weights.exists():
            evaluator.run()
            return
        check_folder(self.output_dir, "predictions", "output_dir")
        rank, world_size = evaluator.source.rank, evaluator.source.world_size
        with sole_run(self.output_dir, "predictions", "output_dir", rank, world_size):
            if rank == 0:  # nothing is written before it has embedded its slides, too
                self._make_room()
            evaluator.run()
            self.run(evaluator.outcomes)

    def check(self) -> None:
        """Before the run: whether the head is one of these encoders; nothing is touched.

        Raises:
            BundleError: it is of another encoder, resolution or length.
        """
        if self.head is None or not self.weights.exists():  # without weights the run itself says what to do
            return
        learned = self.head.record.encoder
        found = {**learned, "region_encoder": weights_name(self.weights), **self._patches()}
        dim = self.network.state_dict()["backbone.cls_token"].shape[-1]
        if why := self.head.misfit(found, dim):
            raise BundleError(
                f"the head {self.head.path} cannot be applied: {why}. Give the encoders that it was trained with "
                "(region_encoder_ckpt, patch_encoder_ckpt), or another --head."
            )

    def _make_room(self) -> None:
        own = [*_TABLES, *(f"{_MAPS}/{path.name}" for path in (self.output_dir / _MAPS).glob("*.geojson"))]
        EarlierResults(self.output_dir, "predicting", own, self._settings())()
        for name in own:
            (self.output_dir / name).unlink(missing_ok=True)

    def run(self, outcomes: Sequence[SlideOutcome]) -> None:
        """After the run: apply the head to what is there.

        Args:
            outcomes: of all slides, of all processes; none while other processes are still at work.

        Raises:
            BundleError: a slide's embeddings are none that the head takes.
        """
        files = {row.slide: self.output_dir / row.file for row in outcomes if row.file}
        if self.head is None or not files:
            return
        slides, patients = [], []
        for patient, members in self._by_patient(files):
            found = [self._read(files[slide_id]) for slide_id in members]
            scores = np.stack([self.head.scores([slide]) for slide in found])
            slides += self._rows(zip(members, [patient] * len(members), strict=True), scores)
            together = self.head.scores(found)[None]
            seen = any(self.head.has_seen(patient, slide_id) for slide_id in members)
            patients += [{"patient": patient, "slides": len(members), **self._said(together)[0], "seen": seen}]
            for slide in found if self.maps else []:
                self._draw(slide)
        for name, rows in zip(_TABLES, (sorted(slides, key=lambda row: row["slide_id"]), patients), strict=True):
            self._write(name, rows)
        self._warn(patients, len(slides))

    def _settings(self) -> dict[str, Any]:
        """What predictions depend on, apart from which slides lie in the folder."""
        assert self.head is not None
        slides = os.path.commonpath([ref.path.absolute() for ref in self.inputs.refs]) if self.inputs.refs else ""
        return {"head": self.head.record.tensors_sha256, "region_encoder": weights_name(self.weights), "slides": slides}

    def _patches(self) -> dict[str, Any]:
        """What is known of the patches before they are read."""
        if self.inputs.are_slides:
            return {} if self.tokens is None else self.tokens.sink.kind(self.tokens.source)  # type: ignore[attr-defined]
        for ref in self.inputs.refs:
            with contextlib.suppress(BundleError):  # a file that cannot be read is for the run to name
                header = read_token_header(ref.path)
                return {**header.attributes, "encoder": header.encoder, "mpp": header.mpp}
        return {}

    def _by_patient(self, files: dict[str, Path]) -> Iterator[tuple[str, list[str]]]:
        """Patients by name, and their slides."""
        members: dict[str, list[str]] = {}
        paths = {ref.slide_id: ref.path for ref in self.inputs.refs}
        for slide_id in sorted(files):
            row = self.table.row(slide_id, paths.get(slide_id))
            members.setdefault(row.patient or slide_id, []).append(slide_id)
        yield from sorted(members.items())

    def _read(self, path: Path) -> SlideEmbeddings:
        assert self.head is not None
        slide = read_embeddings(path, attention=False)
        self.head.insist(slide)
        return slide

    def _rows(self, named: Any, scores: NDArray[np.float64]) -> list[dict[str, Any]]:
        assert self.head is not None
        said = self._said(scores)
        return [
            {"slide_id": slide_id, "patient": patient, **values, "seen": self.head.has_seen(patient, slide_id)}
            for (slide_id, patient), values in zip(named, said, strict=True)
        ]

    def _said(self, scores: NDArray[np.float64]) -> list[dict[str, Any]]:
        """What rows of scores [n, C] are in words, by column."""
        assert self.head is not None
        record, groups = self.head.record, self.head.groups
        called = [groups[place] for place in self.head.called(scores)]
        if record.is_survival:
            return [{"group": name, "risk": row[0]} for name, row in zip(called, scores, strict=True)]
        found: list[dict[str, Any]] = [
            {"class": name, **{f"probability_{c}": value for c, value in zip(groups, row, strict=True)}}
            for name, row in zip(called, scores, strict=True)
        ]
        calibrated = self.head.calibrated(scores)
        for values, row in zip(found, [] if calibrated is None else calibrated, strict=calibrated is not None):
            values |= {f"calibrated_{c}": value for c, value in zip(groups, row, strict=True)}
        return found

    def _draw(self, slide: SlideEmbeddings) -> None:
        assert self.head is not None and self.maps is not None
        folder = check_folder(self.output_dir / _MAPS, "maps", "output_dir")
        try:
            self.maps(slide, self.head, folder)
        except OSError as error:
            raise BundleError(f"the map of slide {slide.slide_id} cannot be written ({error}): make room.") from error

    def _write(self, name: str, rows: list[dict[str, Any]]) -> None:
        columns = [*(column for column in rows[0] if column != "seen"), "seen_in_training"]
        cells = [[_cell(row["seen" if name == "seen_in_training" else name]) for name in columns] for row in rows]
        try:
            write_text(self.output_dir / name, csv_text(columns, cells))
        except OSError as error:
            raise BundleError(f"{self.output_dir / name} cannot be written ({error.strerror}): make room.") from error

    def _warn(self, patients: list[dict[str, Any]], n_slides: int) -> None:
        assert self.head is not None
        seen = [row["patient"] for row in patients if row["seen"]]
        if seen:
            _log.warning(
                "the head %s was trained on %d of these %d patients, such as %s: what it says of them says nothing of "
                "new ones (column seen_in_training)",
                self.head.path, len(seen), len(patients), ", ".join(seen[:_NAMED]),
            )  # fmt: skip
        _log.info("predictions of %d slides: %s", n_slides, self.output_dir / "predictions.csv")


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.9g}" if isinstance(value, float) else value
