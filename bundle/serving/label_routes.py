"""Doors of the server that stand before MONAI Label's own, which take anything. Needs ``monailabel``."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from inspect import signature
from typing import Any

from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, Form, HTTPException, UploadFile  # type: ignore[import-not-found]
from monailabel.config import settings  # type: ignore[import-not-found]
from monailabel.endpoints import batch_infer, infer, train, wsi_infer  # type: ignore[import-not-found]
from monailabel.endpoints.user.auth import RBAC  # type: ignore[import-not-found]
from monailabel.interfaces.utils.app import app_instance  # type: ignore[import-not-found]
from monailabel.utils.async_tasks.utils import tasks  # type: ignore[import-not-found]
from pydantic import ValidationError  # type: ignore[import-not-found]
from starlette.responses import JSONResponse  # type: ignore[import-not-found]

from ..core import BundleError
from .label_requests import TrainRequest, fields_of, read_json, read_request
from .label_tasks import PretrainingTask

MOST_WAITING = 4  # trainings, and runs over all slides, with the one that is at work
_USER = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))
_ADMIN = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ADMIN))
_BATCH = signature(batch_infer.api_run).parameters["params"].default  # Label's own
_doors = APIRouter()


class SameOrigin:
    """Refuses what a page of another site asks in its visitor's name; clients that are no browser name no origin.

    Args:
        app: what answers.
        allowed: origins of other sites that may ask, ``MONAI_LABEL_CORS_ORIGINS``.
    """

    def __init__(self, app: Callable[..., Any], allowed: tuple[str, ...] = ()) -> None:
        self.app, self.allowed = app, allowed

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """ASGI."""
        headers = {name: value.decode("latin-1") for name, value in scope.get("headers", ())}
        origin, host = headers.get(b"origin"), headers.get(b"host", "")
        is_own = origin is None or origin.partition("://")[2] == host or origin.rstrip("/") in self.allowed
        if scope["type"] not in ("http", "websocket") or is_own:
            await self.app(scope, receive, send)
            return
        said = f"origin: {origin} is another site; allow it by MONAI_LABEL_CORS_ORIGINS='[\"{origin}\"]' (docs)."
        await JSONResponse({"detail": said}, 403)(scope, receive, send)


def put_doors(app: FastAPI) -> None:
    """Let the server's requests come through here; a second call changes nothing.

    Args:
        app: MONAI Label's server, before its first request.
    """
    if getattr(app.state, "has_slpd_doors", False):
        return
    app.state.has_slpd_doors = True
    before = len(app.router.routes)
    app.include_router(_doors, prefix=settings.MONAI_LABEL_API_STR)
    own = app.router.routes[before:]
    app.router.routes[:] = [*own, *app.router.routes[:before]]  # the first that fits is asked
    allowed = tuple(str(origin).rstrip("/") for origin in settings.MONAI_LABEL_CORS_ORIGINS)
    app.middleware_stack = None  # it is made anew for the first request, with what is added here
    app.add_middleware(SameOrigin, allowed=allowed)


@_doors.post("/train/{model}", include_in_schema=False)
async def ask_training(
    model: str, params: dict[str, Any] | None = None, run_sync: bool = False, enqueue: bool = False, user: Any = _ADMIN
) -> Any:
    """``POST /train/slpd``: what is not a run's is refused before it waits for its turn."""
    trainers = app_instance()._trainers
    if model not in trainers:
        raise HTTPException(404, f"there is no trainer {model!r}; choose one of {', '.join(trainers)}.")
    if isinstance(trainers[model], PretrainingTask):
        if run_sync:
            raise HTTPException(422, "run_sync: a training takes hours, and the server would answer nothing meanwhile.")
        params = _checked(lambda: read_request(TrainRequest, params or {}).model_dump(exclude_none=True))
    _insist_on_room("train")
    return train.run_model(model, params, run_sync, enqueue)


@_doors.post("/train/", include_in_schema=False)
async def ask_all_training(params: dict[str, Any] | None = None, run_sync: bool = False, user: Any = _ADMIN) -> Any:
    """``POST /train/``: every trainer, each with its own request under its name."""
    for model in app_instance()._trainers:
        asked = (params or {}).get(model) or {}
        await ask_training(model, asked, run_sync, enqueue=True)
    return {}


@_doors.post("/batch/infer/{model}", include_in_schema=False)
async def ask_all_slides(
    model: str,
    images: batch_infer.BatchInferImageType = batch_infer.BatchInferImageType.IMAGES_ALL,
    params: dict[str, Any] | None = _BATCH,
    run_sync: bool = False,
    user: Any = _ADMIN,
) -> Any:
    """``POST /batch/infer/MODEL``: no more of them than may wait."""
    _insist_on_room("batch_infer")
    return batch_infer.run(model, images, params, run_sync)


@_doors.post("/infer/wsi_v2/{model}", include_in_schema=False)
async def ask_slide(
    background_tasks: BackgroundTasks,
    model: str,
    image: str = "",
    session_id: str = "",
    file: UploadFile | None = None,
    wsi: str = Form("{}"),
    output: wsi_infer.ResultType | None = None,
    user: Any = _USER,
) -> Any:
    """A question about a slide, its box in the form's field ``wsi``."""
    _insist_on_image(file, image, session_id)
    box = _checked(lambda: wsi_infer.WSIInput(**read_json(wsi, "wsi")))
    return wsi_infer.run_wsi_inference(background_tasks, model, image, session_id, file, box, output)


@_doors.post("/infer/{model}", include_in_schema=False)
async def ask_image(
    background_tasks: BackgroundTasks,
    model: str,
    image: str = "",
    session_id: str = "",
    params: str = Form("{}"),
    file: UploadFile | None = None,
    label: UploadFile | None = None,
    output: infer.ResultType | None = None,
    user: Any = _USER,
) -> Any:
    """The same by Label's general address, its parameters in the form's field ``params``."""
    _insist_on_image(file, image, session_id)
    _checked(lambda: read_json(params or "{}", "params"))
    return infer.run_inference(background_tasks, model, image, session_id, params, file, label, output)


def _checked(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except ValidationError as error:
        raise HTTPException(422, fields_of(error)) from None
    except BundleError as error:
        raise HTTPException(422, str(error)) from None


def _insist_on_image(file: Any, image: str, session_id: str) -> None:
    if not file and not image and not session_id:
        raise HTTPException(422, "image: give the name of a slide, or upload one as file.")


def _insist_on_room(method: str) -> None:
    waiting = [task for task in tasks(method) if task["status"] in ("SUBMITTED", "RUNNING")]
    if len(waiting) >= MOST_WAITING:
        said = f"{len(waiting)} of them wait or are at work, and no more may; ask again later, or stop one (DELETE)."
        raise HTTPException(429, said)
