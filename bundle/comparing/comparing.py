"""``comparing``: from features, slide table and label to one page that says whether SLPD is worth it there."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from ..core import CONFIGS, BundleError, EarlierResults, as_number, as_whole, check_folder, writer_lock
from .comparison_page import Shown, Told, write_comparison
from .pieces import Piece, PieceRecord, make_piece, parsed
from .plan import FROM_REGIONS, Pace, Plan, Wish, choose_plan, kept_plan
from .verdict import TOKENS, UNTRAINED, Compare, verdict

_log = logging.getLogger(__name__)
_PROBE_SECONDS = 1.0
_DECIDED = ("dataset_dir", "output_dir", "model_path", "device", "seed", "resume", "max_epochs")  # of trainings, here


class Comparing:
    """Runs the published configs as pieces, all of which anyone can run alone, and puts what they found on one page.

    A finished training is kept, one that was killed goes on from its last epoch, and evaluating keeps what it has
    predicted: the same call again ends as if nothing had happened. Whatever can be told before the work is.

    Args:
        bundle_root: folder that places lie in which nobody named.
        dataset_dir: token files, or another tool's features.
        tokens_dir: where these are imported to; None: to a folder of theirs, see ``configs/train.yaml``.
        output_dir: ``comparison.html``, ``.csv``, ``.md``, ``.json``; a folder for each training and ``evaluation``.
        token_files: gives the folder of token files, and imports features on first use.
        slide_ids: gives the slides of features that are still to be imported; None where none are.
        probe: a few steps of a training, see ``bundle.pipelines.probe_training``.
        compare: the difference of two methods of an evaluation, see ``bundle.evaluation.compare_methods``.
        methods: by name what is trained: ids of ``configs/train.yaml`` that it has apart from the others. The last is
            judged.
        training: ids of ``configs/train.yaml`` of all methods, whatever their size says.
        sizes: by name, smallest first, further ids, and ``from_regions``: the fewest regions that it is meant for.
        evaluation: ids of ``configs/evaluate.yaml``.
        size: "auto" or a name.
        time_budget: minutes for the trainings together.
        min_epochs, max_epochs: the fewest that are worth a comparison, and the most.
        default_mpp: um/px by which features were imported that name none, for the command on the page.
        device: where to compute.
        seed: of all pieces.

    Raises:
        BundleError: a number is none, or ids of trainings are among those that are decided here.
    """

    def __init__(
        self,
        bundle_root: str | Path,
        dataset_dir: str | Path,
        tokens_dir: str | Path | None,
        output_dir: str | Path,
        *,
        token_files: Callable[[], Any],
        slide_ids: Callable[[], list[str] | None],
        probe: Callable[..., Any],
        compare: Compare,
        methods: Mapping[str, Mapping[str, Any]],
        training: Mapping[str, Any],
        sizes: Mapping[str, Mapping[str, Any]],
        evaluation: Mapping[str, Any],
        size: str = "auto",
        time_budget: float = 60,
        min_epochs: int = 10,
        max_epochs: int = 100,
        default_mpp: float | None = None,
        device: Any = "cpu",
        seed: int = 0,
    ) -> None:
        self.bundle_root, self.dataset_dir, self.tokens_dir = Path(bundle_root), dataset_dir, tokens_dir
        self.output_dir, self.device, self.seed = Path(output_dir), device, as_whole(seed, "seed")
        self.default_mpp = default_mpp
        self.token_files, self.slide_ids, self.probe, self.compare = token_files, slide_ids, probe, compare
        self.methods, self.training, self.sizes = methods, training, sizes
        self.evaluation = dict(evaluation)
        _refuse_decided("training", training, "prototype_warmup_epochs")
        for name, ids in sizes.items():
            _refuse_decided(f"size {name}", ids, "prototype_warmup_epochs")
        for name, ids in methods.items():
            _refuse_decided(name, ids)
        fewest = as_whole(min_epochs, "min_epochs", 1)
        most = as_whole(max_epochs, "max_epochs", fewest)
        self.wish = Wish(as_number(time_budget, "time_budget", 0), fewest, most, str(size), len(methods))
        self.record = PieceRecord(self.output_dir / "pieces.json")

    def run(self) -> Path:
        """All pieces that have not been run, then the page.

        Returns:
            Where the page is.

        Raises:
            BundleError: labels, folds, slide vectors or the time cannot do; a piece was stopped by a mistake.
        """
        check_folder(self.output_dir, "the comparison", "output_dir")
        with writer_lock(self.output_dir, "comparison", "output_dir"):
            return self._run()

    def _run(self) -> Path:
        notes, data = self._check()
        for note in notes:
            _log.warning("%s", note)
        tokens = self._tokens()
        if tokens != str(self.dataset_dir):
            notes, data = self._check(tokens)  # of slides that could not be imported there are no tokens
        plan = self._plan(tokens, data)
        pieces = [self._training(method, tokens, plan) for method in self.methods]
        for method, piece in zip(self.methods, pieces, strict=True):
            if not self.record.has(piece, self._model(method)):
                self.record.run(piece, self.bundle_root)
        last = self._evaluating(tokens, {method: str(self._model(method)) for method in self.methods})
        evaluation = self.record.run(last, self.bundle_root)
        found = verdict(evaluation, list(self.methods), self.compare)
        shown = [self._shown(piece) for piece in (*self._importing(tokens), *pieces, last)]
        training = self._training_told(plan, list(evaluation.pretraining_overlap))
        commands = [piece.command for piece in (*pieces, last)]
        names = [f"comparison.{kind}" for kind in ("html", "csv", "md", "json")]
        EarlierResults(self.output_dir, "comparing", names, {"commands": commands})()
        told = Told(_who(evaluation), [*notes, *evaluation.warnings], plan, training, shown)
        page = write_comparison(self.output_dir, found, told)
        _log.info("\n%s", "\n".join(line.text for line in found.lines))
        return page

    def _check(self, tokens: str | None = None) -> tuple[list[str], Any]:
        """Whatever evaluating would refuse of labels, splits and vectors, before the work.

        Args:
            tokens: folder of token files; None: features, or whatever else was given, before any is imported.

        Returns:
            Sentences for the reader, and the data set of token files; before an import what has the slides' names only.
        """
        vectors = self.evaluation.get("slide_vectors")
        taken = {TOKENS, UNTRAINED, *self.methods} & set(vectors if isinstance(vectors, Mapping) else ())
        if taken:
            raise BundleError(f"slide_vectors are called {min(taken)!r}, as an encoder is; choose another name.")
        slides = self.slide_ids() if tokens is None else None
        parts = {} if slides is None else {"dataset": SimpleNamespace(slide_ids=slides, slide_paths=[""] * len(slides))}
        parser = parsed(self._evaluating(tokens or str(self.dataset_dir), {}), self.bundle_root, **parts)
        for name in ("patient_splits", "brought_vectors"):
            parser.get_parsed_content(name)
        table, data = (parser.get_parsed_content(name) for name in ("table", "dataset"))
        _, without = table.strays()
        if not without:
            return [], data
        note = (
            f"{len(without)} slides have no row in {table.path}, such as {', '.join(without[:3])}: encoders learn from "
            "them, but nothing is predicted of them."
        )
        return [note], data

    def _tokens(self) -> str:
        """The folder of token files; features are imported, which is noted as the piece that it could have been."""
        started = time.monotonic()
        tokens = str(self.token_files())
        for piece in self._importing(tokens):
            if piece.name not in self.record.done:
                self.record.note(piece, time.monotonic() - started)
        return tokens

    def _plan(self, tokens: str, data: Any) -> Plan:
        """What was planned, or what is now; kept, so that a second call goes on with the first one's.

        Args:
            tokens: folder of token files.
            data: what is in it.

        Raises:
            BundleError: the folder holds trainings on other regions, or with other settings.
        """
        if not data.token_dim:
            raise BundleError(f"{tokens} holds embeddings: comparing trains encoders, so give token files or features.")

        def pace_of(size: str) -> Pace:
            _log.info("measuring some steps of size %s", size)
            config, device = [CONFIGS / "train.yaml"], torch.device(self.device)
            ids = {**self._size(size), **self.training}
            found = self.probe(config, ids, data.token_dim, data.region_patches, device, _PROBE_SECONDS)
            return Pace(found.train, found.recluster)

        def make() -> Plan:
            return choose_plan(self.sizes, len(data), self.wish, pace_of)

        plan = kept_plan(self.output_dir / "plan.json", self._asked(data.fingerprint), make)
        _log.info("%s", self._training_told(plan, []))
        return plan

    def _asked(self, fingerprint: str) -> dict[str, Any]:
        """What trainings depend on."""
        where = {"regions": fingerprint, "device": str(self.device), "seed": self.seed}
        return {**where, "methods": self.methods, "training": self.training, "sizes": self.sizes, **self.wish._asdict()}

    def _size(self, name: str) -> dict[str, Any]:
        return {key: value for key, value in self.sizes[name].items() if key != FROM_REGIONS}

    def _model(self, method: str) -> Path:
        return self.output_dir / method / "model.pt"

    def _training(self, method: str, tokens: str, plan: Plan) -> Piece:
        ids = {
            "dataset_dir": tokens,
            "output_dir": str(self.output_dir / method),
            "model_path": str(self._model(method)),
            "device": str(self.device),
            "seed": self.seed,
            "resume": True,
            "max_epochs": plan.max_epochs,
            "prototype_warmup_epochs": plan.prototype_warmup_epochs,
            "lr_warmup_epochs": plan.lr_warmup_epochs,
            **self._size(plan.size),
            **self.training,
            **self.methods[method],
        }
        return make_piece(f"training {method}", "training", self.bundle_root, "train.yaml", ids)

    def _evaluating(self, tokens: str, encoders: Mapping[str, str]) -> Piece:
        ids = {
            "dataset_dir": tokens,
            "output_dir": str(self.output_dir / "evaluation"),
            "encoders": dict(encoders),
            "device": str(self.device),
            "seed": self.seed,
            **self.evaluation,
        }
        return make_piece("evaluating", "evaluating", self.bundle_root, "evaluate.yaml", ids)

    def _importing(self, tokens: str) -> list[Piece]:
        """How the import is done by itself; nothing where token files were given."""
        if tokens == str(self.dataset_dir):
            return []
        ids = {name: self.evaluation.get(name) for name in ("slide_table", "slides_dir")}
        ids |= {"dataset_dir": str(self.dataset_dir), "tokens_dir": tokens}
        ids |= {"output_dir": str(Path(tokens) / "import"), "default_mpp": self.default_mpp}
        return [make_piece("importing", "importing", self.bundle_root, "import.yaml", ids)]

    def _shown(self, piece: Piece) -> Shown:
        seconds = self.record.done.get(piece.name, {}).get("seconds")
        return Shown(piece.name, "" if seconds is None else f"{seconds / 60:.1f}", piece.command)

    def _training_told(self, plan: Plan, overlapping: list[str]) -> str:
        text = (
            f"{' and '.join(self.methods)} of size {plan.size} were each trained for {plan.max_epochs} epochs on "
            f"{plan.n_regions:,} regions, without labels; prototypes join after {plan.prototype_warmup_epochs}. Size "
            f"and epochs follow from steps measured on this machine and time_budget, {self.wish.time_budget:g} minutes."
        )
        if overlapping:
            text += (
                " They have seen, without labels, the slides that they are tested on; the mean token and attention MIL "
                "have not."
            )
        return text


def _refuse_decided(where: str, ids: Any, *others: str) -> None:
    if not isinstance(ids, Mapping):
        raise BundleError(f"{where} is {ids!r}; give ids of configs/train.yaml with their values, {{}} for none.")
    found = [name for name in (*_DECIDED, *others) if name in ids]
    if found:
        raise BundleError(
            f"{where} has {', '.join(found)}, which comparing decides itself for each training (docs/comparing.md)."
        )


def _who(evaluation: Any) -> str:
    n_slides = len({slide for slides in evaluation.slides for slide in slides})
    classes = f" ({', '.join(evaluation.classes)})" if evaluation.classes else ""
    folds = f"{len(evaluation.splits)} folds" if evaluation.split_kind == "folds" else "a fixed split"
    return f"{evaluation.label}{classes} of {len(evaluation.units)} patients, {n_slides} slides, {folds} by patient."
