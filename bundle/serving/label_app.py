"""The MONAI Label app: answers about slides over HTTP, trains on the studies. Needs ``monailabel``."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from fastapi import HTTPException  # type: ignore[import-not-found]
from monailabel.interfaces.app import MONAILabelApp  # type: ignore[import-not-found]
from monailabel.interfaces.tasks.batch_infer import BatchInferTask  # type: ignore[import-not-found]

from .. import __version__
from ..cohort import SlideRef, is_file_name
from ..core import BundleError
from .answers import QUESTIONS
from .head_answers import head_questions
from .label_datastore import StudiesDatastore
from .label_requests import SlideRequest, read_request
from .label_routes import put_doors
from .label_settings import LabelSettings
from .label_tasks import PretrainingTask, SlideTask
from .slide_service import SlideService
from .studies import LinkedStudies, find_upload

_log = logging.getLogger(__name__)
_BUNDLE_ROOT = Path(__file__).resolve().parents[2]
_PICTURES = {".png", ".jpg", ".jpeg"}


class PathologySlpd(MONAILabelApp):
    """Prototype map, attention map, region embedding and similar regions of whole slides; SLPD pre-training.

    Args:
        app_dir: folder with ``main.py``.
        studies: folder of slides, searched in depth and never written to; or the address of a remote datastore.
        conf: ``--conf`` pairs, see :class:`LabelSettings`.
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        self.settings = LabelSettings.read(_BUNDLE_ROOT, Path(app_dir), conf or {})
        self.service = SlideService(self.settings)
        self.linked: LinkedStudies | None = None
        super().__init__(
            app_dir,
            studies,
            conf,
            name="pathology_slpd",
            description="Slide-level representations of whole-slide images (SLPD)",
            version=__version__,
        )

    def init_infers(self) -> dict[str, SlideTask]:
        """One task a question, and one more where a head was given."""
        questions = QUESTIONS | head_questions(self.settings.head)
        return {name: SlideTask(question, self.service) for name, question in questions.items()}

    def init_trainers(self) -> dict[str, PretrainingTask]:
        """SLPD pre-training."""
        return {"slpd": PretrainingTask(self.settings, self.studies)}

    def init_batch_infer(self) -> Callable:
        """One slide after the other."""
        return _OneByOne()

    def init_datastore(self) -> Any:
        """Links to the slides in ``work_dir``, so that neither labels nor lock files come into the studies' folder."""
        if self.studies.startswith(("http://", "https://")):
            return self.init_remote_datastore()
        folder = self.settings.work_dir / "datastore"
        self.linked = LinkedStudies(self.studies, folder / "slides")
        self.linked.refresh(is_forced=True)
        return StudiesDatastore(folder)

    def on_init_complete(self) -> None:
        """Called once, by a server that begins: its requests are checked from now on."""
        from monailabel.app import app  # type: ignore[import-not-found]  # the server: there is none without it

        super().on_init_complete()
        put_doors(app)

    def info(self) -> dict[str, Any]:
        """What clients list; slides that were added meanwhile are found here."""
        if self.linked is not None:
            self.linked.refresh()
            self._datastore.refresh()
        return super().info()

    def infer_wsi(self, request: dict[str, Any], datastore: Any = None) -> dict[str, Any]:
        """The whole slide or a box of it in one piece: tiles would tear regions apart."""
        ask = super().infer_wsi if self._is_foreign(request.get("model")) else self.infer
        return ask(request, datastore)

    def infer(self, request: dict[str, Any], datastore: Any = None) -> dict[str, Any]:
        """Answer a request.

        Raises:
            HTTPException: 404 for an unknown model or slide, 422 for a slide or request that cannot be answered.
        """
        model, image = request.get("model"), request.get("image")
        if self._is_foreign(model):
            return super().infer(request, datastore)
        try:
            request = {**request, **read_request(SlideRequest, request).model_dump(exclude_unset=True)}
        except BundleError as error:
            raise HTTPException(422, str(error)) from error
        self._insist_on_model(model, self._infers)
        slide = self._locate(image, datastore or self.datastore())
        try:
            return super().infer({**request, "image": str(slide.path), "slide_id": slide.slide_id}, datastore)
        except BundleError as error:
            _log.warning("%s of %s: %s", model, image, error)
            raise HTTPException(422, str(error)) from error

    def model_file(self, model: str, validate: bool = True) -> str | None:
        """The file behind ``/model``: all questions, and the trainer, share one.

        Raises:
            HTTPException: 404 for an unknown model, and while none has been trained; it says what to do.
        """
        if self._is_foreign(model):
            path: str | None = super().model_file(model, validate)
            return path
        self._insist_on_model(model, [*self._infers, *self._trainers])
        try:
            return str(self.settings.model_for_clients())
        except BundleError as error:
            raise HTTPException(404, str(error)) from error

    def _insist_on_model(self, model: Any, known: Collection[str]) -> None:
        if model not in known:
            raise HTTPException(404, f"there is no model {model!r}; choose one of {', '.join(known)}.")

    def _is_foreign(self, model: Any) -> bool:
        """A task that a subclass has added: MONAI Label deals with it as ever."""
        return isinstance(model, str) and model in self._infers and not isinstance(self._infers[model], SlideTask)

    def _locate(self, image: Any, datastore: Any) -> SlideRef:
        """The slide of a client's name; its id is the datastore's, which tells slides of one file name apart."""
        known = datastore.get_image_uri(image) if isinstance(image, str) and image else ""
        if known and os.path.exists(known):
            path = Path(known)
            return SlideRef(image if is_file_name(image) else path.stem, path, path.name)
        upload = find_upload(image) if isinstance(image, str) and image else None
        if upload is not None:
            if upload.suffix.lower() in _PICTURES:
                raise HTTPException(
                    422,
                    "the viewer sent a picture instead of a slide's name, as it does when the server has no slide of "
                    f"that name: put the slide into the studies folder ({self.studies}) and ask again.",
                )
            return SlideRef(upload.stem, upload, upload.name)
        raise HTTPException(404, f"there is no slide {image!r} among the studies in {self.studies}.")


class _OneByOne(BatchInferTask):
    """Without GPUs the stock task divides by their number unless it is told not to count them."""

    def __call__(self, request: dict[str, Any], datastore: Any, infer: Callable) -> dict[str, Any]:
        return super().__call__({**request, "multi_gpu": False, "max_workers": 1}, datastore, infer)
