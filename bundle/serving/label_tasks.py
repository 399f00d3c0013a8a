"""MONAI Label's tasks: a question about a slide, and SLPD pre-training. Needs ``monailabel``."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType  # type: ignore[import-not-found]
from monailabel.interfaces.tasks.train import TrainTask  # type: ignore[import-not-found]
from monailabel.transform.writer import PolygonWriter  # type: ignore[import-not-found]

from .answers import Question
from .label_settings import LabelSettings
from .pretraining_run import PretrainingRun
from .slide_service import SlideService

_log = logging.getLogger(__name__)


class SlideTask(InferTask):
    """Answers one kind of question about slides; all tasks share the slides that were embedded.

    Args:
        question: what is asked.
        service: gives the embeddings of a slide.
    """

    def __init__(self, question: Question, service: SlideService) -> None:
        self.question, self.service = question, service
        super().__init__(InferType.SEGMENTATION, question.labels, 2, question.description, dict(question.options))

    def is_valid(self) -> bool:
        """Always: that weights exist was made sure of when the app started."""
        return True

    def info(self) -> dict[str, Any]:
        """What clients list."""
        return {**super().info(), "pathology": True}

    def __call__(self, request: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """Path of the file that the client wants (ASAP or DSA), or None, and the answer as JSON.

        Raises:
            BundleError: the slide cannot be read, or the request asks for what there is not.
        """
        started_s = time.monotonic()
        slide = self.service.embeddings(Path(request["image"]), request["slide_id"])
        embedded_s = time.monotonic() - started_s
        answer = self.question.answer(slide, request)
        total_s = time.monotonic() - started_s
        box = answer["annotation"]
        data = {
            "result": answer,
            "output": request.get("output"),
            "model": request.get("model"),
            "description": self.description,
            "location": box["location"],
            "size": box["size"],
            "latencies": {"embed": round(embedded_s, 3), "total": round(total_s, 3)},
        }
        return PolygonWriter()(data)


class PretrainingTask(TrainTask):
    """SLPD pre-training on all slides of the studies, labels or not; the new model is served when it is complete.

    Label runs this in a process of its own: ``GET /train/`` shows its last lines, ``GET /info/`` (``train_stats``) how
    far it is.

    Args:
        settings: weights, folders, configs.
        studies: folder of slides.
    """

    def __init__(self, settings: LabelSettings, studies: str) -> None:
        super().__init__("SLPD pre-training of the region encoder on the slides of the studies; no labels needed")
        self.run = PretrainingRun(settings, Path(studies))

    def config(self) -> dict[str, Any]:
        """Parameters that a client may set."""
        return {"max_epochs": 100, "pretrained": False, "resume": False}

    def stats(self) -> dict[str, Any]:
        """How far the last run is: ``state``, ``epoch``, ``max_epochs`` and the figures of the last epoch."""
        return self.run.progress()

    def __call__(self, request: dict[str, Any], datastore: Any) -> dict[str, Any]:
        """Tokenize the slides, train, put the new model where it is served.

        Raises:
            BundleError: a step failed; its last words are in the message.
        """
        return self.run.start(request)
